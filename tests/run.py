"""Run every set of tests that can run here, and say at the end which did and which did not, and why.

``python -m tests.run`` runs all of them, ``python -m tests.run embedded browser`` only those. A set that is named
in ``REQUIRE_SETS`` (comma-separated) fails when it cannot run, has no tests or skips one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import psycopg
import redis

ROOT = Path(__file__).resolve().parent.parent
#: A database name of this checkout: two checkouts may run their tests on one PostgreSQL.
_NAME = f"holdfast_{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
POSTGRES = os.environ.get("TEST_DATABASE_URL") or f"postgres://postgres@127.0.0.1:5432/{_NAME}"
REDIS = os.environ.get("TEST_REDIS_URL") or "redis://127.0.0.1:6379/15"
CORPUS = Path(os.environ.get("HOLDFAST_CORPUS") or ROOT.parent / "shared" / "corpus")
CORPUS_TESTS = [
    "tests/providers/recorded",
    "tests/common/test_redaction_corpus.py",
    "tests/platforms/corpus",
    "tests/ui/test_chunk_types.py",
]
NODE = ROOT / "tests" / "node"
NODE_MIN = 20
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
ANSWER_SECONDS = 2
NO_TESTS = 5  # pytest's exit code when it found nothing to run
#: So many failures of a set may be a slow machine's: each is tried by itself, so often. More are no chance.
UNSTEADY_MAX = 3
AGAIN = 3


@dataclass(frozen=True, slots=True)
class TestSet:
    """Some tests and what they need. ``missing`` returns why they cannot run here, or an empty string."""

    name: str
    arguments: Sequence[str]
    missing: Callable[[], str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What became of a set; ``problem`` says why it counts as failed although no test did.

    ``unsteady`` are tests that failed among the others and then passed by themselves each time. They count as
    passed, and are named at the end of the run, to be mended.
    """

    ran: bool = False
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    reason: str = ""
    problem: str = ""
    unsteady: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return what the summary says of it."""
        took = f"{self.seconds:.0f} s, {self.cpu_seconds:.0f} s of CPU"
        ran = f"ran: {self.passed} passed, {self.failed} failed, {self.skipped} skipped ({took})"
        said = ran if self.ran else f"did not run: {self.reason}"
        return f"{said} - FAILED: {self.problem}" if self.problem else said


def no_postgres() -> str:
    """Return why PostgreSQL cannot be used, or an empty string."""
    try:
        with psycopg.connect(POSTGRES, dbname="postgres", connect_timeout=ANSWER_SECONDS):
            pass
    except psycopg.Error as error:
        return f"no PostgreSQL ({str(error).splitlines()[0]}); see TEST_DATABASE_URL"
    return ""


def no_redis() -> str:
    """Return why Redis cannot be used, or an empty string."""
    try:
        client = redis.Redis.from_url(REDIS, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)
        client.ping()
        client.close()
    except redis.RedisError as error:
        return f"no Redis ({error}); see TEST_REDIS_URL"
    return ""


def no_services() -> str:
    """Return which of PostgreSQL and Redis does not answer."""
    return no_postgres() or no_redis()


def chromium() -> str:
    """Return the path of a Chromium, or an empty string."""
    names = [os.environ.get("CHROMIUM", ""), *CHROMIUMS]
    return next((found for name in names if name and (found := shutil.which(name))), "")


def no_chromium() -> str:
    """Return why the browser tests cannot run."""
    return "" if chromium() else "no Chromium found; install one, or name it in CHROMIUM"


def pinned_packages() -> dict[str, str]:
    """Return the version of each package of npm that the tests under Node name, by the name they give it."""
    named = json.loads((NODE / "package.json").read_text())["dependencies"]
    return {name: version.rpartition("@")[2] for name, version in named.items()}


def no_node() -> str:
    """Return why other people's front ends cannot run."""
    if not (node := shutil.which("node")):
        return f"no Node found; install {NODE_MIN} or newer, then 'npm install' in tests/node"
    version = subprocess.run([node, "--version"], capture_output=True, check=False, text=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0] or 0) < NODE_MIN:
        return f"Node {version} is too old; install {NODE_MIN} or newer"
    for name, version in pinned_packages().items():
        installed = NODE / "node_modules" / name / "package.json"
        if not installed.is_file() or json.loads(installed.read_text())["version"] != version:
            return f"{name} {version} is not there; run 'npm install' in tests/node"
    return ""


def no_sandbox() -> str:
    """Return why commands cannot run in a sandbox here, or an empty string."""
    if not (bwrap := shutil.which("bwrap")):
        return "no bwrap found; install bubblewrap"
    line = [bwrap, "--unshare-user", "--unshare-pid", "--disable-userns", "--ro-bind", "/", "/", "--proc", "/proc"]
    tried = subprocess.run([*line, "true"], capture_output=True, check=False, text=True)
    return f"bubblewrap does not work here ({tried.stderr.strip()})" if tried.returncode else ""


def no_corpus() -> str:
    """Return why what others recorded and collected cannot be looked at."""
    return "" if (CORPUS / "providers").is_dir() else "the recorded streams are not here; see HOLDFAST_CORPUS"


#: They take minutes by themselves.
SCHEMA_TESTS = ["tests/schema"]
_ELSEWHERE = [f"--ignore={path}" for path in [*CORPUS_TESTS, *SCHEMA_TESTS]]
#: The tests that start no process.
_HERE = "not process and not browser and not node and not sandbox"
_PLAIN = ["-n", "2", *_ELSEWHERE]
#: They touch neither database nor Redis: once is enough.
_PURE = [
    "tests/platforms",
    "tests/providers",
    "tests/tools",
    "tests/approvals/test_policy.py",
    *(
        f"tests/common/test_{name}.py"
        for name in (
            "markdown",
            "outbound",
            "readable",
            "redaction",
            "redaction_forms",
            "redaction_stream",
            "sealing",
        )
    ),
]
SETS = (
    TestSet("embedded", [*_PLAIN, "-m", f"{_HERE} and not scaled"], lambda: ""),
    TestSet(
        "scaled",
        [*_PLAIN, *(f"--ignore={path}" for path in _PURE), "-m", _HERE],
        no_services,
        {"HOLDFAST_TEST_STACK": "scaled", "TEST_DATABASE_URL": POSTGRES, "TEST_REDIS_URL": REDIS},
    ),
    TestSet("process", ["-n", "2", "--dist", "loadfile", "-m", "process", *_ELSEWHERE], lambda: ""),
    TestSet("sandbox", ["-m", "sandbox", *_ELSEWHERE], no_sandbox),
    TestSet("browser", ["-n", "2", "-m", "browser", *_ELSEWHERE], no_chromium, {"CHROMIUM": chromium()}),
    TestSet("node", ["-n", "2", "-m", "node", *_ELSEWHERE], no_node),
    TestSet("schema", ["-n", "2", *SCHEMA_TESTS], lambda: ""),
    TestSet("corpus", ["-n", "2", *CORPUS_TESTS], no_corpus, {"HOLDFAST_CORPUS": str(CORPUS)}),
)


def run_set(tests: TestSet, seed: int) -> Outcome:
    """Run one set if it can run here."""
    if reason := tests.missing():
        return Outcome(reason=reason)
    say(f"\n=== {tests.name} (seed {seed})")
    environment = {**os.environ, **tests.environment}
    environment.setdefault("HOLDFAST_TEST_STACK", "embedded")
    began, cpu_began = time.monotonic(), cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        report, cache = Path(folder) / "report.xml", Path(folder) / "cache"
        options = [
            "-q",
            "-rfE",
            "--durations=12",
            "--durations-min=2",
            "--ds=config.settings_test",
            f"--randomly-seed={seed}",
        ]
        command = [sys.executable, "-m", "pytest", *options]
        kept = [f"--junitxml={report}", "-o", f"cache_dir={cache}"]
        code = subprocess.run(
            [*command, *tests.arguments, *kept], cwd=ROOT, env=environment, check=False
        ).returncode
        outcome = count(report)
        failed = failed_tests(cache)
    if code == NO_TESTS:
        return Outcome(reason="it has no tests")
    if code and not outcome.failed:
        outcome.problem = f"pytest ended with {code}"
    try_again(
        outcome,
        failed,
        lambda test: subprocess.run([*command, test], cwd=ROOT, env=environment, check=False).returncode == 0,
    )
    outcome.seconds, outcome.cpu_seconds = time.monotonic() - began, cpu_seconds() - cpu_began
    return outcome


def cpu_seconds() -> float:
    """Return what the processes took that this one has waited for, without database servers and the like."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def failed_tests(cache: Path) -> list[str]:
    """Return which tests failed, as pytest remembers it."""
    remembered = cache / "v" / "cache" / "lastfailed"
    return list(json.loads(remembered.read_text())) if remembered.is_file() else []


def try_again(outcome: Outcome, failed: Sequence[str], passes: Callable[[str], bool]) -> None:
    """Tell failures that a test shows by itself as well from those that it shows only on a busy machine."""
    if not len(failed) == outcome.failed <= UNSTEADY_MAX:
        return
    for test in failed:
        say(f"\n=== again, by itself: {test}")
        if all(passes(test) for _ in range(AGAIN)):
            outcome.unsteady.append(test)
            outcome.failed -= 1
            outcome.passed += 1


def count(report: Path) -> Outcome:
    """Read what a JUnit report counts."""
    outcome = Outcome(ran=True)
    if report.is_file():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            total, errors, failures, skipped = (
                int(suite.get(key, 0)) for key in ("tests", "errors", "failures", "skipped")
            )
            outcome.failed += errors + failures
            outcome.skipped += skipped
            outcome.passed += max(0, total - errors - failures - skipped)
    return outcome


def require(outcome: Outcome) -> None:
    """Make a required set that did not run, or not whole, a failure."""
    if not outcome.ran:
        outcome.problem = "it is required"
    elif outcome.skipped or not outcome.passed:
        outcome.problem = outcome.problem or "it is required as a whole"


def say(line: str) -> None:
    """Write a line at once: pytest writes to the same place."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the sets; return the exit code."""
    names = [tests.name for tests in SETS]
    parser = argparse.ArgumentParser(prog="python -m tests.run", description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="set", help=", ".join(names))
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="the order of the tests")
    options = parser.parse_args()
    required = {name.strip() for name in os.environ.get("REQUIRE_SETS", "").split(",")} - {""}
    if unknown := sorted((required | set(options.sets)) - set(names)):
        parser.error(f"there is no set named {unknown[0]}; there are {', '.join(names)}")
    outcomes = {
        tests.name: run_set(tests, options.seed) for tests in SETS if tests.name in (options.sets or names)
    }
    for name in required & outcomes.keys():
        require(outcomes[name])
    say("\n=== what ran")
    for name, outcome in outcomes.items():
        say(f"{name:<9} {outcome.line()}")
    for name, outcome in outcomes.items():
        for test in outcome.unsteady:
            say(f"UNSTEADY  {name}: {test} failed among others and passed {AGAIN} times by itself")
    problems = sum(1 for outcome in outcomes.values() if outcome.problem)
    passed, failed, skipped = (
        sum(getattr(outcome, key) for outcome in outcomes.values()) for key in ("passed", "failed", "skipped")
    )
    # A set that is required and did not run counts as one failure: the last line must never look like success.
    say(f"{passed} passed, {failed + problems} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or problems else 0


if __name__ == "__main__":
    sys.exit(main())
