"""Clients leave in the middle of anything; that is no error of the server."""

from __future__ import annotations

from typing import Any

import pytest

from chat.sockets import Socket


@pytest.fixture
def abandoned() -> Socket:
    """A socket whose client has gone, as the ASGI server says it: by an OSError from sending."""

    async def send(message: Any) -> None:
        raise ConnectionError

    socket = Socket()
    socket._closing = False
    socket.base_send = send
    return socket


async def test_a_frame_for_a_client_that_left_is_dropped(abandoned: Socket) -> None:
    await abandoned.push({"type": "heartbeat"})
    await abandoned.push({"type": "heartbeat"})


async def test_closing_after_the_client_left_is_quiet(abandoned: Socket) -> None:
    await abandoned.shut(1011)
