"""A session is named beside its turns; whatever a person chose stays."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from django.db.models import QuerySet
from pytest_django import Settings

from common.db import db
from copilot import tasks, worker
from copilot.agent import titles
from copilot.events import publish
from copilot.models import Session, Turn, UsageRecord
from copilot.providers.base import (
    ModelRequest,
    ProviderError,
    Reasoning,
    Stop,
    StreamPart,
    Text,
    Usage,
)
from copilot.providers.transport import close_clients
from copilot.turns import naming
from copilot.turns.finish import cancelled, failed
from copilot.turns.sessions import update_session
from tests.factories import fresh, make_running, make_session
from tests.harness import Crew
from tests.providers.chat import chunk
from tests.providers.server import Reply, serve, sse

pytestmark = pytest.mark.django_db(transaction=True)
ASKED = "Please help me compare the different web frameworks for a small shop, with all their strengths"
Namer = Callable[..., Awaitable[Session]]


class Model:
    """Answers in order; an exception is raised, an event is waited for."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[ModelRequest] = []
        self.asked = asyncio.Event()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        self.requests.append(request)
        self.asked.set()
        answer = self.answers.pop(0)
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            answer = "Later Title"
        if isinstance(answer, Exception):
            raise answer
        yield Usage(input_tokens=30, output_tokens=4)
        for part in [Text(answer), Stop("stop")] if isinstance(answer, str) else answer:
            yield part


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[tuple[uuid.UUID, bool]]:
    """Which sessions were to be named, and whether again."""
    settings.COPILOT_TITLE_MODEL = "openai/small"
    asked: list[tuple[uuid.UUID, bool]] = []
    monkeypatch.setattr(naming, "send_title_task", lambda session_id, *, again: asked.append((session_id, again)))
    return asked


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    """Return a function that has the model answer so."""

    def say(*answers: Any) -> Model:
        model = Model(*answers)
        monkeypatch.setattr(titles, "provider_for", lambda name, **_: (model, name.partition("/")[2]))
        return model

    return say


def talked(text: str = ASKED, answer: str = "Django, Flask and FastAPI.") -> Session:
    """A session with one exchange."""
    session = make_session()
    make_running(session, text).answer(answer)
    return fresh(session)


# --- when -------------------------------------------------------------------------------------


def test_it_is_asked_for_after_the_first_answer(sent: list[Any]) -> None:
    session = talked()
    assert sent == [(session.id, False)]


async def test_it_is_asked_for_at_the_first_pause(crew: Crew, sent: list[Any]) -> None:
    await crew.hire()
    turn = await crew.send('/tool demo_note {"text": "hello"}')
    await crew.true(lambda: fresh(turn).status == "requires_action")
    assert sent == [(turn.session_id, False)]


async def test_at_a_pause_the_question_is_all_there_is(crew: Crew, says: Callable[..., Model]) -> None:
    model = says("A Note")
    await crew.hire()
    turn = await crew.send('/tool demo_note {"text": "hello"}')
    await crew.true(lambda: fresh(turn).status == "requires_action")
    await titles.name_session(turn.session_id)
    assert "demo_note" in model.requests[0].messages[0].text()
    session = await db(lambda: Session.objects.get(pk=turn.session_id))
    assert session.title == "A Note"


@pytest.mark.parametrize("ending", [cancelled("stopped"), failed("auth", "No.")], ids=["stopped", "failed"])
def test_a_turn_that_did_not_complete_names_nothing(sent: list[Any], ending: Any) -> None:
    make_running(make_session(), ASKED).answer("Dj", ending)
    assert sent == []


def test_a_session_that_a_person_named_is_left_alone(sent: list[Any]) -> None:
    make_running(make_session(title="Mine"), ASKED).answer()
    assert sent == []


def test_a_temporary_session_is_never_named(sent: list[Any]) -> None:
    make_running(make_session(temporary=True), ASKED).answer()
    assert sent == []


def test_the_session_of_a_helper_is_not_named(sent: list[Any]) -> None:
    home, child = make_session(title="Mine"), make_session()
    Session.objects.filter(pk=child.pk).update(parent=home, parent_call=uuid.uuid4(), depth=1)
    make_running(child, ASKED).answer()
    assert sent == []


def test_the_demo_model_is_not_asked(sent: list[Any], settings: Settings) -> None:
    settings.COPILOT_TITLE_MODEL = ""
    talked()
    assert sent == []


def test_it_is_not_tried_for_ever(sent: list[Any]) -> None:
    session = make_session()
    for _ in range(6):
        make_running(session, ASKED).answer()
    assert len(sent) == naming.MESSAGES_MAX // 2


@pytest.mark.parametrize(("every", "times"), [(0, 0), (2, 3), (3, 2), (10, 0)])
def test_it_is_made_anew_every_so_many_messages(
    sent: list[Any], settings: Settings, every: int, times: int
) -> None:
    settings.COPILOT_TITLE_REFRESH = every
    session = make_session()
    Session.objects.filter(pk=session.pk).update(title="Old", title_source="model")
    for _ in range(6):
        make_running(session, "more").answer()
    assert sent == [(session.id, True)] * times


# --- what -------------------------------------------------------------------------------------


async def test_the_title_is_what_the_model_says_of_the_exchange(says: Callable[..., Model]) -> None:
    model = says("Comparing Web Frameworks")
    session = await db(talked)
    await titles.name_session(session.id)
    named = await db(fresh, session)
    assert (named.title, named.title_source) == ("Comparing Web Frameworks", "model")
    assert named.revision > session.revision
    assert named.updated_at == session.updated_at
    [request] = model.requests
    assert (request.model, request.effort, request.tools) == ("small", "none", ())
    assert 0 < request.max_output_tokens <= 1024
    assert "compare the different web frameworks" in request.messages[0].text()
    assert "Django, Flask" in request.messages[0].text()


async def test_open_pages_hear_of_it(says: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    says("Comparing Web Frameworks")
    session = await db(talked)
    told: list[Any] = []
    monkeypatch.setattr(publish, "session_changed", lambda *ids: told.append(ids))
    await titles.name_session(session.id)
    assert told == [(session.id, session.user_id)]


async def test_leaked_thoughts_are_asked_again_once_in_other_words(says: Callable[..., Model]) -> None:
    model = says("The user wants a title", "Web Frameworks")
    session = await db(talked)
    await titles.name_session(session.id)
    assert (await db(fresh, session)).title == "Web Frameworks"
    first, second = model.requests
    assert first.messages != second.messages


async def test_an_answer_that_was_cut_is_no_title(says: Callable[..., Model]) -> None:
    model = says([Text("Comparing"), Stop("length")], [Reasoning("Hm."), Text("Web Frameworks"), Stop("stop")])
    session = await db(talked)
    await titles.name_session(session.id)
    assert (await db(fresh, session)).title == "Web Frameworks"
    first, second = model.requests
    assert first.max_output_tokens < second.max_output_tokens


@pytest.mark.parametrize(
    "answers",
    [
        [ProviderError("auth", "No.")],
        [ProviderError("overloaded", "Busy."), ProviderError("overloaded", "Busy.")],
        ["I should think", "Let me see"],
    ],
    ids=["refused", "overloaded", "thoughts"],
)
async def test_without_a_models_title_the_first_line_is_shortened(
    says: Callable[..., Model], answers: Any
) -> None:
    says(*answers)
    session = await db(talked)
    assert session.title.endswith("…")
    await titles.name_session(session.id)
    named = await db(fresh, session)
    assert (named.title, named.title_source) == ("Compare different web frameworks", "auto")


async def test_a_first_line_that_was_short_stays(says: Callable[..., Model]) -> None:
    says(ProviderError("auth", "No."))
    session = await db(talked, "Which web framework?")
    await titles.name_session(session.id)
    assert (await db(fresh, session)).title == "Which web framework?"


async def test_a_model_that_hangs_is_given_up(says: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titles, "SECONDS", 0.05)
    says(asyncio.Event())
    session = await db(talked, "Which one?")
    async with asyncio.timeout(10):
        await titles.name_session(session.id)
    assert (await db(fresh, session)).title == "Which one?"


async def test_a_new_title_is_of_the_latest_exchange(says: Callable[..., Model]) -> None:
    model = says("Baking Bread")
    session = await db(talked)
    await db(lambda: make_running(session, "And how is bread baked?").answer("In an oven."))
    await db(lambda: Session.objects.filter(pk=session.pk).update(title="Old", title_source="model"))
    await titles.name_session(session.id, again=True)
    asked = model.requests[0].messages[0].text()
    assert "bread" in asked
    assert "frameworks" not in asked
    assert (await db(fresh, session)).title == "Baking Bread"


async def test_what_it_used_is_the_persons(says: Callable[..., Model]) -> None:
    says("Let me see", "Web Frameworks")
    session = await db(talked)
    await titles.name_session(session.id)
    records = await db(lambda: list(UsageRecord.objects.filter(user_id=session.user_id, turn=None)))
    assert [(each.model, each.input_tokens, each.session_id) for each in records] == [
        ("openai/small", 30, session.id)
    ] * 2
    assert (await db(fresh, session)).input_tokens == session.input_tokens


# --- races ------------------------------------------------------------------------------------


async def named_while(
    model: Model, go_on: asyncio.Event, session: Session, meanwhile: Callable[[], Any]
) -> Session:
    """Have the session named; do something while the model is asked, and return what the session then is."""
    naming_it = asyncio.create_task(titles.name_session(session.id))
    async with asyncio.timeout(10):
        await model.asked.wait()
        await db(meanwhile)
        go_on.set()
        await naming_it
    found = await db(lambda: Session.objects.filter(pk=session.pk).first())
    return found or session


def renamed(session: Session, title: str) -> Callable[[], Any]:
    return lambda: update_session(user=session.user, session_id=session.id, title=title)


async def test_a_person_who_renames_it_meanwhile_wins(says: Callable[..., Model]) -> None:
    go_on = asyncio.Event()
    session = await db(talked)
    named = await named_while(says(go_on), go_on, session, renamed(session, "Mine"))
    assert (named.title, named.title_source) == ("Mine", "person")


async def test_a_person_who_chooses_the_very_title_that_was_seen_wins(says: Callable[..., Model]) -> None:
    go_on = asyncio.Event()
    session = await db(talked, "Frameworks")
    named = await named_while(says(go_on), go_on, session, renamed(session, "Frameworks"))
    assert (named.title, named.title_source) == ("Frameworks", "person")


@pytest.mark.parametrize("guard", ["filter", "exclude"])
async def test_each_guard_is_needed(
    says: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    """The control: with half of the condition gone, a person's title is lost."""

    def unguarded(session_id: uuid.UUID, *, seen: str, title: str, source: str) -> None:
        rows: QuerySet[Session] = Session.objects.filter(pk=session_id)
        rows = rows.filter(title=seen) if guard == "exclude" else rows
        rows.update(title=title, title_source=source)

    monkeypatch.setattr(titles, "replace_title", unguarded)
    go_on = asyncio.Event()
    session = await db(talked, "Frameworks")
    chosen = "Frameworks" if guard == "exclude" else "Mine"
    named = await named_while(says(go_on), go_on, session, renamed(session, chosen))
    assert (named.title, named.title_source) == ("Later Title", "model")


async def test_a_session_that_is_deleted_meanwhile_is_no_error(says: Callable[..., Model]) -> None:
    go_on = asyncio.Event()
    session = await db(talked)
    await named_while(says(go_on), go_on, session, lambda: Session.objects.filter(pk=session.pk).delete())


async def test_a_task_that_comes_twice_asks_once(says: Callable[..., Model]) -> None:
    model = says("Web Frameworks")
    session = await db(talked)
    await titles.name_session(session.id)
    await titles.name_session(session.id)
    assert len(model.requests) == 1


# --- over the wire ----------------------------------------------------------------------------


async def test_it_has_a_client_of_its_own(settings: Settings) -> None:
    said = sse(chunk({"content": "Web Frameworks"}), chunk(finish="stop"))
    async with serve(Reply([said])) as server:
        settings.COPILOT_PROVIDERS = {"local": {"api": "openai", "base_url": f"{server.url}/v1"}}
        settings.COPILOT_TITLE_MODEL = "local/small"
        session = await db(talked)
        await titles.name_session(session.id)
        await close_clients()
    assert (await db(fresh, session)).title == "Web Frameworks"
    body = server.requests[0].body
    assert body["model"] == "small"
    assert "tools" not in body
    assert "reasoning_effort" not in body


async def test_the_task_runs_on_the_workers_loop_and_ends_with_it(
    crew: Crew, says: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await db(talked)
    here = await crew.hire()
    monkeypatch.setattr(worker, "current", lambda: here)
    model = says(asyncio.Event())
    naming_it = asyncio.create_task(asyncio.to_thread(tasks.title_session, str(session.id)))
    async with asyncio.timeout(10):
        await model.asked.wait()
        await crew.dismiss()
        await naming_it
    assert (await db(fresh, session)).title_source == "auto"


async def test_the_demos_own_title_goes_on_working(crew: Crew, sent: list[Any]) -> None:
    await crew.hire()
    turn: Turn = await crew.say("/title Named by the demo\n/words 2")
    session = await db(lambda: Session.objects.get(pk=turn.session_id))
    assert (session.title, session.title_source, sent) == ("Named by the demo", "model", [])
