"""What the files of ``deploy/`` say, as those see it who read them: systemd, compose, Docker."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
#: Where the units expect the project's programs.
PROGRAMS = "/opt/holdfast/.venv/bin/"


def unit(name: str) -> dict[str, list[str]]:
    """Return the settings of a unit, each with all its values in order."""
    text = re.sub(r"\\\n", " ", (DEPLOY / name).read_text())
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(" ".join(value.split()))
    return found


def command(name: str, instance: str = "1") -> list[str]:
    """Return what a unit starts, with the specifiers filled in."""
    [line] = unit(name)["ExecStart"]
    return shlex.split(line.replace("%i", instance).replace("%%", "%"))


def compose() -> dict[str, Any]:
    """Return the compose file, with what its services share merged in."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def words(value: str | list[str]) -> list[str]:
    """Return a command of compose as a list."""
    return shlex.split(value) if isinstance(value, str) else list(value)


def variables(path: Path, *, shown: bool = False) -> dict[str, str]:
    """Return the variables that an example sets; with ``shown`` those that are commented out, too."""
    pattern = r"^#?([A-Z][A-Z0-9_]+)=(.*)$" if shown else r"^([A-Z][A-Z0-9_]+)=(.*)$"
    return dict(re.findall(pattern, path.read_text(), re.MULTILINE))


def filled() -> dict[str, str]:
    """Return what ``holdfast.env.example`` sets, with its placeholders filled in."""
    values = variables(DEPLOY / "holdfast.env.example")
    return {
        name: value.replace("<a long random value>", "0123456789abcdefghijklmnopqrstuvwxyz" * 2).replace(
            "<a password of letters and digits>", "secret123"
        )
        for name, value in values.items()
    }
