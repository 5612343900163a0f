"""The ASGI application: pages and REST over HTTP, sessions over websockets."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from django.core.asgi import get_asgi_application

from config.refusal import finally_refused

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
http = finally_refused(get_asgi_application)  # before anything that imports models

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402

from chat.origin import AllowedOrigin  # noqa: E402
from chat.routing import websocket_urlpatterns  # noqa: E402
from common import tracing  # noqa: E402
from common.body_limit import BodyLimit  # noqa: E402
from common.checks import TAG  # noqa: E402
from common.errors import Busy  # noqa: E402
from common.garbage import spare_what_is_loaded  # noqa: E402
from common.logs import hide_tokens_of_servers, write_json_for_servers  # noqa: E402
from common.request_ids import RequestIds  # noqa: E402
from config.checks import require_sound_settings  # noqa: E402
from config.startup import require_secret_key  # noqa: E402
from copilot.events import publish  # noqa: E402
from copilot.files import SIZE_MAX  # noqa: E402

finally_refused(require_secret_key)
finally_refused(lambda: require_sound_settings([TAG]))
hide_tokens_of_servers()
if settings.LOG_FORMAT == "json":
    write_json_for_servers()
tracing.start("embedded" if settings.EMBEDDED else "web")


class NamesLoop:
    """Names the server's loop as the one on which this process talks to its channel layer."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._named = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not self._named:
            publish.set_loop(asyncio.get_running_loop())
            self._named = True
        await self._application(scope, receive, send)


class SaysComeAgain:
    """Answers what still waits when the server stops with 503; the server itself would say 500, and log errors."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        begun = False

        async def sending(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._application(scope, receive, sending)
        except asyncio.CancelledError:
            if begun:
                raise
            answer = Busy("The server is restarting. Ask again.").response()
            headers = [(b"content-type", b"application/json"), (b"retry-after", b"1")]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            await send({"type": "http.response.body", "body": answer.content})


# The largest upload, with what a form puts around it.
bounded = BodyLimit(http, most=SIZE_MAX + 1024 * 1024)
application = NamesLoop(
    RequestIds(
        ProtocolTypeRouter(
            {"http": SaysComeAgain(bounded), "websocket": AllowedOrigin(URLRouter(websocket_urlpatterns))}
        )
    )
)
spare_what_is_loaded()
