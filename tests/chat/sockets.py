"""Websockets without a server: the application is called as a server calls it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter

from chat.routing import websocket_urlpatterns
from tests.harness import PATIENCE


class Wire:
    """The client's end of a websocket."""

    def __init__(self, application: ApplicationCommunicator) -> None:
        self._application = application

    async def send(self, frame: dict[str, Any] | str) -> None:
        """Send a frame, or a text that is none."""
        text = frame if isinstance(frame, str) else json.dumps(frame)
        await self._application.send_input({"type": "websocket.receive", "text": text})

    async def frame(self, *types: str) -> dict[str, Any]:
        """Return the next frame of one of these types."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await self._application.receive_output(PATIENCE)
                assert message["type"] == "websocket.send", message
                message["text"].encode()  # as a server has to
                got: dict[str, Any] = json.loads(message["text"])
                if got["type"] in types:
                    return got

    async def close_code(self) -> int:
        """Read until the application closes the connection; return its code."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self._application.receive_output(PATIENCE))["type"] != "websocket.close":
                continue
        return int(message["code"])


@asynccontextmanager
async def connected(path: str, secret: str) -> AsyncIterator[Wire]:
    """Open a websocket with a personal key, and leave it."""
    scope = {
        "type": "websocket",
        "path": f"/ws/{path}",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {secret}".encode())],
        "subprotocols": [],
    }
    application = ApplicationCommunicator(URLRouter(websocket_urlpatterns), scope)
    await application.send_input({"type": "websocket.connect"})
    assert (await application.receive_output(PATIENCE))["type"] == "websocket.accept"
    try:
        yield Wire(application)
    finally:
        await application.send_input({"type": "websocket.disconnect", "code": 1000})
        await application.wait(PATIENCE)
