"""``docs/settings.md`` names every variable that the settings read, with its default, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_ROW = re.compile(r"^\| `([A-Z][A-Z0-9_]+)` \| (.+?) \| .+ \|$", re.MULTILINE)


def _read() -> dict[str, ast.expr | None]:
    """The variables read in ``config/settings.py``, each with the expression of its default if it has one."""
    found: dict[str, ast.expr | None] = {}
    for node in ast.walk(ast.parse((ROOT / "config" / "settings.py").read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="env"), attr=kind), args=[ast.Constant(value=name), *rest]
            ):
                named = [keyword.value for keyword in node.keywords if keyword.arg == "default"]
                default = (named or rest[1 if kind == "one_of" else 0 :] or [None])[0]
                found[str(name)] = default
    return found


def _documented() -> dict[str, str]:
    return dict(_ROW.findall((ROOT / "docs" / "settings.md").read_text()))


def _written(default: ast.expr) -> str | None:
    """A literal default as the page writes it; None when it is computed."""
    try:
        value = ast.literal_eval(default)
    except ValueError:
        return None
    if value in ("", ()):
        return "empty"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


READ = _read()


def test_the_settings_are_found() -> None:
    assert {"DATA_DIR", "REDIS_URL", "TURN_LEASE_SECONDS"} <= READ.keys()


@pytest.mark.parametrize("name", sorted(READ))
def test_a_variable_is_documented_with_its_default(name: str) -> None:
    documented = _documented()
    assert name in documented, f"docs/settings.md says nothing of {name}"
    default = READ[name]
    if default is not None and (written := _written(default)) is not None:
        assert documented[name] == written


def test_nothing_else_is_documented() -> None:
    assert _documented().keys() == READ.keys()
