"""``manage.py sweep``: one recovery pass by hand."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core import mail
from django.core.management import CommandError
from django.db import OperationalError
from django.utils import timezone

from copilot.management import base
from copilot.models import Message, Session, Turn
from tests.approvals.reaching import make_action
from tests.diagnostics.conftest import manage

pytestmark = pytest.mark.django_db(transaction=True)


def test_nothing_to_do() -> None:
    assert manage("sweep") == "Nothing to do.\n"


def test_it_takes_over_what_a_lost_worker_left(submit: Callable[..., Any], session: Session) -> None:
    turn = submit("hello").turn
    long_ago = timezone.now() - timedelta(minutes=1)
    Turn.objects.filter(pk=turn.pk).update(
        status="running",
        worker=uuid.uuid4(),
        heartbeat_at=long_ago,
        claimed_at=long_ago,
        started_at=long_ago,
        progress_at=timezone.now(),
    )
    assert manage("sweep") == "orphaned: 1 (Running turns whose worker is gone.)\n"
    turn.refresh_from_db()
    assert (turn.status, turn.attempt) == ("queued", 2)


def test_it_says_one_line_a_rule(submit: Callable[..., Any], make_session: Callable[..., Session]) -> None:
    turn = submit("hello").turn
    Turn.objects.filter(pk=turn.pk).update(redispatch_at=timezone.now() - timedelta(minutes=1))
    idle = make_session(accepted=1)
    Message.objects.create(session=idle, role="user", state="queued", number=1)
    names = [line.partition(":")[0] for line in manage("sweep").splitlines()]
    # By hand beside an embedded server nobody would hear a hint, and the server's own would come later.
    assert names == (["stranded_messages"] if settings.EMBEDDED else ["undispatched", "stranded_messages"])


def test_a_database_that_cannot_be_used_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OperationalError("connection refused.\nIs the server running?")

    monkeypatch.setattr(base, "connect_once", refuse)
    with pytest.raises(CommandError) as refused:
        manage("sweep")
    assert str(refused.value).startswith("The database cannot be used: connection refused (")
    assert "\n" not in str(refused.value)


def test_people_are_told_before_it_ends(make_user: Callable[..., Any], settings: Any) -> None:
    settings.EMAIL_ENABLED = True
    make_action(make_user(email="ada@example.org"))
    assert manage("sweep").startswith("unreached: 1 (")
    assert len(mail.outbox) == 1
