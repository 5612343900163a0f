"""From Markdown to what Slack shows: mrkdwn, which has other marks and no headings, lists or languages of code."""

from __future__ import annotations

import re

from linking.platforms.slack_wire import escape

_FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})[^`\n]*\n(?P<body>.*?)(?:^[ \t]*(?P=mark)[`~]*[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
_INLINE = re.compile(
    r"(?P<escaped>\\(?P<char>[\\`*_{}\[\]()<>#+.!|~-]))"
    r"|(?<!`)(?P<tick>`++)(?P<code>[^\n]+?)(?<!`)(?P=tick)(?!`)"
    r"|<(?P<address>https?://[^\s<>|]+)>"
    r"|(?P<bare>https?://[^\s<>|*`]*[\w/=&#%+~-])"
    r"|!?\[(?P<label>[^\]\n]*)\]\((?P<url>(?:https?://|mailto:)[^\s()<>|]+)\)"
    r"|(?P<bold>\*\*|__)(?=\S)(?P<strong>[^\n]+?)(?<=\S)(?P=bold)"
    r"|~~(?=\S)(?P<struck>[^\n]+?)(?<=\S)~~"
    r"|(?<![\w*])\*(?=[^\s*])(?P<slanted>[^*\n]*?)(?<=[^\s*])\*(?![\w*])"
)
_HEADING = re.compile(r"[ ]{0,3}#{1,6}[ \t]+(?P<words>.+?)[ \t]*#*[ \t]*")
_BULLET = re.compile(r"([ \t]*)[-*+][ \t]+")


def mrkdwn(text: str) -> str:
    """Return a Markdown text as Slack shows it best; everything that means nothing to Slack is shown as it is."""
    shown, at = [], 0
    for found in _FENCE.finditer(text):
        shown.append(_lines(text[at : found.start()]))
        body = found["body"] if found["body"].endswith("\n") else f"{found['body']}\n"
        shown.append(f"```\n{escape(body)}```")
        at = found.end()
    shown.append(_lines(text[at:]))
    return "".join(shown)


def _lines(text: str) -> str:
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(line: str) -> str:
    if heading := _HEADING.fullmatch(line):
        # Bold within bold would end it.
        return f"*{_inline(heading['words'].replace('**', ''))}*"
    if bullet := _BULLET.match(line):
        return f"{bullet[1]}• {_inline(line[bullet.end() :])}"
    return _inline(line)


def _inline(text: str) -> str:
    shown, at = [], 0
    for found in _INLINE.finditer(text):
        shown += [escape(text[at : found.start()]), _marked(found)]
        at = found.end()
    return "".join([*shown, escape(text[at:])])


def _marked(found: re.Match[str]) -> str:
    if found["escaped"]:
        return escape(found["char"])
    if found["tick"]:
        return f"`{escape(found['code'].strip() or found['code'])}`"
    if address := found["address"] or found["bare"]:
        return f"<{escape(address)}>"
    if found["url"]:
        label = found["label"].replace("|", "/") or found["url"]
        return f"<{escape(found['url'])}|{escape(label)}>"
    for name, mark in (("strong", "*"), ("struck", "~"), ("slanted", "_")):
        if found[name]:
            return f"{mark}{_inline(found[name])}{mark}"
    return escape(found[0])
