"""Breaks one place of a function, in the process that holds it; and has functions note that they are entered."""

from __future__ import annotations

import ast
import gc
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

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
            result = self._site(result, what, partial(_itself, fewer))
        return result


def _itself(node: ast.AST) -> ast.AST:
    return node


def mutants_of(file: str) -> list[Mutant]:
    """Return every place where a file can be broken."""
    sites = _Sites()
    sites.visit(ast.parse((ROOT / file).read_text()))
    return [Mutant(file, number, *found) for number, found in enumerate(sites.found)]


def apply(mutant: Mutant) -> None:
    """Replace the code of the mutant's function, wherever this process holds it."""
    path = ROOT / mutant.file
    tree = _Sites(mutant.number).visit(ast.parse(path.read_text()))
    if not _replace(tree, str(path), only=mutant.function):
        raise LookupError(f"nobody holds {mutant.function}")


def _replace(tree: ast.Module, file: str, *, only: str = "") -> int:
    """Give the functions of a file, or one of them, the code of ``tree``; return how many got it."""
    found = list(_codes(compile(ast.fix_missing_locations(tree), file, "exec")))
    alike = Counter(code.co_qualname for code in found)  # lambdas, a property and its setter
    replaced = 0
    for code in found:
        if alike[code.co_qualname] != 1 or only not in ("", code.co_qualname):
            continue
        for function in find_functions()[file].get(code.co_qualname, ()):
            if code.co_freevars == function.__code__.co_freevars:
                function.__code__ = code
                replaced += 1
    return replaced


@cache
def find_functions() -> defaultdict[str, dict[str, list[types.FunctionType]]]:
    """Return the functions that this process holds, by file and name.

    Looks through all there is, which takes longer than most tests: forks know what their parent has found.
    """
    gc.unfreeze()  # what a server spares its collector is not listed
    found: defaultdict[str, dict[str, list[types.FunctionType]]] = defaultdict(dict)
    for function in gc.get_objects():
        if isinstance(function, types.FunctionType):
            code = function.__code__
            found[code.co_filename].setdefault(code.co_qualname, []).append(function)
    return found


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


#: What was entered since it was last cleared: ``file:function``, of those outermost.
ENTERED: set[str] = set()


def note_entries(files: Iterable[str]) -> None:
    """Have the functions of files, as this process holds them, put themselves into ``ENTERED``."""
    for file in files:
        _replace(_Entries(file).visit(ast.parse(Path(file).read_text())), file)


class _Entries(ast.NodeTransformer):
    """Has each function of a file, those inside of others too, note that it was entered."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._path: list[str] = []
        self._function = ""

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        return self._visit_scope(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        return self._visit_scope(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        return self._visit_scope(node)

    def _visit_scope(self, node: Any) -> Any:
        self._path.append(node.name)
        outermost = not isinstance(node, ast.ClassDef) and not self._function
        if outermost:
            self._function = ".".join(self._path)
        node.body = [self.visit(statement) for statement in node.body]
        if not isinstance(node, ast.ClassDef):
            note = ast.parse(f"__import__({__name__!r}, fromlist=['']).ENTERED.add({self._key!r})").body[0]
            node.body.insert(0, ast.copy_location(note, node.body[0]))
        if outermost:
            self._function = ""
        self._path.pop()
        return node

    @property
    def _key(self) -> str:
        return f"{self._file}:{self._function}"
