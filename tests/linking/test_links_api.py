"""REST of links and link tokens, for the bot, the person, other people and nobody."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from linking.keys import issue_key
from linking.models import LinkToken, ServerLink, UserLink
from tests.api.conftest import Api, api, other_api
from tests.linking.conftest import PRIVATE, SERVER_ID, USER_ID, wrong

__all__ = ["api", "other_api"]

pytestmark = pytest.mark.django_db

WISH = {
    "kind": "server",
    "platform_id": SERVER_ID,
    "platform_name": "Kite Builders",
    "platform_user_id": USER_ID,
    "platform_user_name": "ada_k",
}
SOME_ID = "019a9d60-1f0a-7b44-8c11-5d2e3f4a5b6c"


def code_of(answer):
    return answer.status_code, answer.json().get("code")


def linked(api, bot_api, wish=WISH):
    made = bot_api.post("link-tokens", wish).json()
    body = {"kind": wish["kind"], "code": made["code"]}
    assert api.post(f"link-tokens/{made['token']}/confirm", body).status_code == 200
    return made


# --- the whole way ------------------------------------------------------------------------------


def test_a_server_is_linked_found_and_unlinked(api, other_api, bot_api, user):
    target = {"kind": "server", "platform_id": SERVER_ID}
    assert bot_api.post("links/resolve", target).json() == {"linked": False}
    made = bot_api.post("link-tokens", WISH)
    assert made.status_code == 201
    token, code = made.json()["token"], made.json()["code"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert re.fullmatch(r"[0-9]{6}", code)
    assert made.json()["url"] == f"http://testserver/link/{token}"
    assert bot_api.get(f"link-tokens/{token}").json() == {"status": "pending"}

    shown = api.get(f"link-tokens/{token}").json()
    told = {name: shown[name] for name in WISH}
    assert told == WISH
    assert (shown["bot"], shown["platform"], shown["account"]) == ("concierge", "discord", "ada")
    assert shown["allows"]
    assert code not in str(shown)

    done = api.post(f"link-tokens/{token}/confirm", {"kind": "server", "code": code})
    assert done.status_code == 200
    assert bot_api.get(f"link-tokens/{token}").json() == {"status": "linked"}
    assert bot_api.post("links/resolve", target).json() == {"linked": True, "owner": "ada"}
    assert api.get("links").json() == {"results": [done.json()], "next": None, "previous": None}
    assert {**done.json(), **WISH, "allows_personal": False} == done.json()
    assert other_api.get("links").json()["results"] == []

    link = done.json()["id"]
    assert code_of(other_api.delete(f"links/{link}")) == (404, "not_found")
    assert api.delete(f"links/{link}").status_code == 204
    assert code_of(api.delete(f"links/{link}")) == (404, "not_found")
    assert bot_api.post("links/resolve", target).json() == {"linked": False}
    assert bot_api.get(f"link-tokens/{token}").json() == {"status": "expired"}


def test_private_messages_are_linked_apart_from_servers(api, bot_api):
    linked(api, bot_api)
    assert bot_api.post("links/resolve", {"kind": "user", "platform_id": USER_ID}).json() == {"linked": False}
    linked(api, bot_api, {"kind": "user", "platform_id": USER_ID, "platform_name": "ada_k"})
    link = UserLink.objects.get()
    assert (link.asked_by, link.asked_by_name) == (USER_ID, "ada_k")
    assert bot_api.post("links/resolve", {"kind": "user", "platform_id": USER_ID}).json()["linked"]
    newest, older = api.get("links").json()["results"]
    assert [newest["kind"], older["kind"]] == ["user", "server"]
    assert "allows_personal" not in newest
    assert api.delete(f"links/{newest['id']}").status_code == 204
    assert ServerLink.objects.exists()


def test_the_address_is_the_public_one(bot_api, settings):
    settings.BASE_URL = "https://copilot.example.org"
    made = bot_api.post("link-tokens", WISH).json()
    assert made["url"] == f"https://copilot.example.org/link/{made['token']}"


def test_what_strangers_may_use_is_the_owners_to_say(api, other_api, bot_api):
    linked(api, bot_api)
    linked(api, bot_api, {"kind": "user", "platform_id": USER_ID})
    server, private = ServerLink.objects.get(), UserLink.objects.get()
    wish = {"allows_personal": True}
    assert code_of(other_api.patch(f"links/{server.pk}", wish)) == (404, "not_found")
    assert code_of(api.patch(f"links/{private.pk}", wish)) == (404, "not_found")
    for body in ({}, {"allows_personal": None}, {"allows_personal": "yes"}):
        assert code_of(api.patch(f"links/{server.pk}", body)) == (400, "invalid")
    answer = api.patch(f"links/{server.pk}", wish)
    assert (answer.status_code, answer.json()["allows_personal"]) == (200, True)
    server.refresh_from_db()
    assert server.allows_personal


# --- refusals -----------------------------------------------------------------------------------


def test_each_way_to_fail_has_its_code(api, other_api, bot_api):
    made = bot_api.post("link-tokens", WISH).json()
    path, body = f"link-tokens/{made['token']}/confirm", {"kind": "server", "code": made["code"]}
    assert code_of(api.get("link-tokens/unknown")) == (404, "not_found")
    assert code_of(api.post("link-tokens/unknown/confirm", body)) == (404, "not_found")
    assert code_of(api.post(path, {**body, "kind": "user"})) == (400, "wrong_kind")
    assert code_of(api.post(path, {**body, "code": wrong(made["code"])})) == (400, "invalid")
    assert api.post(path, {**body, "code": f" {made['code'][:3]} {made['code'][3:]}"}).status_code == 200
    for person in (api, other_api):
        assert code_of(person.get(f"link-tokens/{made['token']}")) == (410, "token_used")
        assert code_of(person.post(path, body)) == (410, "token_used")
    again = bot_api.post("link-tokens", WISH)
    assert code_of(again) == (409, "already_linked")


def test_a_target_linked_meanwhile_is_a_conflict(api, bot_api, bot, other_user):
    made = bot_api.post("link-tokens", WISH).json()
    ServerLink.objects.create(bot=bot, platform_id=SERVER_ID, owner=other_user)
    body = {"kind": "server", "code": made["code"]}
    assert code_of(api.get(f"link-tokens/{made['token']}")) == (409, "already_linked")
    assert code_of(api.post(f"link-tokens/{made['token']}/confirm", body)) == (409, "already_linked")


def test_the_sixth_attempt_finds_the_token_gone(api, bot_api):
    made = bot_api.post("link-tokens", WISH).json()
    path, body = f"link-tokens/{made['token']}/confirm", {"kind": "server", "code": wrong(made["code"])}
    assert [code_of(api.post(path, body)) for _ in range(5)] == [(400, "invalid")] * 5
    assert code_of(api.post(path, {**body, "code": made["code"]})) == (410, "token_used")
    assert bot_api.get(f"link-tokens/{made['token']}").json() == {"status": "expired"}
    assert not ServerLink.objects.exists()


def test_an_expired_token_is_gone(api, bot_api):
    made = bot_api.post("link-tokens", WISH).json()
    LinkToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert code_of(api.get(f"link-tokens/{made['token']}")) == (410, "token_used")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "server"},
        {"kind": "server", "platform_id": ""},
        {"kind": "server", "platform_id": None},
        {"kind": "server", "platform_id": 5},
        {"kind": "server", "platform_id": "x" * 256},
        {"kind": "server", "platform_id": "a\x00b"},
        {"kind": "group", "platform_id": "x"},
        {"kind": ["server"], "platform_id": "x"},
        {"kind": True, "platform_id": "x"},
        {"platform_id": "x"},
        {"kind": "server", "platform_id": "x", "owner": "me"},
        [],
        "{",
    ],
    ids=str,
)
def test_a_bad_wish_of_a_bot_is_refused(bot_api, body):
    for path in ("link-tokens", "links/resolve"):
        answer = bot_api.post(path, body)
        assert answer.status_code == 400, path
        assert answer.json()["code"] in ("invalid", "unknown_field")
    assert not LinkToken.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "server"},
        {"kind": "server", "code": ""},
        {"kind": "server", "code": 123456},
        {"code": "1"},
        [],
    ],
    ids=str,
)
def test_a_malformed_confirmation_is_no_try(api, bot_api, body):
    made = bot_api.post("link-tokens", WISH).json()
    assert code_of(api.post(f"link-tokens/{made['token']}/confirm", body)) == (400, "invalid")
    assert LinkToken.objects.get().wrong_codes == 0


# --- what a token looks like ----------------------------------------------------------------------

TOKEN_ROUTES = ["api/v1/link-tokens/{}", "api/v1/link-tokens/{}/confirm", "api/v1/bot/link-tokens/{}", "link/{}"]


@pytest.mark.parametrize("route", TOKEN_ROUTES)
@pytest.mark.parametrize(
    "token",
    [
        "x" * 65,
        "x" * 5000,
        "bad%24token",
        "..%2F..",
        "..%2Fetc%2Fpasswd",
        "foo..bar",
        "foo%2Fbar",
        "tok%0Aen",
        "token%0A",
        "tok%00en",
        "%C3%A4",
        "%FF",
        "a b",
        "'%20OR%201=1--",
    ],
)
def test_a_malformed_token_is_not_found_without_a_query(client, django_assert_num_queries, route, token):
    with django_assert_num_queries(0):
        for method in ("get", "post"):
            answer = getattr(client, method)(f"/{route.format(token)}")
            assert answer.status_code == 404
            if route.startswith("api"):
                assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize("token", ["x" * 65, "bad%24token", "..%2F.."])
def test_malformed_tokens_are_not_looked_for_whoever_asks(api, bot_api, django_assert_max_num_queries, token):
    """At most who asks is read, never a token."""
    with django_assert_max_num_queries(2) as queries:
        assert code_of(api.get(f"link-tokens/{token}")) == (404, "not_found")
        assert code_of(bot_api.get(f"link-tokens/{token}")) == (404, "not_found")
    assert not any("linktoken" in query["sql"] for query in queries.captured_queries)


@pytest.mark.parametrize("token", ["x" * 64, "x", "-_" * 20])
def test_a_token_of_the_right_shape_is_looked_for(api, bot_api, django_assert_num_queries, token):
    with django_assert_num_queries(3):  # session, user, token
        assert code_of(api.get(f"link-tokens/{token}")) == (404, "not_found")
    assert code_of(api.post(f"link-tokens/{token}/confirm", {"kind": "user", "code": "1"})) == (404, "not_found")
    assert code_of(bot_api.get(f"link-tokens/{token}")) == (404, "not_found")


@pytest.mark.parametrize(
    "link_id", ["1", "'; DROP TABLE x;--", "..%2F..%2Fetc%2Fpasswd", "%00", "x" * 500, SOME_ID]
)
def test_odd_ids_of_links_are_not_found(api, link_id):
    assert code_of(api.delete(f"links/{link_id}")) == (404, "not_found")
    assert code_of(api.patch(f"links/{link_id}", {"allows_personal": True})) == (404, "not_found")


# --- who may what ---------------------------------------------------------------------------------

PERSONAL = [
    ("GET", "links"),
    ("DELETE", f"links/{SOME_ID}"),
    ("PATCH", f"links/{SOME_ID}"),
    ("GET", "link-tokens/unknown"),
    ("POST", "link-tokens/unknown/confirm"),
]
BOTS = [("POST", "bot/links/resolve"), ("POST", "bot/link-tokens"), ("GET", "bot/link-tokens/unknown")]


@pytest.mark.parametrize(("method", "path"), PERSONAL)
def test_a_bots_key_is_nobody_on_calls_of_people(bot_api, method, path):
    headers = {"HTTP_AUTHORIZATION": f"Bearer {bot_api.secret}"}
    assert code_of(Api(Client()).call(method, path, {}, **headers)) == (401, "not_authenticated")
    assert code_of(Api(Client()).call(method, path, {})) == (401, "not_authenticated")


@pytest.mark.parametrize(("method", "path"), BOTS)
def test_people_are_nobody_on_calls_of_bots(api, user, method, path):
    _, secret = issue_key(user=user)
    for headers in ({}, {"HTTP_AUTHORIZATION": f"Bearer {secret}"}):
        assert code_of(api.call(method, path, {}, **headers)) == (401, "not_authenticated")
    assert code_of(Api(Client()).call(method, path, {})) == (401, "not_authenticated")


def test_to_let_somebody_decide_a_key_must_be_allowed_to(bot_api, user):
    made = bot_api.post("link-tokens", WISH).json()
    confirmation = f"link-tokens/{made['token']}/confirm"
    body = {"kind": "server", "code": made["code"]}
    for scopes, answer in ((["chat"], (403, "scope")), (["chat", "approve"], (200, None))):
        _, secret = issue_key(user=user, scopes=scopes)
        headers = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
        assert code_of(Api(Client()).post(confirmation, body, **headers)) == answer
    assert LinkToken.objects.get().wrong_codes == 0


def test_a_bot_sees_nothing_of_other_bots(api, bot_api, make_bot):
    _, other = make_bot("other")
    made = linked(api, bot_api)
    assert code_of(other.get(f"link-tokens/{made['token']}")) == (404, "not_found")
    assert other.post("links/resolve", {"kind": "server", "platform_id": SERVER_ID}).json() == {"linked": False}
    assert other.post("link-tokens", WISH).status_code == 201


def test_another_bots_token_does_not_replace_this_ones(api, bot_api, make_bot):
    _, other = make_bot("other")
    made = bot_api.post("link-tokens", WISH).json()
    other.post("link-tokens", WISH)
    assert bot_api.get(f"link-tokens/{made['token']}").json() == {"status": "pending"}


# --- how often --------------------------------------------------------------------------------------


def test_a_bot_that_asks_too_often_is_told_when_to_come_again(bot_api, make_bot, settings):
    settings.BOT_RATE = 2
    target = {"kind": "server", "platform_id": SERVER_ID}
    for _ in range(2):
        assert bot_api.post("links/resolve", target).status_code == 200
    refused = bot_api.post("links/resolve", target)
    assert code_of(refused) == (429, "rate_limited")
    assert 1 <= int(refused["Retry-After"]) <= 30
    assert refused.json()["fields"]["window"] == "minute"
    assert refused.json()["fields"]["resets_at"]
    assert code_of(bot_api.post("link-tokens", WISH)) == (429, "rate_limited")
    assert code_of(bot_api.get("link-tokens/unknown")) == (404, "not_found")  # reading is not counted
    assert make_bot("other")[1].post("links/resolve", target).status_code == 200
    settings.BOT_RATE = 0
    assert bot_api.post("links/resolve", target).status_code == 200


def test_private_targets_are_told_with_who_asks(issue, api):
    shown = api.get(f"link-tokens/{issue(PRIVATE).token}").json()
    assert (shown["kind"], shown["platform_user_id"], shown["platform_user_name"]) == ("user", USER_ID, "ada_k")
