"""A model whose answers the test chooses: an OpenAI-compatible server that streams them piece by piece."""

from __future__ import annotations

import json
import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

#: In an answer: nothing more is said until ``go_on`` is called.
PAUSE = "\x00"
PAUSE_SECONDS_MAX = 30.0
_PIECES = re.compile(f"{PAUSE}|[^{PAUSE}]{{1,9}}")


class Parrot:
    """Says ``answer`` to everybody. Use it as a context manager."""

    def __init__(self) -> None:
        self.answer, self.reason = "", "stop"
        self._going = threading.Semaphore(0)
        parrot = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                with suppress(ConnectionError):  # the server hung up: the turn was stopped
                    parrot.serve(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True)

    @property
    def settings(self) -> dict[str, str]:
        """The environment that makes it known to a server as ``parrot/parrot``."""
        entry = {"api": "openai", "base_url": f"http://127.0.0.1:{self._server.server_port}/v1"}
        return {"COPILOT_PROVIDERS": json.dumps({"parrot": entry}), "COPILOT_TITLE_MODEL": "demo/demo"}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on(1000)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def will_say(self, answer: str, reason: str = "stop") -> None:
        """Choose the next answer, and why it ends; at each ``PAUSE`` in it ``go_on`` is waited for."""
        self.answer, self.reason = answer, reason
        self._going = threading.Semaphore(0)

    def go_on(self, pauses: int = 1) -> None:
        """End so many pauses, one unless said otherwise."""
        self._going.release(pauses)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        handler.rfile.read(int(handler.headers["content-length"]))
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.end_headers()
        for piece in _PIECES.findall(self.answer):
            if piece == PAUSE:
                self._going.acquire(timeout=PAUSE_SECONDS_MAX)
            else:
                self._say(handler, {"content": piece})
        self._say(handler, {}, self.reason)
        handler.wfile.write(b"data: [DONE]\n\n")

    def _say(self, handler: BaseHTTPRequestHandler, delta: dict[str, str], reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "p", "choices": [choice]}
        handler.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
