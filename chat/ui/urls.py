"""What ``/api/v1/ui/`` answers to AI SDK front ends."""

from __future__ import annotations

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from chat.ui.views import chat_stop_view, chat_stream_view, chat_view


class _ChatConverter(StringConverter):
    """A chat's name as its front end made it: slashes and all."""

    regex = "(?s:.+)"


register_converter(_ChatConverter, "chat")

urlpatterns = [
    path("ui/chat", chat_view),
    path("ui/chat/<chat:chat>/stream", chat_stream_view),
    path("ui/chat/<chat:chat>/stop", chat_stop_view),
]
