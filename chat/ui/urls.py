"""What ``/api/v1/ui/`` answers to front ends of the AI SDK and of AG-UI."""

from __future__ import annotations

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from chat.agui.views import run_view
from chat.ui.views import chat_stop_view, chat_stream_view, chat_view


class _ChatConverter(StringConverter):
    """A chat's name as its front end made it: slashes and all."""

    regex = "(?s:.+)"


register_converter(_ChatConverter, "chat")

urlpatterns = [
    path("ui/ag-ui", run_view),
    path("ui/chat", chat_view),
    path("ui/chat/<chat:chat>/stream", chat_stream_view),
    path("ui/chat/<chat:chat>/stop", chat_stop_view),
]
