"""``python -m bench.mutation``: breaks the engine in one place at a time and looks whether a test notices.

Each mutant runs in a fork of a process that has everything loaded. The code of one function is replaced there, and
the tests that enter this function run, those that enter the fewest others first, up to the first that fails. What
the first minute of tests does not notice is tried on all of them, after everything else. What no test notices is a
survivor: it is printed, and written to ``bench/results/mutation.json`` as soon as its file is through. A run that
was broken off goes on there: a file that is as it was is not tried again, unless it is named.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import hashlib
import importlib
import json
import math
import os
import random
import signal
import sys
import tempfile
import threading
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("copilot/turns", "copilot/events", "approvals")
TESTS = (
    "tests/turns",
    "tests/events",
    "tests/agent",
    "tests/approvals",
    "tests/api/test_asides.py",
    "tests/api/test_aside_limits.py",
)
#: Seconds of tests, as they take when nothing is broken, on which each mutant is tried first.
FIRST_SECONDS = 60.0
RESULT = ROOT / "bench" / "results" / "mutation.json"
#: Seconds after which a mutant counts as noticed: it hangs.
PATIENCE = 120
OUTCOMES = ("noticed", "survived", "untested")
_FAILED = 1  # pytest's exit code
_NOT_BROKEN = 99  # not one of pytest's

_FLIPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
#: Calls whose keywords are conditions and changes of rows.
_QUERIES = {"filter", "exclude", "get", "update", "held_by"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One place to break: the ``number``-th of its file."""

    file: str
    number: int
    function: str
    line: int
    what: str
    #: Entered once for many calls: a query that is built once, or a cached result.
    built_once: bool = False


class _Sites(ast.NodeTransformer):
    """Counts the places where a file can be broken, and breaks the wanted one."""

    def __init__(self, wanted: int | None = None) -> None:
        self.wanted = wanted
        self.found: list[tuple[str, int, str, bool]] = []
        self._built_once = False
        self._path: list[str] = []
        self._function = ""

    def _site(self, node: ast.AST, what: str, broken: Callable[[], Any]) -> Any:
        """Note a place; return what stands there: the node, or what breaks it."""
        if not self._function:
            return node
        self.found.append((self._function, getattr(node, "lineno", 0), what, self._built_once))
        return ast.copy_location(broken(), node) if len(self.found) - 1 == self.wanted else node

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return self._visit_scope(node)
        if isinstance(node, ast.arguments | ast.AnnAssign) and not getattr(node, "value", None):
            return node  # defaults and annotations are no part of a function's code
        node = self.generic_visit(node)
        method = getattr(self, f"_break_{type(node).__name__}", None)
        return method(node) if method else node

    def _visit_scope(self, node: Any) -> Any:
        self._path.append(node.name)
        outermost = not isinstance(node, ast.ClassDef) and not self._function
        if outermost:
            self._function = ".".join(self._path)
            decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
            self._built_once = "prepared" in decorators or "cache" in decorators
        node.body = [self.visit(statement) for statement in node.body]
        if outermost:
            self._function = ""
        self._path.pop()
        return node

    def _break_Compare(self, node: ast.Compare) -> Any:
        if type(node.ops[0]) not in _FLIPS:
            return node
        ops = [_FLIPS[type(node.ops[0])](), *node.ops[1:]]
        return self._site(node, f"flip {ast.unparse(node)}", lambda: ast.Compare(node.left, ops, node.comparators))

    def _break_BoolOp(self, node: ast.BoolOp) -> Any:
        op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return self._site(node, f"and/or in {ast.unparse(node)}", lambda: ast.BoolOp(op, node.values))

    def _break_UnaryOp(self, node: ast.UnaryOp) -> Any:
        if not isinstance(node.op, ast.Not):
            return node
        return self._site(node, f"drop not in {ast.unparse(node)}", lambda: node.operand)

    def _break_Constant(self, node: ast.Constant) -> Any:
        if isinstance(node.value, bool):
            return self._site(node, f"{node.value} to its contrary", lambda: ast.Constant(not node.value))
        if isinstance(node.value, int):
            value = node.value
            return self._site(node, f"{value} to {value + 1}", lambda: ast.Constant(value + 1))
        return node

    def _break_If(self, node: ast.If) -> Any:
        if isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            return node
        test = ast.UnaryOp(ast.Not(), node.test)
        return self._site(
            node, f"negate if {ast.unparse(node.test)}", lambda: ast.If(test, node.body, node.orelse)
        )

    def _break_Raise(self, node: ast.Raise) -> Any:
        return self._site(node, f"drop {ast.unparse(node)}", ast.Pass)

    def _break_Expr(self, node: ast.Expr) -> Any:
        if isinstance(node.value, ast.Call | ast.Await):
            return self._site(node, f"drop {ast.unparse(node)[:80]}", ast.Pass)
        return node

    def _break_Call(self, node: ast.Call) -> Any:
        if not (isinstance(node.func, ast.Attribute) and node.func.attr in _QUERIES):
            return node
        result, function = node, node.func
        for keyword in node.keywords:
            fewer = ast.Call(function, node.args, [other for other in node.keywords if other is not keyword])
            what = f"drop {keyword.arg}= from {function.attr}()"
            result = self._site(result, what, lambda fewer=fewer: fewer)
        return result


def mutants_of(file: str) -> list[Mutant]:
    """Return every place where a file can be broken."""
    sites = _Sites()
    sites.visit(ast.parse((ROOT / file).read_text()))
    return [Mutant(file, number, *found) for number, found in enumerate(sites.found)]


def apply(mutant: Mutant) -> None:
    """Replace the code of the mutant's function, wherever this process holds it."""
    path = ROOT / mutant.file
    tree = _Sites(mutant.number).visit(copy.deepcopy(ast.parse(path.read_text())))
    module = compile(ast.fix_missing_locations(tree), str(path), "exec")
    [code] = [code for code in _codes(module) if code.co_qualname == mutant.function]
    gc.unfreeze()  # what a server spares its collector is not listed
    functions = [found for found in gc.get_objects() if isinstance(found, types.FunctionType)]
    here = [function for function in functions if function.__code__.co_filename == str(path)]
    broken = [function for function in here if function.__code__.co_qualname == mutant.function]
    if not broken:
        raise LookupError(f"nobody holds {mutant.function}")
    for function in broken:
        function.__code__ = code


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


class Recorder:
    """A pytest plugin: which tests enter which of the targets' functions, and how long each test takes."""

    def __init__(self, files: set[str]) -> None:
        self._files = files
        self.entered: dict[str, dict[str, float]] = {}
        self._now: set[str] = set()

    def _enter(self, frame: types.FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename in self._files:
            outermost = frame.f_code.co_qualname.split(".<locals>")[0]
            self._now.add(f"{frame.f_code.co_filename}:{outermost}")

    def pytest_runtest_setup(self) -> None:
        self._now = set()
        threading.setprofile(self._enter)
        sys.setprofile(self._enter)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" and report.passed:
            for name in self._now:
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

    def watch(self, recorder: Recorder) -> None:
        """Run every test, failing or not, with ``recorder`` looking on."""
        self._session.config.pluginmanager.register(recorder)
        self._run(list(self._items.values()))

    def first_failure(self, tests: Sequence[str]) -> int:
        """Run tests up to the first that fails; return pytest's exit code."""
        return self._run([self._items[test] for test in tests], until_failure=True)

    def _run(self, items: list[Any], *, until_failure: bool = False) -> int:
        self._session.config.pluginmanager.unregister(name="terminalreporter")  # a fork's dots mean nothing
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if until_failure and self._session.testsfailed:
                break
        return _FAILED if self._session.testsfailed else 0


def _load(tests: Sequence[str], work: Callable[[Loaded], None]) -> None:
    import pytest

    options = ["-q", "--no-header", "-n", "0", "--tb", "no", "--no-migrations"]
    plain = ["-p", "no:cacheprovider", "-p", "no:randomly"]
    chosen = ["-m", "not scaled and not process and not browser", *tests]
    pytest.main([*options, *plain, *chosen], plugins=[Loaded(work)])


def _in_fork(work: Callable[[], int], patience: float) -> int | None:
    """Run ``work`` in a fork and return its exit code; None when it took longer than ``patience`` seconds."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.mkdtemp(prefix="mutant-")
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        try:
            os._exit(work())
        except BaseException:  # noqa: BLE001 - nothing of the parent's may run in the child
            os._exit(_FAILED)
    until = time.monotonic() + patience
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def record(loaded: Loaded, files: set[str]) -> dict[str, dict[str, float]]:
    """Run the tests once, unbroken, and return which of them enter each function.

    The few that fail because they are watched, and so are slow, are left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "entered.json"

        def work() -> int:
            recorder = Recorder(files)
            loaded.watch(recorder)
            found.write_text(json.dumps(recorder.entered))
            return 0

        _in_fork(work, 1800)
        entered: dict[str, dict[str, float]] = json.loads(found.read_text())
        return entered


def try_out(loaded: Loaded, mutant: Mutant, entered: dict[str, dict[str, float]], *, seconds: float) -> str:
    """Return what became of a mutant on so many seconds of tests: noticed, survived, or untested.

    Untested is one that no test enters. ``unsure`` is a survivor for which there are more tests.
    """
    name = f"{ROOT / mutant.file}:"
    tests = entered.get(f"{name}{mutant.function}", {})
    if mutant.built_once:  # then by the tests of the whole file
        every = [found for function, found in entered.items() if function.startswith(name)]
        tests = {test: seconds for found in every for test, seconds in found.items()}
    if not tests:
        return "untested"
    wanted = _first(tests, _breadth(entered), seconds)

    def work() -> int:
        try:
            apply(mutant)
        except LookupError:
            return _NOT_BROKEN
        return loaded.first_failure(wanted)

    code = _in_fork(work, PATIENCE + 3 * sum(tests[test] for test in wanted))
    survived = "survived" if len(wanted) == len(tests) else "unsure"
    return {0: survived, _NOT_BROKEN: "untested"}.get(_FAILED if code is None else code, "noticed")


def _breadth(entered: dict[str, dict[str, float]]) -> Counter[str]:
    """Count the functions that each test enters."""
    return Counter(test for tests in entered.values() for test in tests)


def _first(tests: dict[str, float], breadth: Counter[str], seconds: float) -> list[str]:
    """Return the most particular tests, as many as take so many seconds; one at least."""
    wanted: list[str] = []
    for test in sorted(tests, key=lambda each: (breadth[each], tests[each])):
        if wanted and seconds <= 0:
            break
        wanted.append(test)
        seconds -= tests[test]
    return wanted


def try_all(
    loaded: Loaded, mutants: Sequence[Mutant], entered: dict[str, dict[str, float]], *, seconds: float, jobs: int
) -> dict[Mutant, str]:
    """Try out mutants, some at once; return what became of each. What was not noticed is printed at once."""
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for job in range(jobs):
            child = os.fork()
            if child == 0:
                try:
                    outcomes = [_try_aloud(loaded, mutant, entered, seconds) for mutant in mutants[job::jobs]]
                    Path(folder, str(job)).write_text(json.dumps(outcomes))
                finally:
                    os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        found: dict[Mutant, str] = {}
        for job in range(jobs):
            outcomes = json.loads(Path(folder, str(job)).read_text())
            found |= dict(zip(mutants[job::jobs], outcomes, strict=True))
        return found


def _try_aloud(loaded: Loaded, mutant: Mutant, entered: dict[str, dict[str, float]], seconds: float) -> str:
    outcome = try_out(loaded, mutant, entered, seconds=seconds)
    if outcome != "noticed":
        print(f"{outcome}: {mutant.file}:{mutant.line} {mutant.function}: {mutant.what}", flush=True)
    return outcome


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
        known = _stored()
        files = [file for file in files if known.get(file, {}).get("digest") != _digest(file)]
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
    entered = record(loaded, {str(ROOT / mutant.file) for mutant in mutants})
    for file in dict.fromkeys(mutant.file for mutant in mutants):
        here = [mutant for mutant in mutants if mutant.file == file]
        found = try_all(loaded, here, entered, seconds=args.first, jobs=args.jobs)
        unsure = [mutant for mutant in here if found[mutant] == "unsure"]
        found |= try_all(loaded, unsure, entered, seconds=math.inf, jobs=args.jobs)
        print(file, dict(Counter(found.values())), flush=True)
        if not args.sample:
            _store(file, found)


def _store(file: str, found: dict[Mutant, str]) -> None:
    kept: dict[str, Any] = {"digest": _digest(file)}
    for name in OUTCOMES:
        places = [{key: value for key, value in asdict(each).items() if key != "file"} for each in found]
        kept[name] = [place for place, outcome in zip(places, found.values(), strict=True) if outcome == name]
    kept["noticed"] = len(kept["noticed"])
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({**_stored(), file: kept}, indent=1, sort_keys=True) + "\n")


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
