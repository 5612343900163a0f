"""Pages as text: over real HTTP, of servers that pass for public ones."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import socket
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common import outbound
from copilot.tools.base import ToolError
from copilot.tools.fetch import TEXT_MAX, FetchUrl
from tests.tools.using import use


class Site:
    """Answers by path, and keeps what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.asked: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        path = head.split()[1].decode()
        if path == "/silent":
            await reader.read()
        writer.write(self.pages.get(path, page(b"no such page", "text/plain", status="404 Not Found")))
        writer.close()

    def url(self, path: str, host: str = "site.test") -> str:
        return f"http://{host}:{self.port}{path}"


def page(body: bytes, kind: str = "text/html", *, status: str = "200 OK", **headers: str) -> bytes:
    """Return a whole answer."""
    given = {"Content-Type": kind, "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def redirect(target: str, status: str = "302 Found") -> bytes:
    return page(b"", status=status, Location=target)


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A site at ``site.test``, whose address alone passes for a public one."""
    made = Site()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    names = {
        "site.test": ["127.0.0.1"],
        "private.test": ["10.1.2.3"],
        "mixed.test": ["127.0.0.1", "10.0.0.1"],
        "mapped.test": ["::ffff:10.0.0.1"],
    }
    resolve = asyncio.base_events.BaseEventLoop.getaddrinfo

    async def getaddrinfo(self: Any, host: str, port: int, **options: Any) -> list[Any]:
        if host not in names:
            return await resolve(self, host, port, **options)
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (family[ipaddress.ip_address(address).version], socket.SOCK_STREAM, 6, "", (address, port))
            for address in names[host]
        ]

    public = outbound.is_public
    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(outbound, "is_public", lambda address: address == "127.0.0.1" or public(address))
    monkeypatch.setattr(outbound, "PORTS", {made.port, 80, 443})
    yield made
    listening.close()
    await listening.wait_closed()


async def fetch(url: str) -> dict[str, Any]:
    result = await use(FetchUrl(), Path("/nowhere"), url=url)
    assert isinstance(result, dict)
    return result


async def refused(url: str) -> str:
    with pytest.raises(ToolError) as error:
        await fetch(url)
    return str(error.value)


async def test_a_page_is_text_with_its_links(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    site.pages["/a"] = page(
        "<title>Ü</title><p>One <a href='b'>link</a><script>x".encode(), "text/html; charset=utf-8"
    )
    assert await fetch(f" {site.url('/a#part')} ") == {
        "url": site.url("/a"),
        "status": 200,
        "title": "Ü",
        "text": f"One [link]({site.url('/b')})",
    }
    (asked,) = site.asked
    assert f"Host: site.test:{site.port}\r\n".encode() in asked
    assert b"User-Agent: Holdfast/" in asked


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain", b"<p>as it is", "<p>as it is"),
        ("application/json", b'{"a": 1}', '{"a": 1}'),
        ("application/activity+json; charset=utf-8", '"ü"'.encode(), '"ü"'),
        ("text/csv; charset=iso-8859-1", b"\xfc", "ü"),
        ("text/plain; charset=nonsense", b"a", "a"),
        ("text/plain; charset=zlib_codec", b"a", "a"),
        ("text/plain; charset=punycode", b"a-\xc3\xbc", "a-ü"),
        ("text/plain", b"\xef\xbb\xbfa\0b\xff", "ab\ufffd"),
        ("text/html", b"<meta charset='windows-1252'><p>\x80", "€"),
    ],
)
async def test_texts_are_read_as_they_are_written(site: Site, kind: str, body: bytes, text: str) -> None:
    site.pages["/a"] = page(body, kind)
    assert (await fetch(site.url("/a")))["text"] == text


@pytest.mark.parametrize("kind", ["image/png", "application/pdf", "application/octet-stream", "image/svg+xml"])
async def test_what_is_no_text_is_named_only(site: Site, kind: str) -> None:
    site.pages["/a"] = page(b"secret" * 300, kind)
    found = await fetch(site.url("/a"))
    assert found["text"] == f"[{kind}, 1,800 bytes: this is no text, so it is not shown.]"


async def test_a_missing_page_is_an_answer(site: Site) -> None:
    assert await fetch(site.url("/missing")) == {
        "url": site.url("/missing"),
        "status": 404,
        "text": "no such page",
    }


async def test_redirects_lead_on(site: Site) -> None:
    site.pages["/a"] = redirect("b?c", "301 Moved Permanently")
    site.pages["/b?c"] = redirect(site.url("/d"), "308 Permanent Redirect")
    site.pages["/d"] = page(b"there", "text/plain")
    assert (await fetch(site.url("/a")))["url"] == site.url("/d")


async def test_redirects_end(site: Site) -> None:
    site.pages["/a"] = redirect("/a")
    assert "more than 5 times" in await refused(site.url("/a"))
    assert len(site.asked) == outbound.REDIRECTS_MAX + 1


PRIVATE = [
    "http://127.0.0.2/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::1]/",
    "http://0.0.0.0/",
    "http://2130706434/",
    "http://0x7f.2/",
    "http://127.2/",
    "http://localhost/",
    "http://private.test/",
    "http://mixed.test/",
    "http://mapped.test/",
    "http://site.test:22/",
    "http://user:password@site.test/",
    "file:///etc/passwd",
    "ftp://site.test/",
    "//site.test",
    "http:///x",
]


@pytest.mark.parametrize("url", PRIVATE)
async def test_what_is_not_public_is_not_asked(site: Site, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given, or by a redirect. The control is the site itself, which is asked in the same way."""
    if "localhost" in url:
        monkeypatch.undo()  # it resolves to the one address that passes for public here
        assert "public" in await refused(url)
        return
    assert "could not be fetched" in await refused(url)
    assert site.asked == []
    site.pages["/a"] = redirect(url)
    if url != "http:///x":  # there, it stands for a path of the same site
        assert "could not be fetched" in await refused(site.url("/a"))
        assert len(site.asked) == 1


async def test_a_name_is_resolved_once_for_a_connection(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that turns private after it was looked at is not followed there."""
    site.pages["/a"] = page(b"there", "text/plain")
    asked: list[str] = []
    resolve = asyncio.base_events.BaseEventLoop.getaddrinfo

    async def turning(self: Any, host: str, port: int, **options: Any) -> list[Any]:
        asked.append(host)
        return await resolve(self, host if len(asked) == 1 else "private.test", port, **options)

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", turning)
    assert (await fetch(site.url("/a")))["text"] == "there"
    assert asked == ["site.test"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity"])
async def test_an_answer_that_is_too_long_is_not_read_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    monkeypatch.setattr(outbound, "BODY_MAX", 100_000)
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[coding]
    site.pages["/large"] = page(pack(b"a" * 40_000_000), "text/plain", Content_Encoding=coding)
    site.pages["/small"] = page(pack(b"a" * 100_000), "text/plain", Content_Encoding=coding)
    assert len((await fetch(site.url("/small")))["text"]) == 100_000
    said = await refused(site.url("/large"))
    assert "longer than 100,000 bytes" in said or "400" in said, said


async def test_a_long_text_is_cut_and_says_so(site: Site) -> None:
    site.pages["/a"] = page(b"a" * (TEXT_MAX + 5), "text/plain")
    assert (await fetch(site.url("/a")))["text"].endswith("a\n[… 5 characters left out]")


async def test_a_site_that_does_not_answer_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "TIMEOUT_SECONDS", 0.3)
    assert "No answer within 0.3 seconds" in await refused(site.url("/silent"))
    site.pages["/half"] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nhalf"
    assert "could not be fetched" in await refused(site.url("/half"))
    site.pages["/odd"] = b"nonsense\r\n\r\n"
    assert "could not be fetched" in await refused(site.url("/odd"))
