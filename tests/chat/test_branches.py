"""What the page and its websocket show of branches."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from common.db import db
from copilot.models import Message, Session, User
from copilot.turns.branches import edit_message, regenerate, show_branch
from copilot.turns.cancel import request_stop
from linking.keys import issue_key
from tests.chat.sockets import connected
from tests.factories import accept, fresh, hold, make_session

pytestmark = pytest.mark.django_db


@pytest.fixture
def session(user: User) -> Session:
    return make_session(user)


def say(session: Session, text: str, answer: str) -> Message:
    accepted = accept(session, text)
    assert accepted.turn is not None
    hold(accepted.turn).answer(answer)
    return fresh(accepted.message)


def edit(message: Message, text: str, answer: str) -> Message:
    accepted = edit_message(user=message.session.user, message_id=message.id, text=text)
    assert accepted.turn is not None
    hold(accepted.turn).answer(answer)
    return fresh(accepted.message)


def html_of(user: User, session: Session) -> str:
    browser = Client()
    browser.force_login(user)
    return browser.get(reverse("session", args=[session.id])).content.decode()


def articles(html: str) -> list[str]:
    return [part.split("</article>")[0] for part in html.split("<article")[1:]]


def test_the_page_shows_one_branch_and_the_ways_to_the_others(user: User, session: Session) -> None:
    first = say(session, "a", "A")
    second = edit(first, "b", "B")
    third = edit(second, "c", "C")
    _ = show_branch(user=user, session_id=session.id, message_id=second.id)
    html = html_of(user, session)
    assert 'data-rewrites="3"' in html
    question, answer = articles(html)
    assert f'data-id="{second.id}"' in question
    assert '<span class="which">2/3</span>' in question
    assert re.findall(r'data-show="([^"]*)"', question) == [str(first.id), str(third.id)]
    assert 'data-do="edit"' in question
    assert "data-show" not in answer
    assert 'data-do="again"' in answer
    assert 'data-do="edit"' not in answer


def test_the_first_and_the_last_version_lead_one_way_only(user: User, session: Session) -> None:
    first = say(session, "a", "A")
    last = edit(first, "b", "B")
    assert re.findall(r'data-show="([^"]*)"( disabled)?', html_of(user, session))[:2] == [
        (str(first.id), ""),
        ("", " disabled"),
    ]
    _ = show_branch(user=user, session_id=session.id, message_id=first.id)
    assert re.findall(r'data-show="([^"]*)"( disabled)?', html_of(user, session))[:2] == [
        ("", " disabled"),
        (str(last.id), ""),
    ]


def test_a_stopped_question_does_not_say_so_once_it_is_answered(user: User, session: Session) -> None:
    accept(session, "a")
    request_stop(user=user, session_id=session.id, turn_id=None, reason="stopped")
    assert html_of(user, session).count("turn-stopped") == 1
    turn = regenerate(user=user, session_id=session.id).turn
    assert turn is not None
    assert "turn-stopped" not in html_of(user, session), "the answer is being written"
    hold(turn).answer("A")
    assert "turn-stopped" not in html_of(user, session)
    turn = regenerate(user=user, session_id=session.id).turn
    request_stop(user=user, session_id=session.id, turn_id=None, reason="stopped")
    question, answer = articles(html_of(user, session))
    assert "turn-stopped" not in question
    assert "turn-stopped" in answer
    assert "2/2" in answer


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hints")
async def test_a_socket_tells_that_the_transcript_was_rewritten(user: User) -> None:
    session = await db(make_session, user)
    message = await db(say, session, "a", "A")
    _, secret = await db(lambda: issue_key(user=user))
    async with connected(f"sessions/{session.id}/", secret) as wire:
        before = await wire.frame("session")
        await db(accept, session, "b")
        sent = await wire.frame("session")
        assert sent["rewrites"] == before["rewrites"] == 0
        await db(lambda: request_stop(user=user, session_id=session.id, turn_id=None, reason="stopped"))
        accepted = await db(lambda: edit_message(user=user, message_id=message.id, text="c"))
        while (frame := await wire.frame("session"))["rewrites"] == 0:
            continue
        assert frame["rewrites"] == 1
        assert frame["active_turn"]["id"] == str(accepted.turn.id)  # type: ignore[union-attr]
