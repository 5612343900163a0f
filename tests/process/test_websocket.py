"""The websocket protocol on a real server: who gets in, what frames are answered with, and when it ends."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.process.clients import Rest, check_session, check_turn, following, text_of, words
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.process

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("websocket") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def key(server: EmbeddedServer) -> str:
    return server.issue_key()


@pytest.fixture(scope="module")
def cookie(server: EmbeddedServer) -> str:
    """The session cookie of the person who used the login link that the server printed."""
    found = re.search(r"^Login: (\S+)$", server.server.output(), re.MULTILINE)
    assert found
    with httpx2.Client(trust_env=False, follow_redirects=False) as browser:
        page = browser.get(found[1]).text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token
        answer = browser.post(found[1], data={"csrfmiddlewaretoken": token[1]}, headers={"Origin": server.url})
        assert answer.status_code == 302, answer.text
        return str(browser.cookies["holdfast_session"])


@pytest.fixture
async def rest(server: EmbeddedServer, key: str) -> AsyncIterator[Rest]:
    async with Rest(server, key) as rest:
        yield rest


@asynccontextmanager
async def socket(
    server: EmbeddedServer, path: str, *, key: str = "", origin: str = "", cookie: str = ""
) -> AsyncIterator[ClientConnection]:
    """Open a websocket as a program (``key``) or as a page (``origin``, ``cookie``) does."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    headers |= {"Cookie": f"holdfast_session={cookie}"} if cookie else {}
    url = f"ws://127.0.0.1:{server.port}/ws/{path}"
    async with connect(
        url, additional_headers=headers, origin=origin or None, proxy=None, open_timeout=10, close_timeout=1
    ) as opened:
        yield opened


async def frame(opened: ClientConnection, *types: str, seconds: float = 10) -> dict[str, Any]:
    """Return the next frame of one of these types."""
    async with asyncio.timeout(seconds):
        while True:
            got: dict[str, Any] = json.loads(await opened.recv())
            if got["type"] in types:
                return got


async def close_code(opened: ClientConnection, seconds: float = 10) -> int | None:
    """Read until the server ends the connection; return its close code."""
    async with asyncio.timeout(seconds):
        try:
            while True:
                await opened.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


# --- who gets in ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"sessions/{UNKNOWN}/", "user/"])
async def test_nobody_is_let_in_without_a_login(server: EmbeddedServer, path: str) -> None:
    async with socket(server, path, origin=server.url) as opened:
        assert await close_code(opened) == 4401
    async with socket(server, path, origin=server.url, cookie="made-up") as opened:
        assert await close_code(opened) == 4401
    async with socket(server, path, key="hf_made-up") as opened:
        assert await close_code(opened) == 4401


async def test_a_key_in_the_url_is_refused(server: EmbeddedServer, key: str) -> None:
    async with socket(server, f"user/?key={key}", origin=server.url) as opened:
        assert await close_code(opened) == 4401


async def test_an_unknown_and_a_foreign_session_are_not_there(
    server: EmbeddedServer, key: str, cookie: str
) -> None:
    async with socket(server, f"sessions/{UNKNOWN}/", key=key) as opened:
        assert await close_code(opened) == 4404
    async with Rest(server, key) as rest:
        mine = await rest.new_session()
    async with socket(server, f"sessions/{mine}/", origin=server.url, cookie=cookie) as opened:
        assert await close_code(opened) == 4404


@pytest.mark.parametrize("origin", ["", "http://evil.example", "null"])
async def test_a_cookie_counts_only_with_an_allowed_origin(
    server: EmbeddedServer, cookie: str, origin: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with socket(server, "user/", origin=origin, cookie=cookie):
            pass
    assert refused.value.response.status_code == 403
    async with socket(server, "user/", origin=server.url, cookie=cookie) as opened:
        await opened.send('{"type": "ping"}')
        assert await frame(opened, "heartbeat")


async def test_a_bearer_needs_no_origin_and_cookies_are_ignored_beside_it(
    server: EmbeddedServer, key: str, cookie: str
) -> None:
    for origin in ("", "http://evil.example"):
        async with socket(server, "user/", key=key, origin=origin) as opened:
            await opened.send('{"type": "ping"}')
            assert await frame(opened, "heartbeat")
    async with socket(server, "user/", key="hf_wrong", origin=server.url, cookie=cookie) as opened:
        assert await close_code(opened) == 4401


async def test_revoking_a_key_closes_its_sockets(server: EmbeddedServer, rest: Rest) -> None:
    made = (await rest.http.post("keys", json={"label": "short-lived"})).json()
    session = await rest.new_session()
    turn = await rest.start(session, "/sleep 30")
    async with socket(server, f"sessions/{session}/", key=made["key"]) as opened:
        await opened.send('{"type": "follow"}')
        await frame(opened, "event")
        assert (await rest.http.delete(f"keys/{made['id']}")).status_code == 204
        asked = time.monotonic()
        assert await close_code(opened) == 4401
        assert time.monotonic() - asked < 5.5
    await rest.http.post(f"turns/{turn}/cancel", json={})


# --- frames --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "malformed",
    ["", "{", "[]", "null", "7", '"ping"', "{}", '{"type": 7}', '{"type": "dance"}', "[" * 100_000, b"\x00\xff",
     '{"type": "follow", "after": -1}', '{"type": "follow", "after": "3"}', '{"type": "follow", "turn": "no"}',
     '{"type": "send"}', '{"type": "send", "text": "  "}', '{"type": "send", "text": 7}',
     '{"type": "send", "text": "x", "colour": "red"}', '{"type": "send", "text": "x", "model": "no/model"}',
     '{"type": "cancel", "turn": "no"}', '{"type": "decide", "approval": "no"}'],
)  # fmt: skip
async def test_a_malformed_frame_is_answered_and_forgiven(
    server: EmbeddedServer, key: str, rest: Rest, malformed: str | bytes
) -> None:
    session = await rest.new_session()
    async with socket(server, f"sessions/{session}/", key=key) as opened:
        await opened.send(malformed)
        refused = await frame(opened, "error")
        assert refused["code"]
        assert refused["detail"].endswith(".")
        await opened.send('{"type": "ping"}')
        assert await frame(opened, "heartbeat")
    assert await rest.messages(session) == []


async def test_errors_name_the_frame_that_they_answer(server: EmbeddedServer, key: str, rest: Rest) -> None:
    session = await rest.new_session()
    async with socket(server, f"sessions/{session}/", key=key) as opened:
        await opened.send(json.dumps({"type": "send", "text": "x" * 64_001, "client_id": "long"}))
        refused = await frame(opened, "error")
    assert (refused["code"], refused["client_id"]) == ("text_too_long", "long")


async def test_more_than_sixty_frames_in_ten_seconds_are_too_many(server: EmbeddedServer, key: str) -> None:
    async with socket(server, "user/", key=key) as opened:
        for _ in range(60):
            await opened.send('{"type": "ping"}')
        for _ in range(60):
            assert await frame(opened, "heartbeat")
        await opened.send('{"type": "ping"}')
        assert await close_code(opened) == 4429


async def test_silence_is_broken_every_five_seconds(server: EmbeddedServer, key: str, rest: Rest) -> None:
    session = await rest.new_session()
    async with socket(server, f"sessions/{session}/", key=key) as one, socket(server, "user/", key=key) as two:
        await frame(one, "session")
        await asyncio.gather(frame(one, "heartbeat", seconds=5), frame(two, "heartbeat", seconds=5))


async def test_the_same_client_id_twice_is_one_message(server: EmbeddedServer, key: str, rest: Rest) -> None:
    session = await rest.new_session()
    send = {"type": "send", "text": "/words 3", "client_id": "one"}
    async with socket(server, f"sessions/{session}/", key=key) as one:
        async with socket(server, f"sessions/{session}/", key=key) as two:
            await asyncio.gather(one.send(json.dumps(send)), two.send(json.dumps(send)))
            first, second = await asyncio.gather(frame(one, "ack"), frame(two, "ack"))
            await two.send(json.dumps({**send, "text": "/words 4"}))
            other = await frame(two, "error")
    assert first["client_id"] == second["client_id"] == "one"
    assert first["message"]["id"] == second["message"]["id"]
    assert (other["code"], other["client_id"]) == ("client_id_reused", "one")
    await rest.idle(session, 10)
    await check_session(rest, session, ["/words 3"])


async def test_cancel_is_acknowledged(server: EmbeddedServer, key: str, rest: Rest) -> None:
    session = await rest.new_session()
    async with socket(server, f"sessions/{session}/", key=key) as opened:
        turn = await rest.start(session, "/words 1000 20")
        await opened.send(json.dumps({"type": "cancel", "turn": turn, "client_id": "stop"}))
        ack = await frame(opened, "ack")
    assert ack == {"type": "ack", "client_id": "stop", "cancelled": True, "confirmed": True, "turn": turn}


# --- following -----------------------------------------------------------------------------


async def test_the_idle_snapshot_comes_after_the_terminal_event(
    server: EmbeddedServer, key: str, rest: Rest
) -> None:
    session = await rest.new_session()
    async with following(server, key, session) as follower:
        turn = await rest.start(session, "/words 60 10")
        await follower.until(lambda: _idle_after(follower.frames, turn), 15, "for the idle snapshot")
        frames = follower.frames
        terminal = next(at for at, got in enumerate(frames) if _is_terminal(got))
        busy = [at for at, got in enumerate(frames) if got["type"] == "session" and got["active_turn"]]
        idle = [at for at, got in enumerate(frames) if got["type"] == "session" and not got["active_turn"]]
        assert busy
        assert all(at < busy[0] or at > terminal for at in idle)
        revisions = [got["revision"] for got in frames if got["type"] == "session"]
        assert revisions == sorted(set(revisions))


def _is_terminal(got: dict[str, Any]) -> bool:
    return got["type"] == "event" and got["chunk"]["type"] == "finish"


def _idle_after(frames: list[dict[str, Any]], turn: str) -> bool:
    ended = [at for at, got in enumerate(frames) if _is_terminal(got)]
    return bool(ended) and any(got["type"] == "session" and not got["active_turn"] for got in frames[ended[0] :])


async def test_every_follower_gets_everything_wherever_it_begins(
    server: EmbeddedServer, key: str, rest: Rest
) -> None:
    """From the start, from the middle of a part, from the end, and after having been cut off in between."""
    session = await rest.new_session()
    async with following(server, key, session) as first, following(server, key, session) as second:
        turn = await rest.start(session, "/words 150 10")
        await first.until(lambda: first.words(turn) > 30, 10)
        assert second.socket is not None
        await second.socket.close()
        middle = first.seen[turn][-1][0]
        async with socket(server, f"sessions/{session}/", key=key) as opened:
            await opened.send(json.dumps({"type": "follow", "turn": turn, "after": middle}))
            rest_of_it = []
            while not rest_of_it or rest_of_it[-1][1]["type"] != "finish":
                got = await frame(opened, "event")
                if not got["chunk"].get("transient"):
                    rest_of_it.append((got["seq"], got["chunk"]))
        rows = await check_turn(rest, turn, first, second)
        assert rest_of_it == rows[middle:]
        assert second.connections == 2
        async with socket(server, f"sessions/{session}/", key=key) as opened:
            await opened.send(json.dumps({"type": "follow", "turn": turn, "after": rows[-1][0] - 1}))
            assert (await frame(opened, "event"))["chunk"] == rows[-1][1]


async def test_a_follower_of_the_session_sees_one_turn_after_the_other(
    server: EmbeddedServer, key: str, rest: Rest
) -> None:
    session = await rest.new_session()
    async with following(server, key, session) as follower:
        first = await rest.start(session, "/words 30 10")
        assert (await rest.send(session, "/words 4"))["queued"]
        await follower.until_end(first, 10)
        await follower.until(lambda: len(follower.seen) == 2 and _ended_all(follower.seen), 10)
        second = (await rest.get(f"turns/{first}"))["next_turn"]
        assert list(follower.seen) == [first, second]
        assert text_of(await check_turn(rest, second, follower)) == words(4)


def _ended_all(seen: dict[str, list[Any]]) -> bool:
    return all(rows[-1][1]["type"] == "finish" for rows in seen.values())


@pytest.mark.parametrize("begin", ["at once", "in the middle"])
async def test_html_frames_cover_the_text(server: EmbeddedServer, key: str, rest: Rest, begin: str) -> None:
    """Each part's rendered blocks lie end to end from its first character to its last."""
    session = await rest.new_session()
    async with socket(server, f"sessions/{session}/", key=key) as opened:
        turn = await rest.start(session, "Say hello, please.")
        after = 0
        if begin == "in the middle":
            async with following(server, key, session) as other:
                await other.until(lambda: sum("delta" in chunk for _, chunk in other.seen.get(turn, [])) > 8, 10)
                after = other.seen[turn][-1][0]
        await opened.send(json.dumps({"type": "follow", "turn": turn, "after": after, "html": True}))
        blocks: list[dict[str, Any]] = []
        while (got := await frame(opened, "html", "event"))["type"] == "html" or not _is_terminal(got):
            blocks += [got] if got["type"] == "html" else []
    text = text_of(await check_turn(rest, turn))
    assert len({block["part"] for block in blocks}) == 1
    assert blocks[-1]["to"] == len(text)
    assert [block["from"] for block in blocks[1:]] == [block["to"] for block in blocks[:-1]]
    assert begin == "in the middle" or blocks[0]["from"] == 0
    assert "<strong>demo model</strong>" in "".join(block["html"] for block in blocks) or begin == "in the middle"
