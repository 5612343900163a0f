"""Websocket paths."""

from __future__ import annotations

from django.urls import path

from chat.consumers import SessionConsumer, UserConsumer

websocket_urlpatterns = [
    path("ws/sessions/<uuid:session_id>/", SessionConsumer.as_asgi()),
    path("ws/user/", UserConsumer.as_asgi()),
]
