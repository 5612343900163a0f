"""Telegram's answers are told apart, and no error holds the bot's token."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from aiohttp import web

from linking.platforms.base import PlatformError, Refused, TooFast, Unavailable
from linking.platforms.telegram_wire import BadMarkup, BadToken, Moved, NotModified, Wire
from tests.platforms.serving import serving

TOKEN = "99:made-up"


async def _error(status: int, body: Any) -> PlatformError:
    """Make a call that is answered like this; return the error that it raises."""

    async def answer(request: web.Request) -> web.Response:
        return (
            web.json_response(body, status=status)
            if body is not None
            else web.Response(text="<html>", status=status)
        )

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    async with serving(app) as url, Wire(TOKEN, url) as wire:
        with pytest.raises(PlatformError) as raised:
            await wire.call("sendMessage", {"text": "x"})
    return raised.value


@pytest.mark.parametrize(
    ("status", "description", "parameters", "kind"),
    [
        (401, "Unauthorized", {}, BadToken),
        (404, "Not Found", {}, BadToken),
        (409, "Conflict: terminated by other getUpdates request", {}, Unavailable),
        (500, "Internal Server Error", {}, Unavailable),
        (429, "Too Many Requests: retry after 7", {"retry_after": 7}, TooFast),
        (429, "Too Many Requests", {}, TooFast),
        (403, "Forbidden: bot was blocked by the user", {}, Refused),
        (400, "Bad Request: chat not found", {}, Refused),
        (400, "Bad Request: can't parse entities: Unsupported start tag", {}, BadMarkup),
        (400, "Bad Request: message is too long", {}, BadMarkup),
        (400, "Bad Request: message is not modified: specified new content is the same", {}, NotModified),
        (400, "Bad Request: group chat was upgraded", {"migrate_to_chat_id": -1002}, Moved),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
async def test_errors_are_told_apart(
    status: int, description: str, parameters: Any, kind: type[PlatformError]
) -> None:
    body = {"ok": False, "error_code": status, "description": description, "parameters": parameters}
    error = await _error(status, body)
    assert type(error) is kind
    if isinstance(error, TooFast):
        assert error.seconds == parameters.get("retry_after", 3.0)
    if isinstance(error, Moved):
        assert error.chat == "-1002"


@pytest.mark.parametrize("body", [None, [], "no", {"ok": False}], ids=["page", "list", "text", "bare"])
async def test_what_is_no_answer_of_telegrams_can_be_tried_again(body: Any) -> None:
    assert isinstance(await _error(502, body), Unavailable)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.0.0.1:99999"], ids=["nobody", "no-address"])
async def test_no_error_holds_the_token(url: str) -> None:
    async with Wire(TOKEN, url) as wire:
        with pytest.raises(Unavailable) as raised:
            await wire.call("getMe")
    # As a log would show it: without what stands in the lines of the code.
    shown = traceback.TracebackException.from_exception(raised.value)
    assert TOKEN not in "".join(shown.format())
