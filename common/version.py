"""The version of the project, said in one place."""

from __future__ import annotations

#: The same as in ``pyproject.toml``; a test compares them.
VERSION = "0.1.0"
