"""Delivering: signed, at least once whatever is lost, given up in the end, and never to where it must not go."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone

from common import faults
from copilot import sweep
from linking.bots import register_bot, switch_bot
from linking.models import Webhook, WebhookDelivery
from linking.webhooks import deliver
from linking.webhooks.outbox import do_record
from linking.webhooks.registration import remove_webhook, set_webhook
from tests.linking.receiving import Receiver, Told, documented_verify, receiver, told

__all__ = ["receiver", "told"]

pytestmark = pytest.mark.django_db(transaction=True)


def happen(told: Told, count: int = 1) -> None:
    for number in range(count):
        do_record(told.bot.pk, "link.made", {"link": f"link {number}"})


def run() -> None:
    """Do what a worker does on a hint."""
    asyncio.run(deliver.deliver_due())


def pass_time(seconds: float = 4000) -> None:
    """Move all moments of deliveries that wait into the past."""
    ago = timedelta(seconds=seconds)
    waiting = WebhookDelivery.objects.waiting()
    waiting.update(next_at=F("next_at") - ago, leased_until=F("leased_until") - ago)


# --- what arrives -----------------------------------------------------------------------------


def test_what_happened_arrives_and_the_documented_code_verifies_it(told: Told, receiver: Receiver) -> None:
    happen(told)
    run()
    [delivery] = told.deliveries
    [request] = receiver.received
    assert (delivery.state, delivery.last_status, delivery.attempts) == ("delivered", 204, 1)
    assert documented_verify()(request.headers, request.body, told.secret) == str(delivery.pk)
    body = json.loads(request.body)
    assert (body["id"], body["type"], body["data"]) == (str(delivery.pk), "link.made", {"link": "link 0"})


@pytest.mark.parametrize("change", ["body", "id", "time", "secret", "age", "signature"])
def test_the_documented_code_refuses_what_is_not_ours(told: Told, receiver: Receiver, change: str) -> None:
    happen(told)
    run()
    [request] = receiver.received
    headers, body, secret = dict(request.headers), request.body, told.secret
    match change:
        case "body":
            body += b" "
        case "id":
            headers["webhook-id"] = "other"
        case "time":
            headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)
        case "secret":
            secret = "whsec_" + "A" * 44
        case "age":
            headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) - 1000)
        case "signature":
            headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v0,")
    with pytest.raises(ValueError, match=r"signed|old"):
        documented_verify()(headers, body, secret)


def test_both_secrets_verify_after_a_rotation(told: Told, receiver: Receiver) -> None:
    new = set_webhook(bot=told.bot, url=receiver.url, rotate_secret=True).secret
    happen(told)
    run()
    [request] = receiver.received
    for secret in (told.secret, new):
        assert documented_verify()(request.headers, request.body, secret)


def test_nothing_is_written_for_a_bot_without_a_webhook_or_that_is_off(told: Told) -> None:
    other, _ = register_bot(name="other", platform="discord")
    do_record(other.pk, "link.made", {})
    switch_bot(bot_id=told.bot.pk, on=False)
    happen(told)
    assert not WebhookDelivery.objects.exists()


def test_what_waits_for_a_bot_that_is_off_is_sent_when_it_is_on_again(told: Told, receiver: Receiver) -> None:
    happen(told)
    switch_bot(bot_id=told.bot.pk, on=False)
    run()
    assert not receiver.received
    switch_bot(bot_id=told.bot.pk, on=True)
    run()
    assert len(receiver.received) == 1


# --- losses -------------------------------------------------------------------------------------


def test_a_process_lost_before_it_sent_leaves_it_to_another(told: Told, receiver: Receiver) -> None:
    happen(told)

    def die() -> None:
        raise SystemExit

    faults.arm("webhook_claimed", die)
    with pytest.raises(SystemExit):
        run()
    faults.disarm_all()
    assert not receiver.received
    run()
    assert not receiver.received, "it is that process's until its time is over"
    pass_time(deliver.LEASE_SECONDS + 1)
    run()
    assert receiver.ids == [str(each.pk) for each in told.deliveries]


def test_a_process_lost_after_it_sent_makes_it_sent_twice_with_one_id(told: Told, receiver: Receiver) -> None:
    happen(told)
    attempt = deliver.claim()
    assert attempt is not None
    asyncio.run(deliver._send(attempt))
    pass_time(deliver.LEASE_SECONDS + 1)
    run()
    assert receiver.ids == [str(attempt.delivery_id)] * 2
    assert receiver.received[0].body == receiver.received[1].body


def test_a_late_note_changes_nothing_of_what_another_claimed(told: Told) -> None:
    happen(told)
    late = deliver.claim()
    assert late is not None
    pass_time(deliver.LEASE_SECONDS + 1)
    assert deliver.claim() is not None
    deliver.note(late, 500, "")
    deliver.note(late, 204, "")
    [delivery] = told.deliveries
    assert (delivery.state, delivery.failures, delivery.attempts) == ("waiting", 0, 2)
    assert delivery.leased_until is not None


class Found(list[Any]):
    """Rows that were read already."""

    def order_by(self, *names: str) -> Found:
        return self

    values_list = order_by


@pytest.mark.parametrize(("guarded", "claims"), [(True, 1), (False, 2)], ids=["guarded", "control"])
def test_of_two_that_find_the_same_delivery_one_sends_it(
    told: Told, monkeypatch: pytest.MonkeyPatch, guarded: bool, claims: int
) -> None:
    happen(told)
    found, won, both_found = deliver._due, [], threading.Barrier(2, timeout=10)
    looked = threading.local()

    def found_by_both() -> Found:
        if getattr(looked, "before", False):
            return Found()
        looked.before = True
        rows = Found(found().values_list("pk", "attempts"))
        both_found.wait()
        return rows

    monkeypatch.setattr(deliver, "_due", found_by_both)
    if not guarded:
        rows = type(WebhookDelivery.objects.all())
        update = rows.update
        monkeypatch.setattr(rows, "update", lambda self, **values: update(self, **values) or 1)

    def claim() -> None:
        try:
            # As it is inside its transaction, which would have one of them look after the other on SQLite.
            if attempt := deliver.claim.__wrapped__():
                won.append(attempt)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=claim) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == claims


def test_the_sweep_sends_what_no_worker_was_told_of(
    told: Told, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(told)

    class Here:
        stopping = False

        def begin_beside(self, work: Any) -> None:
            asyncio.run(work())

    assert "elsewhere" not in sweep.sweep(), "a process that does not work sends nothing"
    monkeypatch.setattr("copilot.worker.current", Here)
    assert sweep.sweep()["elsewhere"] == 1
    assert len(receiver.received) == 1
    assert "elsewhere" not in sweep.sweep()


def test_workers_are_told_after_the_commit_and_not_before(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr("linking.webhooks.outbox.send_hint", sent.append)
    with transaction.atomic():
        happen(told)
        assert not sent
    assert sent == ["linking.deliver_webhooks"]
    with transaction.atomic():
        happen(told)
        transaction.set_rollback(True)
    assert len(told.deliveries) == len(sent) == 1


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 404, 301, 307, 429])
def test_a_failure_is_tried_again_later_with_the_same_id(told: Told, receiver: Receiver, status: int) -> None:
    happen(told)
    receiver.statuses = [status, 204]
    run()
    [delivery] = told.deliveries
    assert (delivery.state, delivery.failures, delivery.last_status) == ("waiting", 1, status)
    assert delivery.next_at > timezone.now()
    run()
    assert len(receiver.received) == 1, "not before its time, and no redirect is followed"
    pass_time()
    run()
    assert receiver.ids == [str(delivery.pk)] * 2
    assert told.deliveries[0].state == "delivered"
    for request in receiver.received:
        assert documented_verify()(request.headers, request.body, told.secret)


def test_nobody_there_is_a_failure_and_says_so(told: Told) -> None:
    set_webhook(bot=told.bot, url="http://127.0.0.1:9/")
    happen(told)
    run()
    [delivery] = told.deliveries
    assert (delivery.state, delivery.last_status) == ("waiting", None)
    assert "127.0.0.1" in delivery.last_error


def test_each_failure_makes_the_wait_longer_up_to_an_hour() -> None:
    for failures, longest in [(1, 5), (2, 10), (5, 80), (12, 3600), (1000, 3600)]:
        waits = {deliver.wait_after(failures) for _ in range(50)}
        assert longest / 2 <= min(waits) < max(waits) <= longest
        assert len(waits) > 1, "not all at once"


def test_it_is_given_up_after_so_many_failures(told: Told, receiver: Receiver) -> None:
    happen(told)
    receiver.statuses = [500]
    for _ in range(deliver.FAILURES_MAX + 2):
        run()
        pass_time()
    [delivery] = told.deliveries
    assert (delivery.state, len(receiver.received)) == ("dead", deliver.FAILURES_MAX)
    assert deliver.deliver_again(delivery.pk)
    receiver.statuses = [204]
    run()
    assert set(receiver.ids) == {str(delivery.pk)}
    assert told.deliveries[0].state == "delivered"


def test_gone_switches_the_webhook_off_and_nothing_more_is_sent(told: Told, receiver: Receiver) -> None:
    happen(told, 3)
    receiver.statuses = [410]
    run()
    assert len(receiver.received) == 1
    assert {each.state for each in told.deliveries} == {"dead"}
    assert "410" in Webhook.objects.get().disabled_reason
    happen(told)
    assert len(told.deliveries) == 3


def test_gone_does_not_switch_off_what_was_set_to_another_address_meanwhile(told: Told) -> None:
    happen(told)
    attempt = deliver.claim()
    assert attempt is not None
    set_webhook(bot=told.bot, url="https://bot.example.org/new")
    deliver.note(attempt, 410, "")
    assert Webhook.objects.get().disabled_at is None
    assert told.deliveries[0].state == "waiting"


def test_an_answer_that_does_not_come_is_a_failure(
    told: Told, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.outbound.TIMEOUT_SECONDS", 0.01)
    listener = socket.create_server(("127.0.0.1", 0))
    set_webhook(bot=told.bot, url=f"http://127.0.0.1:{listener.getsockname()[1]}/")
    happen(told)
    run()
    listener.close()
    assert "No answer" in told.deliveries[0].last_error


def test_a_name_that_leads_inside_is_not_asked(told: Told, receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOK_LOCAL_ADDRESSES = False
    Webhook.objects.update(url="http://localhost/")
    happen(told)
    run()
    assert not receiver.received
    assert "not at a public address" in told.deliveries[0].last_error


def test_a_secret_that_cannot_be_read_any_more_is_said(told: Told, receiver: Receiver, settings: Any) -> None:
    settings.SECRET_KEY = "another" * 10
    happen(told)
    run()
    assert not receiver.received
    assert "new one" in told.deliveries[0].last_error
    set_webhook(bot=told.bot, url=receiver.url, rotate_secret=True)
    pass_time()
    run()
    assert told.deliveries[0].state == "delivered"


def test_a_bot_that_lets_us_wait_delays_no_other(told: Told, receiver: Receiver) -> None:
    happen(told, 5)
    held = [deliver.claim() for _ in range(deliver.AT_ONCE_EACH)]
    assert None not in held
    assert deliver.claim() is None, "no more of the same at once"
    other, _ = register_bot(name="other", platform="discord")
    set_webhook(bot=other, url=receiver.url)
    do_record(other.pk, "link.made", {})
    claimed = deliver.claim()
    assert claimed is not None
    assert WebhookDelivery.objects.get(pk=claimed.delivery_id).webhook.bot == other


def test_a_process_sends_only_so_many_at_once(told: Told, receiver: Receiver, monkeypatch: Any) -> None:
    happen(told)
    monkeypatch.setattr(deliver, "_sending", deliver.AT_ONCE)
    run()
    assert not receiver.received


def test_a_removed_webhook_takes_what_waited_along(told: Told, receiver: Receiver) -> None:
    happen(told, 2)
    attempt = deliver.claim()
    assert attempt is not None
    remove_webhook(bot=told.bot)
    deliver.note(attempt, 410, "")
    run()
    assert not receiver.received
    assert not WebhookDelivery.objects.exists()


def test_what_was_over_long_ago_is_forgotten(told: Told, receiver: Receiver) -> None:
    happen(told, 3)
    run()
    arrived, died, waits = WebhookDelivery.objects.order_by("pk")
    long_ago = timezone.now() - timedelta(days=20)
    WebhookDelivery.objects.filter(pk=arrived.pk).update(finished_at=long_ago)
    WebhookDelivery.objects.filter(pk=died.pk).update(finished_at=long_ago, state="dead")
    WebhookDelivery.objects.filter(pk=waits.pk).update(finished_at=None, state="waiting")
    assert deliver.forget_old() == 1
    assert {each.pk for each in told.deliveries} == {died.pk, waits.pk}


def test_looking_for_what_is_due_is_one_query(told: Told, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert not deliver.is_due()
    happen(told, 20)
    with django_assert_num_queries(1):
        assert deliver.is_due()
