"""What ``/api/v1/`` answers about sessions, messages and turns. No trailing slashes."""

from __future__ import annotations

from django.urls import path

from chat.api.asides import aside_view
from chat.api.branches import BranchView, EditView, RegenerateView
from chat.api.files import FilesView, file_view
from chat.api.messages import (
    DeliverQueuedView,
    MessageView,
    QueuedMessageView,
    QueuedView,
    SessionMessagesView,
)
from chat.api.models import ModelsView
from chat.api.presets import PresetsView, PresetView
from chat.api.sessions import SessionsView, SessionView
from chat.api.streams import turn_events_view, turn_stream_view
from chat.api.turns import cancel_in_session_view, cancel_turn_view, turn_view
from chat.api.usage import UsageView
from chat.openai.views import completions_view, model_view, models_view

urlpatterns = [
    path("sessions", SessionsView.as_view()),
    path("sessions/<str:session_id>", SessionView.as_view()),
    path("sessions/<str:session_id>/messages", SessionMessagesView.as_view()),
    path("sessions/<str:session_id>/queued", QueuedView.as_view()),
    path("sessions/<str:session_id>/queued/deliver", DeliverQueuedView.as_view()),
    path("sessions/<str:session_id>/queued/<str:message_id>", QueuedMessageView.as_view()),
    path("sessions/<str:session_id>/aside", aside_view),
    path("sessions/<str:session_id>/cancel", cancel_in_session_view),
    path("sessions/<str:session_id>/regenerate", RegenerateView.as_view()),
    path("sessions/<str:session_id>/branch", BranchView.as_view()),
    path("messages/<str:message_id>", MessageView.as_view()),
    path("messages/<str:message_id>/edit", EditView.as_view()),
    path("turns/<str:turn_id>", turn_view),
    path("turns/<str:turn_id>/cancel", cancel_turn_view),
    path("turns/<str:turn_id>/events", turn_events_view),
    path("turns/<str:turn_id>/stream", turn_stream_view),
    path("files", FilesView.as_view()),
    path("files/<str:file_id>", file_view),
    path("presets", PresetsView.as_view()),
    path("presets/<str:preset_id>", PresetView.as_view()),
    path("usage", UsageView.as_view()),
    path("models", ModelsView.as_view()),
    path("openai/chat/completions", completions_view),
    path("openai/models", models_view),
    path("openai/models/<path:model_id>", model_view),
]
