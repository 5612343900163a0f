"""A local HTTP server that streams chat completions like a model provider, at an exact pace.

The last user message says what to stream: ``tokens=200 rate=100`` is 200 chunks at 100 a second. Chunk ``i`` is
due ``i / rate`` seconds after the request; each chunk carries one token. ``think tokens=…`` streams reasoning
instead of text, and ``silent tokens=…`` accepts the request and says nothing at all. The first token is a stamp
with the time of the schedule's start on the machine's monotonic clock (see ``bench.tokens``), so that whoever
receives a token knows when it was due, whatever stood between.

It runs as a process of its own, and everything it sends is made beforehand: it shares the machine with what it
measures. ``GET /stats`` tells how many requests it served and how late it was itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import time
from functools import cache
from typing import cast

from bench.aio import run
from bench.tokens import stamp, word

_WANTED = re.compile(rb"(silent |think )?tokens=(\d+) rate=([\d.]+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _event(delta: dict[str, str], finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    chunk: dict[str, object] = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "bench",
        "choices": [] if usage else [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    if usage:
        chunk["usage"] = usage
    return _framed(b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n")


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@cache
def _token(index: int, field: str = "content") -> bytes:
    return _event({field: word(index)})


_ROLE = _event({"role": "assistant", "content": ""})
_FINISH = _event({}, "stop")
_DONE = _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class _Stats:
    requests = 0
    tokens = 0
    late_sum = 0.0
    late_max = 0.0


class Connection(asyncio.Protocol):
    """One keep-alive connection; a request's stream is driven by a timer, not by a task."""

    def __init__(self) -> None:
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self._count = self._sent = 0
        self._rate = 1.0
        self._start = 0.0
        self._usage = False
        self._busy = False
        self._field = "content"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next_request()

    def _next_request(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if self._busy or end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end + 2)
        size = int(length[1]) if length else 0
        if len(self._buffer) < end + 4 + size:
            return
        head, body = self._buffer[:end], self._buffer[end + 4 : end + 4 + size]
        self._buffer = self._buffer[end + 4 + size :]
        if head.startswith(b"GET"):
            self._answer_stats()
        else:
            self._start_stream(body)

    def _answer_stats(self) -> None:
        body = json.dumps(
            {
                "requests": _Stats.requests,
                "tokens": _Stats.tokens,
                "late_mean_ms": round(1000 * _Stats.late_sum / max(1, _Stats.tokens), 2),
                "late_max_ms": round(1000 * _Stats.late_max, 2),
                "cpu_seconds": round(time.process_time(), 2),
            }
        ).encode()
        _Stats.requests = _Stats.tokens = 0
        _Stats.late_sum = _Stats.late_max = 0.0
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)
        self._next_request()

    def _start_stream(self, body: bytes) -> None:
        wanted = _WANTED.findall(body)
        how, count, rate = wanted[-1] if wanted else (b"", b"20", b"100")
        self._count, self._rate = int(count), float(rate)
        self._usage = b"include_usage" in body
        self._sent, self._busy = 0, True
        self._start = time.monotonic()
        _Stats.requests += 1
        if how == b"silent ":
            return  # until the client hangs up
        self._field = "reasoning_content" if how else "content"
        first = _event({self._field: stamp(self._start)})
        self._transport.write(_HEAD + _ROLE + first)
        self._sent = 1
        self._wait()

    def _wait(self) -> None:
        due = self._start + self._sent / self._rate
        # Timers count whole milliseconds and the schedule is absolute: rounding up never adds up.
        delay = max(0.0, math.ceil((due - time.monotonic()) * 1000) / 1000)
        self._timer = self._loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        passed = time.monotonic() - self._start
        if self._sent >= self._count:
            self._finish()
            return
        upto = min(self._count, int(passed * self._rate + 1e-6) + 1)
        if upto > self._sent:
            late = passed - self._sent / self._rate
            _Stats.late_sum += late * (upto - self._sent)
            _Stats.late_max = max(_Stats.late_max, late)
            _Stats.tokens += upto - self._sent
            self._transport.write(b"".join(_token(index, self._field) for index in range(self._sent, upto)))
            self._sent = upto
        if self._sent >= self._count:
            self._finish()
        else:
            self._wait()

    def _finish(self) -> None:
        usage = {"prompt_tokens": 10, "completion_tokens": self._count, "total_tokens": 10 + self._count}
        self._transport.write(_FINISH + (_event({}, usage=usage) if self._usage else b"") + _DONE)
        self._busy = False
        self._next_request()


async def serve(port: int) -> None:
    """Serve on 127.0.0.1 until the process ends; prints the port (0 picks a free one)."""
    for index in range(1, 2000):
        _token(index)
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Run as a process: ``python -m bench.provider [--port N]``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
