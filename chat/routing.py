"""Websocket paths."""

from __future__ import annotations

from typing import Any

from django.urls import path

from chat.consumers import SessionConsumer, UserConsumer

websocket_urlpatterns: list[Any] = [
    # Django's stubs know views only; what channels routes to is an ASGI application.
    path("ws/sessions/<uuid:session_id>/", SessionConsumer.as_asgi()),  # type: ignore[arg-type]
    path("ws/user/", UserConsumer.as_asgi()),  # type: ignore[arg-type]
]
