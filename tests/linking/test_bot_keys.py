"""Bots and their keys: registering, rotating, switching off, and where they count."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.http import JsonResponse
from django.test import Client
from django.urls import path
from django.utils import timezone
from rest_framework.response import Response

from common.auth import authenticate_scope_headers, caller_of_key
from common.errors import Conflict, Invalid, NotAuthenticated, NotFound
from linking import bots
from linking.bot_auth import BotView, bot_caller_of_key, bot_of, bot_view_async, check_bot_still_valid
from linking.bots import authenticate_bot, register_bot, revoke_bot_key, rotate_key, switch_bot
from linking.keys import issue_key
from linking.models import Bot, BotKey
from tests.turns.racing import guarded, meet, race


async def plain(request, *, caller):
    return JsonResponse({"bot": caller.bot.name})


class Rest(BotView):
    def get(self, request):
        return Response({"bot": bot_of(request).name})

    post = get


class Deciding(Rest):
    scope = "approve"


urlpatterns = [
    path("plain", bot_view_async(methods=("GET", "POST"))(plain)),
    path("rest", Rest.as_view()),
    path("deciding", Deciding.as_view()),
    path("plain-deciding", bot_view_async("approve")(plain)),
]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


def bearer(secret):
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}"}


@pytest.fixture
def bot(transactional_db):
    return register_bot(name="concierge", platform="discord")


def test_a_registered_bot_is_recognised_by_its_key(bot):
    row, secret = bot
    assert secret.startswith("hfb_")
    key = authenticate_bot(secret)
    assert (key.bot, key.scopes, key.bot.platform) == (row, [], "discord")


def test_only_the_hash_of_the_secret_is_stored(bot):
    stored = [str(value) for value in BotKey.objects.values_list().get()]
    assert bot[1] not in stored
    assert hashlib.sha256(bot[1].encode()).hexdigest() in stored


@pytest.mark.parametrize(
    "wish",
    [
        {"name": ""},
        {"name": " concierge"},
        {"name": "x" * 65},
        {"name": "a\nb"},
        {"platform": ""},
        {"platform": "dis cord"},
        {"platform": "x" * 33},
        {"scopes": ["chat"]},
    ],
    ids=str,
)
def test_what_no_bot_can_be_is_refused(wish):
    with pytest.raises(Invalid):
        register_bot(**{"name": "concierge", "platform": "discord", **wish})
    assert not Bot.objects.exists()


def test_registering_again_adds_a_key_and_keeps_the_old(bot):
    again, secret = register_bot(name="concierge", platform="Discord", scopes=["approve"])
    assert again == bot[0]
    assert authenticate_bot(secret).scopes == ["approve"]
    assert authenticate_bot(bot[1]).scopes == []


def test_a_name_belongs_to_one_platform(bot):
    with pytest.raises(Conflict, match="discord"):
        register_bot(name="concierge", platform="slack")
    with pytest.raises(IntegrityError), transaction.atomic():
        Bot.objects.create(name="concierge", platform="slack")


def test_rotation_replaces_all_keys_at_once(bot):
    BotKey.objects.update(created_at=timezone.now() - timedelta(days=1))
    _, second = register_bot(name="concierge", platform="discord", scopes=["approve"])
    _, third = rotate_key(name="concierge")
    assert [authenticate_bot(secret) for secret in (bot[1], second)] == [None, None]
    assert authenticate_bot(third).scopes == ["approve"]  # as the newest had them


def test_rotation_with_a_grace_lets_the_old_key_work_for_that_long(bot):
    _, new = rotate_key(name="concierge", grace=600, scopes=[])
    assert authenticate_bot(bot[1]) is not None
    rotate_key(name="concierge", grace=6000)  # what ends sooner ends sooner
    oldest = BotKey.objects.get(prefix=bot[1][:9])
    assert timedelta(minutes=9) < oldest.revoked_at - timezone.now() <= timedelta(minutes=10)
    BotKey.objects.filter(pk=oldest.pk).update(revoked_at=timezone.now() - timedelta(seconds=1))
    assert authenticate_bot(bot[1]) is None
    assert authenticate_bot(new) is not None


@pytest.mark.scaled
@guarded
def test_of_two_rotations_at_once_one_key_is_left(bot, monkeypatch, guarded):
    if not guarded:
        monkeypatch.setattr(bots, "_locked", lambda name: Bot.objects.filter(name=name).first())
    meet(monkeypatch, bots, "_issue")
    secrets = [secret for _, secret in race(*[lambda: rotate_key(name="concierge")] * 2)]
    assert sum(authenticate_bot(secret) is not None for secret in secrets) == (1 if guarded else 2)


def test_what_cannot_be_rotated_is_refused(bot):
    with pytest.raises(NotFound):
        rotate_key(name="nobody")
    with pytest.raises(Invalid):
        rotate_key(name="concierge", grace=-1)
    assert authenticate_bot(bot[1]) is not None


def test_a_bot_that_is_off_is_nobody_until_it_is_on_again(bot):
    row, secret = bot
    caller = bot_caller_of_key(secret)
    assert switch_bot(bot_id=row.pk, on=False)
    assert not switch_bot(bot_id=row.pk, on=False)
    assert authenticate_bot(secret) is None
    assert not check_bot_still_valid(caller)
    with pytest.raises(Conflict):
        register_bot(name="concierge", platform="discord")
    assert switch_bot(bot_id=row.pk, on=True)
    assert check_bot_still_valid(caller)


def test_a_revoked_key_is_nobody(bot):
    key = BotKey.objects.get()
    assert revoke_bot_key(key_id=key.pk)
    assert not revoke_bot_key(key_id=key.pk)
    assert authenticate_bot(bot[1]) is None


@pytest.mark.parametrize("secret", ["", "hfb_", "hfb_wrong", "hfb_" + "x" * 5000, "hfb_\udcff", None])
def test_what_is_no_key_is_nobody(bot, secret):
    with pytest.raises(NotAuthenticated):
        bot_caller_of_key(secret)


def test_a_key_costs_one_query_and_notes_its_use_once_a_minute(bot, django_assert_num_queries):
    authenticate_bot(bot[1])
    first = BotKey.objects.get().last_used_at
    assert first is not None
    with django_assert_num_queries(1):
        assert authenticate_bot(bot[1]) is not None
    BotKey.objects.update(last_used_at=first - timedelta(minutes=2))
    authenticate_bot(bot[1])
    assert BotKey.objects.get().last_used_at >= first


# --- where a key counts ---------------------------------------------------------------------


@pytest.mark.parametrize("url", ["/plain", "/rest"])
def test_only_a_bots_key_is_let_in_where_bots_are(bot, user, url):
    _, personal = issue_key(user=user)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    for headers in ({}, bearer(personal), bearer("hfb_nope"), {"HTTP_AUTHORIZATION": "Bearer"}):
        answer = client.get(url, **headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
        assert answer["WWW-Authenticate"] == "Bearer"
    assert client.get(url, **bearer(bot[1])).json() == {"bot": "concierge"}
    assert client.post(url, **bearer(bot[1])).status_code == 200
    assert client.get(f"{url}?key={bot[1]}", **bearer(bot[1])).status_code == 401


def test_a_bots_key_is_nobody_elsewhere(bot):
    with pytest.raises(NotAuthenticated, match="/api/v1/bot/"):
        caller_of_key(bot[1])


async def test_a_bots_key_opens_no_socket(bot):
    with pytest.raises(NotAuthenticated, match="/api/v1/bot/"):
        await authenticate_scope_headers([(b"authorization", f"Bearer {bot[1]}".encode())])


@pytest.mark.parametrize("url", ["/plain-deciding", "/deciding"])
def test_deciding_is_off_by_default(bot, url):
    client = Client()
    refused = client.get(url, **bearer(bot[1]))
    assert (refused.status_code, refused.json()["code"]) == (403, "scope")
    _, allowed = register_bot(name="concierge", platform="discord", scopes=["approve"])
    assert client.get(url, **bearer(allowed)).status_code == 200


def test_a_caller_shows_no_secret(bot):
    assert bot[1] not in repr(bot_caller_of_key(bot[1]))
