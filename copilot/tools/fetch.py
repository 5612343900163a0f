"""Pages of the public internet."""

from __future__ import annotations

import asyncio
import codecs
import re
from typing import Any

from common.outbound import Answer, OutboundError, get
from common.readable import readable
from common.text import storable
from common.version import VERSION
from copilot.tools.base import Tool, ToolContext, ToolError, object_schema

TEXT_MAX = 300_000
HEADERS = {
    "User-Agent": f"Holdfast/{VERSION}",
    "Accept": "text/html,application/xhtml+xml,text/*;q=0.9,application/json;q=0.9,*/*;q=0.5",
    "Accept-Encoding": "gzip, deflate",
}
_HTML = ("text/html", "application/xhtml+xml")
_TEXTS = re.compile(
    r"text/.*|application/(?:json|xml|javascript|ecmascript|yaml|toml|x-sh|sql|graphql|ld\+json|x-ndjson)"
    r"|application/.*\+(?:json|xml|yaml)"
)
#: Ways to write text, by Python's names; others turn bytes into something else, or take for ever.
_CODECS = re.compile(
    r"utf-(?:8|8-sig|16|16-le|16-be|32|32-le|32-be)|ascii|(?:iso8859|koi8|mac|tis)-\w+|cp\d+"
    r"|(?:iso2022|euc|shift)_\w+|gb\w+|big5\w*|hz|johab"
)
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)


class FetchUrl(Tool):
    """A page as text. Only public addresses are asked, see ``common.outbound``."""

    name = "fetch_url"
    description = (
        "Fetch a page or text file of the public internet by its http or https address. "
        "HTML is returned as readable text with its links."
    )
    parameters = object_schema(url={"type": "string", "minLength": 1, "maxLength": 4096})
    idempotent = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        try:
            answer = await get(arguments["url"].strip(), HEADERS, wants=_is_text)
        except OutboundError as error:
            raise ToolError(f"The page could not be fetched. {error}") from error
        return await asyncio.to_thread(_result, answer)


def _is_text(content_type: str) -> bool:
    return bool(_TEXTS.fullmatch(content_type)) or content_type in _HTML


def _result(answer: Answer) -> dict[str, Any]:
    result: dict[str, Any] = {"url": answer.url, "status": answer.status}
    if answer.body is None:
        size = f", {answer.length:,} bytes" if answer.length else ""
        return {**result, "text": f"[{answer.content_type}{size}: this is no text, so it is not shown.]"}
    text = storable(answer.body.decode(_charset(answer), errors="replace"))
    if answer.content_type in _HTML:
        page = readable(text, answer.url)
        result |= {"title": page.title[:500]} if page.title else {}
        text = page.text if page.whole else f"{page.text}\n[… the rest of the page takes too long to read]"
    if len(text) > TEXT_MAX:
        text = f"{text[:TEXT_MAX]}\n[… {len(text) - TEXT_MAX:,} characters left out]"
    return {**result, "text": text}


def _charset(answer: Answer) -> str:
    """Return how the body is written: as the server says, else as the page does, else UTF-8."""
    body = answer.body or b""
    if body.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    said = _CHARSET.search(body[:4096]) if answer.content_type in _HTML else None
    for name in (answer.charset, said[1].decode("ascii", "replace") if said else ""):
        try:
            if name and _CODECS.fullmatch(codecs.lookup(name).name):
                return name
        except (LookupError, ValueError):
            continue
    return "utf-8"
