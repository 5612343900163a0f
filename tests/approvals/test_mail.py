"""The mail that says that a decision waits: short, with a link, and with nothing in it that is private."""

from __future__ import annotations

import smtplib
from typing import Any

import pytest
from django.core import mail as outbox
from django.core.mail import EmailMessage
from pytest_django import Settings

from approvals.models import Action
from approvals.reach import mail, words
from copilot.models import User
from tests.approvals.reaching import make_action, read_action

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _mail_works(settings: Settings) -> None:
    settings.EMAIL_ENABLED = True


@pytest.fixture
def person(make_user: Any) -> User:
    made: User = make_user(email="ada@example.org")
    return made


def sent(action: Action) -> EmailMessage:
    """Mail the person of this action; return the mail."""
    assert mail.send_mail(read_action(action))
    message: EmailMessage = outbox.outbox[-1]
    return message


def test_a_mail_says_what_waits_and_where(person: User, settings: Settings) -> None:
    settings.BASE_URL, settings.DEFAULT_FROM_EMAIL = "https://copilot.example.org", "agents@example.org"
    action = make_action(person, "shell", "fetch_url", "shell", reason="It may change files.", left=7250)
    message = sent(action)
    assert (message.subject, message.to) == ("An agent waits for your decision", ["ada@example.org"])
    assert message.from_email == "agents@example.org"
    assert message.body == (
        "An agent waits for your decision.\n\n"
        "It wants to make 3 tool calls: shell (2 times), fetch_url.\n\n"
        "Why it is asked: It may change files.\n\n"
        f"Open it here: https://copilot.example.org/approvals/{action.pk}/\n\n"
        "It waits for another 2 hours. Nothing is done until you decide; then the agent stops.\n"
    )


def test_a_question_is_announced_and_not_told(person: User) -> None:
    action = make_action(person, kind="ask_user_question", question="Is the password hunter2?", goes_on=True)
    message = sent(action)
    assert message.subject == "An agent has a question for you"
    assert "hunter2" not in str(message.message())
    assert "Then the agent goes on by its own judgement." in message.body


def test_arguments_are_not_in_a_mail(person: User) -> None:
    assert "very-private" not in str(sent(make_action(person)).message())


def test_names_of_tools_cannot_write_the_mail(person: User) -> None:
    body = sent(make_action(person, "mcp:x:a\nClick: https://evil.example", "b" * 500)).body
    assert "mcp:x:a Click: https://evil.example" in body
    assert "b" * 81 not in body


def test_many_tools_are_counted(person: User) -> None:
    body = sent(make_action(person, *(f"tool{number}" for number in range(9)))).body
    assert "9 tool calls: tool0, tool1, tool2, tool3, tool4 and 4 more." in body


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (30, "moment"),
        (90, "minute"),
        (150, "2 minutes"),
        (7100, "118 minutes"),
        (86000, "23 hours"),
        (2e5, "2 days"),
    ],
)
def test_time_left_is_said_roughly(person: User, seconds: float, said: str) -> None:
    assert words.time_left(read_action(make_action(person, left=seconds))) == said


@pytest.mark.parametrize(
    ("host", "start"),
    [
        ("127.0.0.1", "http://127.0.0.1:8123/"),
        ("0.0.0.0", "http://localhost:8123/"),
        ("::1", "http://[::1]:8123/"),
    ],
)
def test_without_a_public_address_the_link_leads_to_this_host(
    person: User, settings: Settings, host: str, start: str
) -> None:
    settings.BASE_URL, settings.HOST, settings.PORT = "", host, 8123
    assert words.link(make_action(person)).startswith(start)


@pytest.mark.parametrize("over", [{"email": ""}, {"is_active": False}])
def test_who_has_no_address_gets_no_mail(make_user: Any, over: dict[str, Any]) -> None:
    action = make_action(make_user(**{"email": "ada@example.org", **over}))
    assert mail.send_mail(read_action(action)) is False


def test_without_a_mail_server_there_is_no_mail(person: User, settings: Settings) -> None:
    settings.EMAIL_ENABLED = False
    assert mail.send_mail(read_action(make_action(person))) is False
    assert outbox.outbox == []


@pytest.mark.parametrize("error", [smtplib.SMTPException("no"), ConnectionRefusedError(), TimeoutError()])
def test_a_mail_server_that_fails_is_no_bug(
    person: User, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(self: EmailMessage) -> int:
        raise error

    monkeypatch.setattr(EmailMessage, "send", fail)
    assert mail.send_mail(read_action(make_action(person))) is False
