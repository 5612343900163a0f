"""Who may read ``/metrics``, and what stands there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from common.db import seconds_ago
from common.metrics import _forget_dead_gauges
from config import metrics as page
from config.startup import serve_metrics
from copilot.diagnostics.figures import figures
from copilot.models import Turn, Worker
from linking.keys import issue_key
from tests.factories import accept, expire_lease, hold, make_session, make_turn, make_user
from tests.turns.test_sweep_plans import plans, scans

ELSEWHERE = {"REMOTE_ADDR": "192.0.2.7"}


def read(client: Client, **more: Any) -> Any:
    return client.get("/metrics", **{**ELSEWHERE, **more})


@pytest.mark.django_db(transaction=True)
def test_this_host_reads_it_without_a_key(client: Client) -> None:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=")
    assert "holdfast_database_up 1.0" in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_strangers_and_ordinary_people_are_refused(client: Client) -> None:
    person = make_user()
    _, key = issue_key(user=person, scopes=["chat", "approve"])
    assert (read(client).status_code, read(client).json()["code"]) == (401, "not_authenticated")
    assert read(client, HTTP_X_FORWARDED_FOR="127.0.0.1", REMOTE_ADDR="127.0.0.1").status_code == 401
    refused = read(client, HTTP_AUTHORIZATION=f"Bearer {key}")
    assert (refused.status_code, refused.json()["code"]) == (403, "scope")
    client.force_login(person)
    assert read(client).status_code == 403
    assert client.post("/metrics").status_code == 405


@pytest.mark.django_db(transaction=True)
def test_staff_and_their_operator_keys_read_it(client: Client) -> None:
    staff = make_user()
    staff.is_staff = True
    staff.save()
    _, chatting = issue_key(user=staff, scopes=["chat"])
    _, operating = issue_key(user=staff, scopes=["operator"])
    assert read(client, HTTP_AUTHORIZATION=f"Bearer {chatting}").status_code == 403
    assert read(client, HTTP_AUTHORIZATION=f"Bearer {operating}").status_code == 200
    client.force_login(staff)
    assert read(client).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_without_the_database_the_process_still_tells_what_it_counted(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(page, "figures", fail)
    text = client.get("/metrics").content.decode()
    assert "holdfast_database_up 0.0" in text
    assert "holdfast_sweep_passes_total" in text
    assert "holdfast_turns{" not in text


def rows() -> dict[str, dict[tuple[str, ...], float]]:
    return {reading.name: dict(reading.values) for reading in figures()}


@pytest.mark.django_db
def test_what_is_live_is_counted_by_state_and_origin() -> None:
    session = make_session()
    hold(make_turn(session))
    accept(session, "a message that waits is no turn")
    make_turn(make_session())
    found = rows()
    assert found["turns"]["running", "web"] == 1
    assert found["turns"]["queued", "web"] == 1
    assert sum(found["turns"].values()) == 2
    assert found["turns_orphaned"] == {(): 0}
    assert found["approvals_waiting"] == {("tool_approval",): 0, ("ask_user_question",): 0}


@pytest.mark.django_db
def test_what_has_waited_is_told_in_seconds() -> None:
    running = hold(make_turn()).turn
    Turn.objects.filter(pk=running.pk).update(progress_at=seconds_ago(90))
    expire_lease(running.pk)
    Turn.objects.filter(pk=make_turn().pk).update(queued_at=seconds_ago(30))
    found = rows()
    assert 30 <= found["queue_lag_seconds"][()] < 60
    assert 90 <= found["silence_seconds"][()] < 120
    assert found["turns_orphaned"] == {(): 1}


@pytest.mark.django_db
def test_workers_that_are_gone_or_going_are_not_counted() -> None:
    about = {"host": "here", "pid": 1, "version": "1"}
    Worker.objects.create(**about, slots=20)
    Worker.objects.create(**about, slots=30, stopping=True)
    gone = Worker.objects.create(**about, slots=40)
    Worker.objects.filter(pk=gone.pk).update(seen_at=seconds_ago(60))
    found = rows()
    assert (found["workers"], found["worker_slots"]) == ({(): 1}, {(): 20})


@pytest.mark.django_db
def test_reading_the_rows_reads_no_whole_table() -> None:
    make_turn(make_session())
    assert scans(plans(figures)) == []


def test_what_processes_held_open_that_are_gone_is_not_summed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = [f"gauge_livesum_{gone.pid}.db", f"counter_{gone.pid}.db", f"gauge_livesum_{os.getpid()}.db"]
    for name in names:
        (tmp_path / name).touch()
    _forget_dead_gauges(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(names[1:])


def test_a_port_that_is_taken_stops_the_start_and_names_the_mend(settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings.METRICS_HOST, settings.METRICS_PORT = "127.0.0.1", taken.getsockname()[1]
        with pytest.raises(SystemExit, match=r"METRICS_PORT: cannot listen on .*port of its own"):
            serve_metrics()


def test_no_port_is_opened_that_nobody_asked_for(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    monkeypatch.setattr("common.metrics.serve", lambda port, host: opened.append(port))
    settings.METRICS_PORT = 0
    serve_metrics()
    assert opened == []
