"""The test runner never says that all is well when a set that is required did not run whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import run

REPORT = """<testsuites>
<testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10"/>
</testsuites>"""


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that replaces the sets by made-up ones with these outcomes."""

    def replace(**outcomes: run.Outcome) -> None:
        monkeypatch.setattr(run, "SETS", [run.TestSet(name, [], lambda: "") for name in outcomes])
        monkeypatch.setattr(run, "run_set", lambda tests, seed: outcomes[tests.name])
        monkeypatch.setattr("sys.argv", ["run"])
        monkeypatch.delenv("REQUIRE_SETS", raising=False)

    return replace


def test_a_report_is_counted(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    outcome = run.count(report)
    assert (outcome.passed, outcome.failed, outcome.skipped) == (4, 3, 3)


def test_the_last_line_sums_up(sets: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    sets(one=run.Outcome(ran=True, passed=3), two=run.Outcome(reason="no browser"))
    assert run.main() == 0
    assert "did not run: no browser" in capsys.readouterr().out.splitlines()[-2]
    sets(one=run.Outcome(ran=True, passed=3), two=run.Outcome(ran=True, passed=2, failed=1, skipped=4))
    assert run.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "5 passed, 1 failed, 4 skipped"


@pytest.mark.parametrize(
    "outcome",
    [
        run.Outcome(reason="no browser"),
        run.Outcome(ran=True),
        run.Outcome(ran=True, passed=2, skipped=1),
        run.Outcome(ran=True, passed=2, problem="pytest ended with 3"),
    ],
    ids=["missing", "empty", "skipped", "broken"],
)
def test_a_required_set_must_run_whole(
    outcome: run.Outcome,
    sets: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sets(one=run.Outcome(ran=True, passed=3), two=outcome)
    monkeypatch.setenv("REQUIRE_SETS", "two")
    assert run.main() == 1
    assert ", 1 failed" in capsys.readouterr().out.splitlines()[-1]


def test_what_fails_by_itself_too_stays_failed_and_the_rest_is_named(
    sets: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run.Outcome(ran=True, passed=5, failed=2)
    third_time = iter([True, True, False])
    run.try_again(outcome, ["slow", "wrong"], lambda test: test == "slow" or next(third_time))
    assert (outcome.passed, outcome.failed, outcome.unsteady) == (6, 1, ["slow"])
    sets(one=outcome)
    assert run.main() == 1
    assert "UNSTEADY  one: slow" in capsys.readouterr().out


def test_more_failures_than_chance_explains_are_not_tried_again() -> None:
    outcome = run.Outcome(ran=True, failed=run.UNSTEADY_MAX + 1)
    run.try_again(outcome, [f"test {number}" for number in range(outcome.failed)], lambda test: True)
    assert (outcome.failed, outcome.unsteady) == (run.UNSTEADY_MAX + 1, [])


def test_a_set_tells_its_unsteady_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole runs of pytest; the test fails as long as a file is there, which its first run removes."""
    (tmp_path / "first").touch()
    (tmp_path / "test_made_up.py").write_text(
        "from pathlib import Path\n"
        "def test_it():\n"
        "    mark = Path(__file__).parent / 'first'\n"
        "    if mark.exists():\n"
        "        mark.unlink()\n"
        "        raise AssertionError\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(run.ROOT))
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "AGAIN", 1)
    outcome = run.run_set(run.TestSet("made up", [str(tmp_path)], lambda: ""), seed=1)
    assert (outcome.passed, outcome.failed) == (1, 0)
    assert outcome.unsteady == ["test_made_up.py::test_it"]


@pytest.mark.parametrize("variable", ["TEST_DATABASE_URL", "TEST_REDIS_URL"])
def test_a_service_that_does_not_answer_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "POSTGRES", "postgres://nobody@127.0.0.1:1/nothing")
    monkeypatch.setattr(run, "REDIS", "redis://127.0.0.1:1/0")
    missing = run.no_postgres() if variable == "TEST_DATABASE_URL" else run.no_redis()
    assert variable in missing
