"""Setting a webhook, by REST and by command, and what it looks like to its bot and to operators."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from linking.bots import register_bot
from linking.models import Webhook, WebhookDelivery
from linking.webhooks import deliver
from linking.webhooks.outbox import do_record
from linking.webhooks.registration import set_webhook
from tests.linking.receiving import Told, receiver, told

__all__ = ["receiver", "told"]
PATH = "/api/v1/bot/webhook"
URL = "https://bot.example.org/holdfast"

pytestmark = pytest.mark.django_db


def put(headers: dict[str, str], body: Any) -> Any:
    return Client().put(PATH, body, content_type="application/json", headers=headers)


@pytest.fixture
def auth() -> dict[str, str]:
    return {"Authorization": f"Bearer {register_bot(name='b', platform='discord')[1]}"}


def test_a_webhook_is_set_shown_and_removed(auth: dict[str, str]) -> None:
    assert Client().get(PATH, headers=auth).json()["code"] == "not_found"
    made = put(auth, {"url": URL})
    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    shown = Client().get(PATH, headers=auth).json()
    assert {**shown, "secret": made.json()["secret"]} == made.json()
    assert (shown["url"], shown["waiting"], shown["dead"]) == (URL, 0, 0)
    assert Client().delete(PATH, headers=auth).status_code == 204
    assert Client().delete(PATH, headers=auth).status_code == 404


def test_a_secret_is_shown_once_and_stored_sealed(auth: dict[str, str]) -> None:
    secret = put(auth, {"url": URL}).json()["secret"]
    again = put(auth, {"url": URL + "/2"})
    assert (again.status_code, "secret" in again.json(), again.json()["url"]) == (200, False, URL + "/2")
    row = Webhook.objects.values().get()
    assert secret not in str(row)


def test_a_new_secret_leaves_the_one_before_some_time(auth: dict[str, str]) -> None:
    first = put(auth, {"url": URL}).json()["secret"]
    second = put(auth, {"url": URL, "rotate_secret": True}).json()
    assert second["secret"] != first
    assert second["previous_secret_until"]
    webhook = Webhook.objects.get()
    assert deliver._secrets_of(webhook) == (second["secret"], first)
    webhook.previous_until = timezone.now()
    assert deliver._secrets_of(webhook) == (second["secret"],)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        ({"url": ""}, "invalid"),
        ({"url": 7}, "invalid"),
        ({"url": "ftp://bot.example.org/"}, "invalid"),
        ({"url": "https://ada:secret@bot.example.org/"}, "invalid"),
        ({"url": "https://bot.example.org/" + "x" * 2000}, "invalid"),
        ({"url": "nonsense"}, "invalid"),
        ({"url": "https://bot.example.org/\x00"}, "invalid"),
        ({"url": URL, "rotate_secret": "yes"}, "invalid"),
        ({"url": URL, "events": []}, "unknown_field"),
    ],
    ids=range(10),
)
def test_what_cannot_be_told_is_refused(auth: dict[str, str], body: Any, code: str) -> None:
    refused = put(auth, body)
    assert (refused.status_code, refused.json()["code"]) == (400, code)
    assert not Webhook.objects.exists()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "https://[::1]/", "http://10.0.0.1/", "http://169.254.169.254/x", f"{URL[:23]}:8443/"],
)
def test_only_public_addresses_are_told_unless_an_operator_says_so(
    auth: dict[str, str], settings: Any, url: str
) -> None:
    settings.WEBHOOK_LOCAL_ADDRESSES = False
    assert put(auth, {"url": url}).status_code == 400
    settings.WEBHOOK_LOCAL_ADDRESSES = True
    assert put(auth, {"url": url}).status_code == 201


def test_a_bot_has_nothing_of_the_webhook_of_another(auth: dict[str, str], told: Told) -> None:
    assert Client().get(PATH, headers=auth).status_code == 404
    assert Client().delete(PATH, headers=auth).status_code == 404
    put(auth, {"url": URL})
    assert Client().get(PATH, headers=told.auth).json()["url"] != URL
    assert Client().delete(PATH, headers=auth).status_code == 204
    assert Webhook.objects.get().bot == told.bot


def test_an_operator_sets_it_by_command() -> None:
    register_bot(name="b", platform="discord")
    out = io.StringIO()
    call_command("set_webhook", "b", URL, stdout=out)
    first = out.getvalue().splitlines()[-1]
    assert deliver._secrets_of(Webhook.objects.get()) == (first,)
    out = io.StringIO()
    call_command("set_webhook", "b", URL, stdout=out)
    assert "whsec_" not in out.getvalue()
    out = io.StringIO()
    call_command("set_webhook", "b", URL, "--rotate", stdout=out)
    assert deliver._secrets_of(Webhook.objects.get()) == (out.getvalue().splitlines()[-1], first)
    with pytest.raises(CommandError, match="no bot named"):
        call_command("set_webhook", "c", URL)
    with pytest.raises(CommandError, match="must begin with"):
        call_command("set_webhook", "b", "gopher://x")


@pytest.fixture
def admin(make_user: Any) -> Client:
    client = Client()
    client.force_login(make_user(username="root", is_staff=True, is_superuser=True))
    return client


def test_the_admin_shows_no_secret_and_switches_off(admin: Client, told: Told) -> None:
    do_record(told.bot.pk, "link.made", {"link": "x"})
    webhook, delivery = Webhook.objects.get(), WebhookDelivery.objects.get()
    for path in (
        "webhook/",
        f"webhook/{webhook.pk}/change/",
        "webhookdelivery/",
        f"webhookdelivery/{delivery.pk}/change/",
    ):
        page = admin.get(f"/admin/linking/{path}")
        assert page.status_code == 200
        assert told.secret not in page.content.decode()
        assert webhook.sealed_secret not in page.content.decode()
    form = {"action": "switch_off", "_selected_action": [str(webhook.pk)]}
    assert admin.post("/admin/linking/webhook/", form).status_code == 302
    webhook.refresh_from_db()
    assert "operator" in webhook.disabled_reason
    assert [each.state for each in told.deliveries] == ["dead"]
    do_record(told.bot.pk, "link.made", {"link": "y"})
    assert len(told.deliveries) == 1
    shown = Client().get(PATH, headers=told.auth).json()
    assert shown["disabled_reason"] == "Switched off by an operator."
    assert put(told.auth, {"url": webhook.url}).status_code == 200
    assert "disabled_at" not in Client().get(PATH, headers=told.auth).json()


def test_dead_letters_are_delivered_again_with_their_ids(admin: Client, told: Told) -> None:
    do_record(told.bot.pk, "link.made", {"link": "x"})
    deliver.disable(Webhook.objects.get().pk, "For a test.")
    set_webhook(bot=told.bot, url=Webhook.objects.get().url)
    [dead] = told.deliveries
    form = {"action": "again", "_selected_action": [str(dead.pk)]}
    assert admin.post("/admin/linking/webhookdelivery/", form).status_code == 302
    [again] = told.deliveries
    assert (again.pk, again.body, again.state) == (dead.pk, dead.body, "waiting")
    assert deliver.is_due()
    assert not deliver.deliver_again(again.pk)


def test_the_list_of_deliveries_costs_the_same_however_long_it_is(
    admin: Client, told: Told, django_assert_max_num_queries: Any
) -> None:
    for number in range(5):
        do_record(told.bot.pk, "link.made", {"link": number})
    with django_assert_max_num_queries(8):
        admin.get("/admin/linking/webhookdelivery/")
