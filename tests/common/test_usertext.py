"""Whatever people write, and wherever, goes through one function before it is stored."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from common.errors import Invalid, TooLarge
from common.usertext import check_user_text, checker_problems
from copilot.models import Session, User
from copilot.turns.branches import edit_message
from copilot.turns.sessions import create_session, update_session
from copilot.turns.submit import submit_message
from tests.factories import make_session

HERE = __name__


def no_secrets_please(text: str) -> str | None:
    """Refuse a word, as a checker of an operator's would."""
    return "Do not tell me the plan." if "the plan" in text else None


@pytest.fixture
def checked(settings: Settings) -> None:
    """An operator's checker looks at everything."""
    settings.TEXT_CHECKERS = (f"{HERE}.no_secrets_please",)


def test_control_characters_go_and_line_ends_stay() -> None:
    assert check_user_text("a\x1b[31m\tb\r\nc\x00\x9b é ⟦", what="It", most=100) == "a[31m\tb\r\nc é ⟦"


def test_a_long_text_is_refused_as_its_place_wants() -> None:
    with pytest.raises(Invalid, match="The reason has 11 characters; at most 10") as refused:
        check_user_text("x" * 11, what="The reason", most=10)
    assert refused.value.error_code == "refused_text"
    with pytest.raises(TooLarge):
        check_user_text("x" * 11, what="The message", most=10, too_long=TooLarge)


@pytest.mark.parametrize("write", ["send", "queue", "edit", "title", "new title"])
@pytest.mark.django_db
def test_what_an_operators_checker_refuses_is_stored_nowhere(checked: None, user: User, write: str) -> None:
    session = make_session(user=user)
    first = (
        submit_message(user=user, session_id=session.pk, text="/words 1") if write in ("queue", "edit") else None
    )

    def act() -> Any:
        text = "here is the plan"
        match write:
            case "edit":
                assert first is not None
                return edit_message(user=user, message_id=first.message.pk, text=text)
            case "title":
                return update_session(user=user, session_id=session.pk, title=text)
            case "new title":
                return create_session(user=user, title=text)
        return submit_message(user=user, session_id=session.pk, text=text)

    before = Session.objects.count(), session.messages.count()
    with pytest.raises(Invalid, match="Do not tell me") as refused:
        act()
    assert refused.value.error_code == "refused_text"
    session.refresh_from_db()
    assert (Session.objects.count(), session.messages.count()) == before
    assert "plan" not in session.title


def test_a_checker_that_is_not_there_is_told_at_the_start(settings: Settings) -> None:
    settings.TEXT_CHECKERS = ("nowhere.at.all", f"{HERE}.no_secrets_please")
    (problem,) = checker_problems()
    assert "nowhere.at.all" in problem
