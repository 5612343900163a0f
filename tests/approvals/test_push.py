"""Notifications in browsers, against a push service of this machine and browsers that read what they get."""

from __future__ import annotations

import time
from io import StringIO
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.management import call_command
from pytest_django import Settings

from approvals import checks_reach
from approvals.models import PushSubscription
from approvals.reach import due, push, webpush
from common.outbound import OutboundError
from copilot.models import User
from tests.approvals.reaching import (
    SUBJECT,
    Browser,
    PushService,
    claims_of,
    is_reached,
    keys_set,
    make_action,
    pass_and_wait,
    read_action,
    service,
)

__all__ = ["keys_set", "service"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("keys_set")]


def failures(user: User) -> list[tuple[int, str]]:
    return list(PushSubscription.objects.visible_to(user).values_list("failures", "last_error"))


def test_the_wire_format_is_that_of_the_standard() -> None:
    """The example of RFC 8291, section 5."""
    keys = webpush.Keys.read(
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "BTBZMqHH6r4Tts7J_aSIgg",
    )
    body = webpush.encrypt(
        b"When I grow up, I want to be a watermelon",
        keys,
        own=webpush.private_key("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"),
        salt=webpush.unbase64("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert webpush.base64url(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8w"
        "EqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


def test_each_message_has_a_key_of_its_own() -> None:
    keys = webpush.Keys.read(**Browser("a").keys)
    first, second = webpush.encrypt(b"x", keys), webpush.encrypt(b"x", keys)
    assert first[:16] != second[:16]
    assert first[21:86] != second[21:86]


def test_a_browser_is_told_what_waits(user: User, service: PushService) -> None:
    browser = Browser("one")
    browser.subscribe(user)
    action = make_action(user, "shell", "shell")
    assert pass_and_wait() == 1
    (received,) = service.of(browser)
    assert browser.read(received) == {
        "title": "An agent waits for your decision",
        "body": "It wants to make 2 tool calls: shell (2 times).",
        "url": f"/approvals/{action.pk}/",
        "tag": str(action.pk),
    }
    assert is_reached(action)


def test_nobody_else_can_read_it(user: User, service: PushService) -> None:
    browser = Browser("one")
    browser.subscribe(user)
    make_action(user)
    pass_and_wait()
    with pytest.raises(InvalidTag):
        Browser("other").read(service.received[0])
    assert b"shell" not in service.received[0].body


def test_the_push_service_is_told_who_sends_and_how_long_it_matters(
    user: User, keys_set: str, service: PushService
) -> None:
    Browser("one").subscribe(user)
    action = make_action(user, left=3600)
    pass_and_wait()
    headers = service.received[0].headers
    claims = claims_of(headers["Authorization"])
    assert (claims["aud"], claims["sub"]) == ("https://push.example.org", SUBJECT)
    assert 0 < claims["exp"] - time.time() <= 86400
    assert headers["Authorization"].endswith(f"k={keys_set}")
    assert 3500 < int(headers["TTL"]) <= 3600
    assert (headers["Content-Encoding"], headers["Topic"]) == ("aes128gcm", action.pk.hex)
    assert len(headers["Topic"]) <= 32


def test_arguments_are_not_sent(user: User) -> None:
    assert b"very-private" not in push.payload(read_action(make_action(user)))


def test_the_longest_message_fits(user: User) -> None:
    action = make_action(user, *("\U0001f600" * 500 + str(number) for number in range(100)))
    assert len(push.payload(read_action(action))) < webpush.PAYLOAD_MAX


def test_all_browsers_are_told_and_nobody_elses(user: User, other_user: User, service: PushService) -> None:
    mine, theirs = [Browser("one"), Browser("two")], Browser("three")
    for browser in mine:
        browser.subscribe(user)
    theirs.subscribe(other_user)
    make_action(user)
    pass_and_wait()
    assert [len(service.of(browser)) for browser in (*mine, theirs)] == [1, 1, 0]


@pytest.mark.parametrize("status", [404, 410])
def test_a_browser_that_is_gone_is_forgotten(user: User, service: PushService, status: int) -> None:
    for name in ("gone", "here"):
        Browser(name).subscribe(user)
    service.statuses["gone"] = status
    make_action(user)
    pass_and_wait()
    (left,) = PushSubscription.objects.all()
    assert left.endpoint.endswith("here")


def test_a_browser_that_cannot_be_told_ten_times_in_a_row_is_given_up(user: User, service: PushService) -> None:
    Browser("bad").subscribe(user)
    service.statuses["bad"] = 500
    for number in range(1, push.FAILURES_MAX):
        assert due.reach(make_action(user).pk) is False
        assert failures(user) == [(number, "status 500")]
    due.reach(make_action(user).pk)
    assert failures(user) == []


def test_failures_that_ended_do_not_count(user: User, service: PushService) -> None:
    Browser("bad").subscribe(user)
    service.statuses["bad"] = 429
    due.reach(make_action(user).pk)
    service.statuses.clear()
    assert due.reach(make_action(user).pk) is True
    assert failures(user) == [(0, "")]


def test_a_push_service_that_cannot_be_reached_is_no_bug(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*args: Any) -> int:
        raise OutboundError("push.example.org is not at a public address.")

    monkeypatch.setattr(push, "post", fail)
    Browser("one").subscribe(user)
    assert due.reach(make_action(user).pk) is False
    assert failures(user) == [(1, "push.example.org is not at a public address.")]


def test_messages_go_out_through_the_one_client_that_reaches_public_addresses_only(user: User) -> None:
    Browser("one").subscribe(user)
    PushSubscription.objects.update(endpoint="https://127.0.0.1/send")
    assert due.reach(make_action(user).pk) is False
    assert failures(user) == [(1, "The address is not a public one.")]


# --- keys ---------------------------------------------------------------------------------------


def test_the_command_prints_a_pair_of_keys(settings: Settings) -> None:
    out = StringIO()
    call_command("make_vapid_keys", stdout=out)
    lines = dict(line.split("=", 1) for line in out.getvalue().split())
    assert list(lines) == ["VAPID_PRIVATE_KEY", "VAPID_PUBLIC_KEY"]
    settings.VAPID_PRIVATE_KEY = lines["VAPID_PRIVATE_KEY"]
    assert webpush.public_key() == lines["VAPID_PUBLIC_KEY"]


OTHER = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({}, ""),
        ({"VAPID_PUBLIC_KEY": ""}, ""),
        ({"VAPID_SUBJECT": "https://example.org/contact"}, ""),
        ({"VAPID_PRIVATE_KEY": "", "VAPID_PUBLIC_KEY": "", "VAPID_SUBJECT": ""}, ""),
        ({"VAPID_PRIVATE_KEY": ""}, "VAPID_PUBLIC_KEY and VAPID_SUBJECT is set without VAPID_PRIVATE_KEY."),
        ({"VAPID_PRIVATE_KEY": "", "VAPID_PUBLIC_KEY": ""}, "VAPID_SUBJECT is set without"),
        ({"VAPID_SUBJECT": ""}, "VAPID_SUBJECT must"),
        ({"VAPID_SUBJECT": "operator@example.org"}, "VAPID_SUBJECT must"),
        ({"VAPID_PUBLIC_KEY": OTHER}, "VAPID_PUBLIC_KEY is not the public key"),
        ({"VAPID_PRIVATE_KEY": "short"}, "VAPID_PRIVATE_KEY is not a key"),
        ({"VAPID_PRIVATE_KEY": "ü" * 43}, "VAPID_PRIVATE_KEY is not a key"),
        ({"VAPID_PRIVATE_KEY": "A" * 43}, "VAPID_PRIVATE_KEY is not a key"),
    ],
)
def test_keys_that_are_half_set_are_noticed(settings: Settings, changed: dict[str, str], problem: str) -> None:
    for name, value in changed.items():
        setattr(settings, name, value)
    found = checks_reach.check_vapid(None)
    assert [message.id for message in found] == (["holdfast.E008"] if problem else [])
    assert all(problem in message.msg for message in found)


@pytest.mark.parametrize(
    ("changed", "warned"),
    [({}, True), ({"BASE_URL": "https://example.org"}, False), ({"EMBEDDED": True}, False)],
)
def test_links_that_lead_nowhere_are_noticed(settings: Settings, changed: dict[str, Any], warned: bool) -> None:
    for name, value in {"EMAIL_ENABLED": True, "EMBEDDED": False, "BASE_URL": "", **changed}.items():
        setattr(settings, name, value)
    assert bool(checks_reach.check_links(None)) is warned


def test_the_keys_of_a_browser_are_checked() -> None:
    good = Browser("one").keys
    point = ec.generate_private_key(ec.SECP384R1()).public_key()
    for bad in (
        {"auth": "AAAA"},
        {"p256dh": "AAAA"},
        {"p256dh": "-"},
        {"p256dh": webpush.base64url(webpush.point(point))},
    ):
        with pytest.raises(ValueError):
            webpush.Keys.read(**{**good, **bad})
