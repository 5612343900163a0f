"""The page of diagnostics: every figure of one measurement, for staff who may see turns."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from copilot.diagnostics.categories import CATEGORIES
from copilot.diagnostics.metrics import DispatchLag, Ended, Hour, LogSize, Metrics, WorkerState
from copilot.models import User, Worker
from copilot.operators import diagnostics_page
from copilot.operators.charts import HEIGHT, chart
from copilot.operators.signs import signs
from tests.factories import make_running, make_turn, make_user
from tests.operators.pages import logged_in, root, staff, words

pytestmark = pytest.mark.django_db

PAGE = "/admin/diagnostics/"
SCRIPT = "<script>alert(1)</script>"
NOW = datetime(2026, 11, 22, 7, 30, tzinfo=UTC)
WORKER = WorkerState(
    host="host-a",
    pid=4711,
    version="0.9.1",
    slots=200,
    running=13,
    seen_seconds=0.4,
    loop_lag_ms=7,
    stopping=False,
    alive=True,
)
#: Every figure is another one, so that none can stand in the place of another.
MEASURED = Metrics(
    timestamp=NOW,
    hours=24.0,
    counts={name: 1001 + place for place, name in enumerate(CATEGORIES)},
    invalid_kinds={"queued_with_start": 1021},
    stranded_messages=1031,
    never_started=1032,
    stop_unconfirmed=1033,
    broker_queue_depth=1034,
    oldest_running_seconds=7384.0,
    active_users=1036,
    completed=Ended(hour=1041, day=1042),
    failed=Ended(hour=1043, day=1044),
    dispatch_lag=DispatchLag(claims=199, p50_ms=12.2, p99_ms=345.6),
    log=LogSize(rows=1051, bytes=3 * 1024 * 1024),
    workers=[WORKER],
    series=[Hour(NOW - timedelta(hours=23 - ago), 100 + ago, ago) for ago in range(24)],
)
QUIET = replace(
    MEASURED, counts=dict.fromkeys(CATEGORIES, 0), broker_queue_depth=0, stranded_messages=0, invalid_kinds={}
)


@pytest.fixture
def admin() -> Client:
    return logged_in(root())


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that lets the page show this measurement."""

    def show(what: Metrics) -> None:
        monkeypatch.setattr(diagnostics_page, "measure", lambda: what)

    return show


def test_it_shows_what_is_measured(admin: Client) -> None:
    make_running()
    for _ in range(3):
        make_turn()
    page = words(admin.get(PAGE))
    assert "Running 1 " in page
    assert "Queued 3 " in page
    assert "Active sessions 4 " in page


def test_every_figure_is_shown(admin: Client, measured: Any) -> None:
    measured(MEASURED)
    page = words(admin.get(PAGE))
    for name, category in CATEGORIES.items():
        assert f"{category.title} {MEASURED.counts[name]:,} {category.meaning}" in page
    for shown in (
        "Measured at 2026-11-22 07:30:00 UTC",
        "Never started 1,032",
        "Stops not confirmed 1,033",
        "Stranded messages 1,031",
        "In the broker 1,034",
        "From queue to worker 12 ms the median; 346 ms the 99th percentile, of the last 199 claims",
        "Completed in the last hour 1,041",
        "Completed in 24 hours 1,042 43.42 an hour",
        "Failed in the last hour 1,043",
        "Failed in 24 hours 1,044 43.50 an hour",
        "Active sessions 2,003",
        "Active people 1,036",
        "Oldest running turn 2 h 3 min",
        "Event log 3.0 MB",
        "Events 1,051",
        "host-a:4711 0.9.1 13 200 0.4 s ago 7 ms works",
        "1021 queued_with_start",
    ):
        assert shown in page.replace("\xa0", " ")


def test_what_nobody_knows_is_said_to_be_unknown(admin: Client, measured: Any) -> None:
    measured(
        replace(
            QUIET,
            broker_queue_depth=None,
            oldest_running_seconds=None,
            dispatch_lag=None,
            log=LogSize(None, 0),
            workers=[],
            series=[],
        )
    )
    page = words(admin.get(PAGE))
    for shown in (
        "In the broker unknown",
        "From queue to worker unknown",
        "Oldest running turn none",
        "Events unknown",
        "Workers None.",
    ):
        assert shown in page


def test_each_category_leads_to_its_turns(admin: Client) -> None:
    page = admin.get(PAGE).content.decode()
    for name in CATEGORIES:
        link = f"/admin/copilot/turn/?category={name}"
        assert f'href="{link}"' in page
        assert admin.get(link).status_code == 200


def test_what_needs_a_look_stands_out(admin: Client, measured: Any) -> None:
    def standing_out() -> set[str]:
        found = re.findall(r'category=(\w+)" class="attention"', admin.get(PAGE).content.decode())
        return set(found)

    measured(MEASURED)
    assert standing_out() == {"orphaned", "failed", "long_running", "stuck_queued", "invalid"}
    measured(QUIET)
    assert standing_out() == set()


def test_workers_that_are_gone_or_stop_are_told_from_those_that_work(admin: Client, measured: Any) -> None:
    states = [WORKER, replace(WORKER, pid=2, stopping=True), replace(WORKER, pid=3, alive=False, stopping=True)]
    measured(replace(MEASURED, workers=states))
    page = words(admin.get(PAGE))
    for pid, state in ((4711, "works"), (2, "stopping"), (3, "gone")):
        assert f"host-a:{pid} 0.9.1 13 200 0.4 s ago 7 ms {state}" in page


def test_names_are_escaped(admin: Client) -> None:
    Worker.objects.create(host=SCRIPT, pid=1, version=SCRIPT, slots=1)
    page = admin.get(PAGE).content.decode()
    assert SCRIPT not in page
    assert page.count("&lt;script&gt;alert(1)") == 2


def test_it_refreshes_itself_and_has_nothing_inline(admin: Client) -> None:
    answer = admin.get(PAGE)
    page = answer.content.decode()
    assert '<noscript><meta http-equiv="refresh" content="30"></noscript>' in page
    assert re.search(r'<script type="module" src="/static/copilot/refresh\.js"></script>', page)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]


def test_staff_who_may_see_turns_see_it_and_nobody_else() -> None:
    allowed = logged_in(staff("view_turn"))
    assert allowed.get(PAGE).status_code == 200
    assert f'href="{PAGE}"' in allowed.get("/admin/").content.decode()
    other = logged_in(staff("view_session"))
    assert other.get(PAGE).status_code == 403
    assert PAGE not in other.get("/admin/").content.decode()
    for client in (Client(), logged_in(make_user())):
        answer = client.get(PAGE)
        assert answer.status_code == 302
        assert answer["Location"].startswith("/admin/login/")
    assert PAGE not in Client().get("/admin/login/").content.decode()


def test_staff_who_were_switched_off_see_nothing() -> None:
    user = staff("view_turn")
    client = logged_in(user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert client.get(PAGE).status_code == 302


def test_it_is_only_looked_at(admin: Client) -> None:
    assert admin.post(PAGE).status_code == 405
    assert admin.head(PAGE).status_code == 200


def test_it_costs_as_many_queries_with_many_turns_as_with_few(admin: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            admin.get(PAGE)
        return len(seen)

    make_running()
    before = queries()
    for make in (make_running, make_turn):
        for _ in range(5):
            make()
    assert queries() == before < 40


# --- signs ---------------------------------------------------------------------------------


def test_a_server_that_is_well_shows_no_signs() -> None:
    assert signs(QUIET) == []
    assert signs(replace(QUIET, workers=[])) == []  # and nothing is queued


@pytest.mark.parametrize(
    ("queued", "depth", "free", "sign"),
    [
        (30, 3, 10, "may have been lost"),
        (30, 3, 0, ""),  # they wait for a slot, and their hints were taken
        (30, 25, 10, ""),
        (9, 0, 10, ""),  # the two are not looked at in the same moment
        (3, 30, 10, "nobody takes them"),
        (3, 30, 0, "nobody takes them"),
        (0, 9, 10, ""),
    ],
)
def test_queue_and_broker_that_are_far_apart_are_a_sign(queued: int, depth: int, free: int, sign: str) -> None:
    worker = replace(WORKER, running=WORKER.slots - free)
    found = signs(
        replace(QUIET, counts=QUIET.counts | {"queued": queued}, broker_queue_depth=depth, workers=[worker])
    )
    assert bool(found) == bool(sign)
    assert sign in "".join(found)


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        ({"broker_queue_depth": None}, "The broker does not say"),
        ({"stranded_messages": 2}, "where nothing runs: 2"),
        ({"counts": {"orphaned": 3}}, "not taken over yet: 3"),
        ({"counts": {"stuck_queued": 4}}, "queued for too long: 4"),
        (
            {"counts": {"invalid": 1}, "invalid_kinds": {"queued_with_start": 1}},
            "must not be: 1 (1 queued_with_start)",
        ),
        ({"counts": {"queued": 1}, "workers": []}, "No worker is alive"),
        ({"counts": {"queued": 1}, "workers": [replace(WORKER, alive=False)]}, "No worker is alive"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], sign: str) -> None:
    if "counts" in change:
        change = change | {"counts": QUIET.counts | change["counts"]}
    (said,) = signs(replace(QUIET, **change))
    assert sign in said


def test_signs_are_shown(admin: Client, measured: Any) -> None:
    measured(replace(QUIET, stranded_messages=2))
    assert "where nothing runs: 2" in words(admin.get(PAGE))
    measured(QUIET)
    assert 'class="warnings"' not in admin.get(PAGE).content.decode()


# --- charts --------------------------------------------------------------------------------


def test_charts_are_drawn_to_scale_and_can_be_read_aloud(admin: Client, measured: Any) -> None:
    measured(MEASURED)
    page = admin.get(PAGE).content.decode()
    numbers = ", ".join(str(hour.completed) for hour in MEASURED.series)
    assert f'role="img" aria-label="Completed an hour, the oldest of 24 hours first: {numbers}."' in page
    assert "<title>07:30 UTC: 123</title>" in page
    drawn = chart("Failed", [(hour.at, hour.failed) for hour in MEASURED.series])
    assert drawn.most == 23
    assert [bar.height for bar in drawn.bars][-1] == HEIGHT
    assert all(bar.y + bar.height == HEIGHT for bar in drawn.bars)
    assert drawn.bars[0].height == 0  # none failed in that hour


def test_one_among_many_is_seen_and_no_numbers_are_a_chart() -> None:
    drawn = chart("Failed", [(NOW, 1), (NOW, 100_000)])
    assert drawn.bars[0].height >= 2
    empty = chart("Failed", [])
    assert (empty.bars, empty.most) == ([], 0)
    assert empty.width > 0
    assert [bar.height for bar in chart("Failed", [(NOW, 0)]).bars] == [0]
