"""Files that go with messages: whose they are, where they belong, and what is stored of them."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from common.db import transact
from common.errors import AppError, Conflict
from copilot.files import delete_unsent, do_attach, path_of
from copilot.models import File, Message, Session
from copilot.turns.branches import edit_message, regenerate
from copilot.turns.submit import do_lock_session
from tests.factories import accept, fresh, hold, make_running, make_session, make_user
from tests.pictures import PNG
from tests.uploads import make_file

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path


@pytest.fixture
def session() -> Session:
    return make_session()


def test_files_stand_behind_the_text_as_parts_of_the_message(session: Session) -> None:
    picture, text = make_file(session.user), make_file(session.user, b"a,b\n", "b.csv")
    message = fresh(accept(session, "Look", attachments=[str(text.pk), str(picture.pk), str(text.pk)]).message)
    assert message.parts == [
        {"type": "text", "text": "Look"},
        {"type": "file", "mediaType": "text/plain", "filename": "b.csv", "url": f"/api/v1/files/{text.pk}"},
        {"type": "file", "mediaType": "image/png", "filename": "a.png", "url": f"/api/v1/files/{picture.pk}"},
    ]
    assert message.text == "Look"
    assert {file.session for file in File.objects.all()} == {session}


def test_a_queued_message_has_its_files_too(session: Session) -> None:
    make_running(session)
    file = make_file(session.user)
    accepted = accept(session, "And this", attachments=[file.pk])
    assert accepted.queued
    assert fresh(accepted.message).parts[1]["filename"] == "a.png"
    assert fresh(file).session == session


def test_the_same_file_can_be_sent_again_in_its_session_and_in_no_other(session: Session) -> None:
    file = make_file(session.user)
    accept(session, "One", attachments=[file.pk])
    accept(session, "Two", attachments=[file.pk])
    with pytest.raises(AppError) as refused:
        accept(make_session(session.user), "Three", attachments=[file.pk])
    assert refused.value.error_code == "invalid"


def wrong(kind: str, session: Session) -> Any:
    """Attachments that cannot be, one of them fine."""
    fine = str(make_file(session.user).pk)
    match kind:
        case "unknown":
            return [fine, str(uuid.uuid4())]
        case "foreign":
            return [fine, str(make_file(make_user()).pk)]
        case "no id":
            return [fine, "../../secret_key"]
        case "a number":
            return [7]
        case "too many":
            return [str(uuid.uuid4()) for _ in range(11)]
    return fine


@pytest.mark.parametrize("kind", ["unknown", "foreign", "no id", "a number", "too many", "no list"])
def test_what_is_not_there_is_refused_and_nothing_is_stored(session: Session, kind: str) -> None:
    with pytest.raises(AppError) as refused:
        accept(session, attachments=wrong(kind, session))
    assert (refused.value.error_code, refused.value.status, list(refused.value.fields)) == (
        "invalid",
        400,
        ["attachments"],
    )
    assert not Message.objects.exists()
    assert not File.objects.exclude(session=None).exists()


def test_ten_files_go_with_a_message(session: Session) -> None:
    files = [make_file(session.user).pk for _ in range(10)]
    assert len(fresh(accept(session, attachments=files).message).parts) == 11


def test_a_repetition_has_the_same_files_or_is_another_message(session: Session) -> None:
    first, second = make_file(session.user), make_file(session.user)
    sent = accept(session, client_id="c", attachments=[str(first.pk)])
    again = accept(session, client_id="c", attachments=[str(first.pk).upper()])
    assert (again.repeated, again.message.pk) == (True, sent.message.pk)
    for other in ([], [second.pk], [first.pk, second.pk]):
        with pytest.raises(Conflict, match="client_id"):
            accept(session, client_id="c", attachments=other)
    assert fresh(second).session is None


def test_an_edit_keeps_the_files(session: Session) -> None:
    file = make_file(session.user)
    held = make_running_with(session, file)
    held.answer()
    asked = Message.objects.get(role="user")
    edited = edit_message(user=session.user, message_id=asked.pk, text="Look closer")
    assert fresh(edited.message).parts == [{"type": "text", "text": "Look closer"}, asked.parts[1]]


def test_another_answer_is_to_the_same_files(session: Session) -> None:
    file = make_file(session.user)
    make_running_with(session, file).answer()
    again = regenerate(user=session.user, session_id=session.pk)
    assert fresh(again.message).parts[1]["filename"] == "a.png"


def make_running_with(session: Session, file: File) -> Any:
    turn = accept(session, "Look", attachments=[file.pk]).turn
    assert turn is not None
    return hold(turn)


@pytest.mark.scaled
@pytest.mark.parametrize("sends_first", [True, False])
def test_a_file_is_sent_or_swept_and_never_half_of_each(session: Session, sends_first: bool) -> None:
    """A day-old upload is attached while the sweep deletes what is as old."""
    file = make_file(session.user, PNG)
    locked, go_on = threading.Event(), threading.Event()
    outcome: list[Any] = []

    @transact
    def send_slowly() -> None:
        do_attach(do_lock_session(session.user, session.pk), [file.pk])
        locked.set()
        go_on.wait(10)

    def send() -> None:
        try:
            send_slowly()
        finally:
            connections.close_all()

    if not sends_first:
        assert delete_unsent(-5) == 1
        with pytest.raises(AppError):
            accept(session, attachments=[file.pk])
        assert not path_of(file.pk).exists()
        return
    thread = threading.Thread(target=send)
    thread.start()
    assert locked.wait(10)
    outcome.append(delete_unsent(-5))
    go_on.set()
    thread.join(10)
    assert outcome == [0]
    assert fresh(file).session == session
    assert path_of(file.pk).read_bytes() == PNG
