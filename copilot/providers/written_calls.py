"""Tool calls that a model wrote as text, because its server did not understand its markup.

Calls of offered tools become real ones; the markup itself is never shown. In code it is what somebody writes
about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from copilot.providers.base import ToolSpec
from copilot.providers.wire import ToolNames, dump

_NAMES = ("tool_call", "tool_calls", "function_calls")
_OPENERS = tuple(f"<{prefix}{name}>" for prefix in ("", "|dsml|", "antml:") for name in _NAMES)
_LONGEST_TAG = 48
#: Some models draw their bars wide.
_BAR = "\N{FULLWIDTH VERTICAL LINE}"
_PREFIX = re.compile(rf"[|{_BAR}]\s*DSML\s*[|{_BAR}]\s*|antml:", re.IGNORECASE)
_INVOKE = re.compile(r"<invoke\s+name=\"([^\"]+)\"\s*>(.*?)(?:</invoke>|\Z)", re.DOTALL)
_PARAMETER = re.compile(
    r"<parameter\s+name=\"([^\"]+)\"(?:\s+string=\"(true|false)\")?\s*>(.*?)</parameter>", re.DOTALL
)
_FUNCTION = re.compile(r"<function=([^>\s]+)\s*>(.*?)(?:</function>|\Z)", re.DOTALL)
_FUNCTION_PARAMETER = re.compile(r"<parameter=([^>\s]+)\s*>\n?(.*?)\n?</parameter>", re.DOTALL)


class WrittenCalls:
    """Takes such markup out of a streamed text; only what may be the beginning of it is held back."""

    def __init__(self, tools: Iterable[ToolSpec], names: ToolNames) -> None:
        self._schemas = {names.wire(tool.name): tool.parameters for tool in tools}
        #: What was shown; it tells whether markup stands in code.
        self._shown: list[str] = []
        self._held = ""
        #: The closing tag of the markup that is being read.
        self._close = ""
        self._looked = 0
        #: Calls of offered tools: their names on the wire and their arguments as JSON.
        self.calls: list[tuple[str, str]] = []

    def passes(self, delta: str) -> bool:
        """Whether all of ``delta`` can be shown; if so it counts as read."""
        if self._held or "<" in delta:
            return False
        self._shown.append(delta)
        return True

    def feed(self, delta: str) -> str:
        """Return the text that can be shown after ``delta``."""
        if self.passes(delta):
            return delta
        self._held += delta
        return "".join(self._read())

    def rest(self) -> str:
        """Return what was held back, now that nothing follows; markup without an end is read as if it had one."""
        held, self._held = self._held, ""
        if self._close:
            self._close = ""
            self._take(held)
            return ""
        return held

    def _read(self) -> Iterator[str]:
        while self._held:
            if self._close:
                end = self._end()
                if end < 0:
                    return
                self._take(self._held[:end])
                self._held, self._close, self._looked = self._held[end:], "", 0
                continue
            cut, found = self._begin()
            text, self._held = self._held[:cut], self._held[cut:]
            if text:
                self._shown.append(text)
                yield text
            if not found:
                return

    def _begin(self) -> tuple[int, bool]:
        """Return where markup begins, or may begin once more is known; and whether it does."""
        held, at = self._held, self._held.find("<")
        while at >= 0:
            end = held.find(">", at, at + _LONGEST_TAG)
            tag = _plain(held[at : end + 1] if end >= 0 else held[at:])
            if end >= 0 and tag in _OPENERS and not self._in_code(held[:at]):
                self._close = f"</{tag[1:]}"
                self._looked = 0
                return at, True
            if end < 0 and len(held) - at < _LONGEST_TAG and any(opener.startswith(tag) for opener in _OPENERS):
                return at, False
            at = held.find("<", at + 1)
        return len(held), False

    def _end(self) -> int:
        """Return where the markup's closing tag ends, -1 before it was read."""
        held, at = self._held, self._held.find("</", self._looked)
        while at >= 0:
            end = held.find(">", at, at + _LONGEST_TAG)
            if end >= 0 and _plain(held[at : end + 1]) == self._close:
                return end + 1
            at = held.find("</", at + 1)
        self._looked = max(0, len(held) - _LONGEST_TAG)
        return -1

    def _in_code(self, text: str) -> bool:
        lines = ("".join(self._shown) + text).split("\n")
        fences = sum(line.lstrip(" ").startswith("```") for line in lines[:-1])
        last = lines[-1]
        return fences % 2 == 1 or last.lstrip(" ").startswith("```") or last.count("`") % 2 == 1

    def _take(self, block: str) -> None:
        block = _PREFIX.sub("", block)
        for name, arguments in [*_json_calls(block), *self._tagged_calls(block)]:
            wire = name.removeprefix("functions.")
            if wire in self._schemas:
                self.calls.append((wire, dump(arguments)))

    def _tagged_calls(self, block: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, inside in _INVOKE.findall(block):
            yield name, {key: self._value(name, key, kind, text) for key, kind, text in _PARAMETER.findall(inside)}
        for name, inside in _FUNCTION.findall(block):
            yield (
                name,
                {key: self._value(name, key, "", text) for key, text in _FUNCTION_PARAMETER.findall(inside)},
            )

    def _value(self, name: str, key: str, is_string: str, text: str) -> Any:
        """Return a parameter's value: the text itself, or the JSON that it is."""
        properties = self._schemas.get(name, {}).get("properties")
        schema = properties.get(key) if isinstance(properties, dict) else None
        declared = schema.get("type") if isinstance(schema, dict) else None
        if is_string == "true" or (not is_string and declared == "string"):
            return text
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text


def _plain(tag: str) -> str:
    return "".join(tag.split()).lower().replace(_BAR, "|")


def _json_calls(block: str) -> Iterator[tuple[str, dict[str, Any]]]:
    inside = re.sub(r"^<[^>]*>|</[^>]*>\s*$", "", block.strip()).strip()
    try:
        value = json.loads(inside)
    except (ValueError, RecursionError):
        return
    for call in value if isinstance(value, list) else [value]:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            continue
        arguments = call.get("arguments", call.get("parameters", {}))
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except (ValueError, RecursionError):
                continue
        if isinstance(arguments, dict):
            yield call["name"], arguments
