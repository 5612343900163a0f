"""``python -m bench.mutation``: breaks the engine in one place at a time and looks whether a test notices.

Each mutant runs in a fork of a process that has everything loaded. The code of one function is replaced there, and
the tests that enter this function run until one fails, those first that noticed others of its file. What
the first seconds of tests do not notice is tried on all of them at the end, some mutants of different functions
broken at once: a test that fails then is tried on each of them alone. What none notices is a survivor. All of it
is written to ``bench/results/mutation.json``, file by file. A run that was broken off goes on there: a file that
is as it was is not tried again, unless it is named.

A test that fails on a mutant is run once more on what is not broken, the first times that it does: on a busy
machine one may fail by itself, and then it says nothing of the mutant.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bench.mutants import ENTERED, ROOT, Mutant, apply, find_functions, mutants_of, note_entries

TARGETS = ("copilot/turns", "copilot/events", "approvals")
TESTS = (
    "tests/turns",
    "tests/events",
    "tests/agent",
    "tests/approvals",
    "tests/children",
    "tests/api",
)
#: Seconds of tests, as they take when nothing is broken, on which each mutant is tried first.
FIRST_SECONDS = 3.0
#: Mutants that are broken at once on all tests, once the first ones have noticed none of them.
TOGETHER = 64
RESULT = ROOT / "bench" / "results" / "mutation.json"
#: A test hangs that takes so many seconds longer than ten times what it takes when nothing is broken.
PATIENCE = 20
OUTCOMES = ("noticed", "survived", "untested", "unsure")
#: How many mutants of a file each test has noticed, in this process.
_NOTICED_BY: dict[str, Counter[str]] = {}
#: How often each test that failed on a mutant passed on what is not broken; one that did so often is believed.
_STEADY: Counter[str] = Counter()
_BELIEVED = 3
_FAILED = 1  # pytest's exit code
_NOT_BROKEN = 99  # not one of pytest's


class Recorder:
    """A pytest plugin: which tests enter which of the targets' functions, and how long each test takes."""

    def __init__(self, files: set[str]) -> None:
        self.entered: dict[str, dict[str, float]] = {}
        note_entries(files)

    def pytest_runtest_setup(self) -> None:
        ENTERED.clear()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" and report.passed:
            for name in tuple(ENTERED):
                self.entered.setdefault(name, {})[report.nodeid] = report.duration


class Loaded:
    """A pytest plugin: runs ``work`` instead of the tests, once all of them are loaded. They are run in forks."""

    def __init__(self, work: Callable[[Loaded], None]) -> None:
        self._work = work
        self._session: Any = None
        self._items: dict[str, Any] = {}

    def pytest_runtestloop(self, session: Any) -> bool:
        self._session, self._items = session, {item.nodeid: item for item in session.items}
        self._work(self)
        return True

    def watch(self, recorder: Recorder, *, part: slice) -> None:
        """Run a part of the tests, failing or not, with ``recorder`` looking on."""
        self._session.config.pluginmanager.register(recorder)
        self._run(list(self._items.values())[part])

    def first_failure(self, tests: dict[str, float], begun: Path) -> int:
        """Run tests, with the seconds each takes, up to the first that fails or hangs; return pytest's exit code.

        The last line of ``begun`` names the test that came last.
        """
        with begun.open("w") as notes:

            def begin(test: str) -> None:
                print(test, file=notes, flush=True)
                signal.setitimer(signal.ITIMER_REAL, PATIENCE + 10 * tests[test])  # kills this fork

            return self._run([self._items[test] for test in tests], begin)

    def _run(self, items: list[Any], begin: Callable[[str], None] | None = None) -> int:
        self._session.config.pluginmanager.unregister(name="terminalreporter")  # a fork's dots mean nothing
        for item, following in zip(items, [*items[1:], None], strict=True):
            if begin is not None:
                begin(item.nodeid)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if begin is not None and self._session.testsfailed:
                break
        return _FAILED if self._session.testsfailed else 0


def _load(tests: Sequence[str], work: Callable[[Loaded], None]) -> None:
    import pytest

    options = ["-q", "--no-header", "-n", "0", "--tb", "no", "--no-migrations"]
    plain = ["-p", "no:cacheprovider", "-p", "no:randomly"]
    chosen = ["-m", "not scaled and not process and not browser", *tests]
    pytest.main([*options, *plain, *chosen], plugins=[Loaded(work)])


def _fork(work: Callable[[], int]) -> int:
    """Begin ``work`` in a fork; return its process id."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.mkdtemp(prefix="mutant-")
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        os._exit(work())
    except BaseException:  # noqa: BLE001 - nothing of the parent's may run in the child
        os._exit(_FAILED)


def _outcome(child: int) -> int:
    """Wait for a fork and end what it began; return its exit code, negative when a signal killed it."""
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


def record(loaded: Loaded, files: set[str], jobs: int) -> dict[str, dict[str, float]]:
    """Run the tests once, unbroken, and return which of them enter each function, and their seconds.

    The few that fail are left out.
    """
    with tempfile.TemporaryDirectory() as folder:

        def work(job: int) -> int:
            recorder = Recorder(files)
            loaded.watch(recorder, part=slice(job, None, jobs))
            Path(folder, str(job)).write_text(json.dumps(recorder.entered))
            return 0

        for child in [_fork(partial(work, job)) for job in range(jobs)]:
            _outcome(child)
        entered: dict[str, dict[str, float]] = {}
        for job in range(jobs):
            for name, tests in json.loads(Path(folder, str(job)).read_text()).items():
                entered.setdefault(name, {}).update(tests)
        return entered


def try_out(loaded: Loaded, mutant: Mutant, entered: dict[str, dict[str, float]], *, seconds: float) -> str:
    """Return what became of a mutant on so many seconds of tests: noticed, survived, or untested.

    Untested is one that no test enters. ``unsure`` is a survivor for which there are more tests.
    """
    tests = _tests_of(mutant, entered)
    if not tests:
        return "untested"
    noticed_by = _NOTICED_BY.setdefault(mutant.file, Counter())
    wanted = _first(tests, _breadth(entered), noticed_by, seconds)
    survived = "survived" if len(wanted) == len(tests) else "unsure"
    while wanted:
        code, last = _try_on(loaded, {test: tests[test] for test in wanted}, [mutant])
        if code == 0:
            break
        if code == _NOT_BROKEN:
            return "untested"
        if _passes_whole(loaded, {last: tests[last]}):
            noticed_by[last] += 1
            return "noticed"
        wanted = wanted[wanted.index(last) + 1 :]  # it fails on what is whole, too
    return survived


def try_together(
    loaded: Loaded, mutants: Sequence[Mutant], entered: dict[str, dict[str, float]]
) -> dict[Mutant, str]:
    """Run all tests of some mutants, each of another function, with all broken; return what became of each.

    A test that fails then, and passes on what is whole, is tried on each of them alone; those that it notices are
    mended for the tests that follow.
    """
    tests = {test: seconds for each in mutants for test, seconds in _tests_of(each, entered).items()}
    wanted, left = sorted(tests), list(mutants)
    while wanted and left:
        code, last = _try_on(loaded, {test: tests[test] for test in wanted}, left)
        if code == 0:
            break
        wanted, only = wanted[wanted.index(last) + 1 :], {last: tests[last]}
        if _passes_whole(loaded, only):
            suspects = [each for each in left if last in _tests_of(each, entered)]
            noticed = _guilty(loaded, only, suspects)
            left = [each for each in left if each not in noticed]
    return {each: "survived" if each in left else "noticed" for each in mutants}


def _guilty(loaded: Loaded, test: dict[str, float], suspects: Sequence[Mutant]) -> list[Mutant]:
    """Return which of these mutants a test notices by themselves, half by half."""
    if not suspects or _try_on(loaded, test, suspects)[0] == 0:
        return []
    if len(suspects) == 1:
        return list(suspects)
    middle = len(suspects) // 2
    return _guilty(loaded, test, suspects[:middle]) + _guilty(loaded, test, suspects[middle:])


def _passes_whole(loaded: Loaded, test: dict[str, float]) -> bool:
    """Whether a test that failed passes on what is not broken."""
    [name] = test
    if _STEADY[name] < _BELIEVED:
        if _try_on(loaded, test, [])[0] != 0:
            return False
        _STEADY[name] += 1
    return True


def _tests_of(mutant: Mutant, entered: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the tests that may notice a mutant, with the seconds each takes."""
    name = f"{ROOT / mutant.file}:"
    if not mutant.built_once:
        return entered.get(f"{name}{mutant.function}", {})
    every = [found for function, found in entered.items() if function.startswith(name)]
    return {test: seconds for found in every for test, seconds in found.items()}


def _groups(mutants: Sequence[Mutant]) -> list[list[Mutant]]:
    """Return mutants in groups that are broken at once, no two of one function."""
    groups: list[list[Mutant]] = []
    for mutant in mutants:
        place = (mutant.file, mutant.function)
        fits = (
            group
            for group in groups
            if len(group) < TOGETHER and place not in {(each.file, each.function) for each in group}
        )
        group = next(fits, None)
        if group is None:
            groups.append([mutant])
        else:
            group.append(mutant)
    return groups


def _try_on(loaded: Loaded, tests: dict[str, float], mutants: Sequence[Mutant]) -> tuple[int, str]:
    """Run tests in a fork where these mutants are broken; return the exit code and the last test begun."""
    with tempfile.TemporaryDirectory() as folder:
        begun = Path(folder, "begun")

        def work() -> int:
            try:
                for mutant in mutants:
                    apply(mutant)
            except LookupError:
                return _NOT_BROKEN
            return loaded.first_failure(tests, begun)

        code = _outcome(_fork(work))
        return code, begun.read_text().splitlines()[-1] if begun.is_file() else ""


def _breadth(entered: dict[str, dict[str, float]]) -> Counter[str]:
    """Count the functions that each test enters."""
    return Counter(test for tests in entered.values() for test in tests)


def _first(tests: dict[str, float], breadth: Counter[str], noticed_by: Counter[str], seconds: float) -> list[str]:
    """Return the tests that are tried, as many as take so many seconds; one at least.

    First those that noticed most of this file's other mutants, then the most particular and quick.
    """
    wanted: list[str] = []
    for test in sorted(tests, key=lambda each: (-noticed_by[each], breadth[each] * (0.05 + tests[each]))):
        if wanted and seconds <= 0:
            break
        wanted.append(test)
        seconds -= tests[test]
    return wanted


def _share(work: Callable[[Any], dict[Mutant, str]], tasks: Sequence[Any], jobs: int) -> dict[Mutant, str]:
    """Do tasks in forks, so many at once; return what they found. A fork keeps to its own share of them."""
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for job in range(jobs):
            child = os.fork()
            if child == 0:
                try:
                    found = [entry for task in tasks[job::jobs] for entry in work(task).items()]
                    Path(folder, str(job)).write_text(json.dumps([(asdict(each), what) for each, what in found]))
                finally:
                    os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        told = [json.loads(Path(folder, str(job)).read_text()) for job in range(jobs)]
        return {Mutant(**each): what for found in told for each, what in found}


def main() -> None:
    """Try out all mutants or a sample; print and store the survivors."""
    parser = argparse.ArgumentParser(prog="python -m bench.mutation", description=__doc__)
    parser.add_argument("targets", nargs="*", default=TARGETS, help="files or folders")
    parser.add_argument("--sample", type=int, help="only so many, drawn by chance")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=float, default=FIRST_SECONDS, help="seconds of tests for a first try")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants that are tried at once")
    parser.add_argument("--tests", nargs="*", default=TESTS, help="files or folders that have to notice")
    args = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings_test")
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    paths = [found for target in args.targets for found in _files(ROOT / target)]
    files = [str(path.relative_to(ROOT)) for path in paths]
    if args.targets == TARGETS and not args.sample:
        files = [file for file in files if not _is_known(file) or _stored()[file]["unsure"]]
    for file in files:
        importlib.import_module(file.removesuffix(".py").replace("/", "."))  # a fork breaks what is loaded
    mutants = [mutant for file in files for mutant in mutants_of(file)]
    if args.sample and args.sample < len(mutants):
        mutants = sorted(
            random.Random(args.seed).sample(mutants, args.sample), key=lambda each: (each.file, each.number)
        )
    print(f"{len(mutants)} mutants in {len(files)} files", flush=True)
    _load(args.tests, lambda loaded: _try_and_tell(loaded, mutants, args))


def _try_and_tell(loaded: Loaded, mutants: Sequence[Mutant], args: argparse.Namespace) -> None:
    find_functions()
    entered = record(loaded, {str(ROOT / mutant.file) for mutant in mutants}, args.jobs)
    keep = args.targets == TARGETS and not args.sample
    found: dict[str, dict[Mutant, str]] = {}
    for file in dict.fromkeys(mutant.file for mutant in mutants):
        here = [mutant for mutant in mutants if mutant.file == file]
        found[file] = (
            _outcomes_kept(here) if keep and _is_known(file) else _first_look(loaded, here, entered, args)
        )
        print(file, dict(Counter(found[file].values())), flush=True)
        if not args.sample:
            _store(file, found[file])
    unsure = [mutant for outcomes in found.values() for mutant, what in outcomes.items() if what == "unsure"]
    groups = _groups(unsure)
    for some in (groups[first : first + args.jobs] for first in range(0, len(groups), args.jobs)):
        for mutant, what in _share(partial(_together_aloud, loaded, entered), some, args.jobs).items():
            found[mutant.file][mutant] = what
        for file in {mutant.file for group in some for mutant in group}:
            if not args.sample:
                _store(file, found[file])
    print("in all", dict(Counter(what for outcomes in found.values() for what in outcomes.values())), flush=True)


def _first_look(
    loaded: Loaded, mutants: Sequence[Mutant], entered: dict[str, dict[str, float]], args: argparse.Namespace
) -> dict[Mutant, str]:
    def look(mutant: Mutant) -> dict[Mutant, str]:
        return _aloud({mutant: try_out(loaded, mutant, entered, seconds=args.first)})

    return _share(look, mutants, args.jobs)


def _together_aloud(
    loaded: Loaded, entered: dict[str, dict[str, float]], mutants: Sequence[Mutant]
) -> dict[Mutant, str]:
    return _aloud(try_together(loaded, mutants, entered))


def _aloud(found: dict[Mutant, str]) -> dict[Mutant, str]:
    """Print what was not noticed, at once."""
    for mutant, what in found.items():
        if what != "noticed":
            print(f"{what}: {mutant.file}:{mutant.line} {mutant.function}: {mutant.what}", flush=True)
    return found


def _store(file: str, found: dict[Mutant, str]) -> None:
    kept: dict[str, Any] = {"digest": _digest(file)}
    for name in OUTCOMES:
        places = [{key: value for key, value in asdict(each).items() if key != "file"} for each in found]
        kept[name] = [place for place, outcome in zip(places, found.values(), strict=True) if outcome == name]
    kept["noticed"] = len(kept["noticed"])
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({**_stored(), file: kept}, indent=1, sort_keys=True) + "\n")


def _is_known(file: str) -> bool:
    """Whether a run before this one has looked at the file as it is now."""
    return bool(_stored().get(file, {}).get("digest") == _digest(file))


def _outcomes_kept(mutants: Sequence[Mutant]) -> dict[Mutant, str]:
    """Return what became of all mutants of a file in the run that was broken off."""
    kept = _stored()[mutants[0].file]
    what = {place["number"]: name for name in OUTCOMES[1:] for place in kept[name]}
    return {mutant: what.get(mutant.number, "noticed") for mutant in mutants}


def _stored() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    return stored


def _digest(file: str) -> str:
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()[:16]


def _files(path: Path) -> list[Path]:
    found = [path] if path.is_file() else sorted(path.glob("*.py"))
    return [file for file in found if "def " in file.read_text()]


if __name__ == "__main__":
    main()
