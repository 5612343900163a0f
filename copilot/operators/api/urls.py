"""What ``/api/v1/`` answers to operators. No trailing slashes."""

from __future__ import annotations

from django.urls import path

from copilot.operators.api.actions import CleanupView, RequeueView, StopView
from copilot.operators.api.diagnostics import DiagnosticsView
from copilot.operators.api.turn import TurnView
from copilot.operators.api.turns import TurnsView
from copilot.operators.api.usage import ResetView, TierView, UsageView

urlpatterns = [
    path("operator/diagnostics", DiagnosticsView.as_view()),
    path("operator/turns", TurnsView.as_view()),
    path("operator/usage", UsageView.as_view()),
    path("operator/usage/reset", ResetView.as_view()),
    path("operator/usage/tier", TierView.as_view()),
    path("operator/turns/stop", StopView.as_view()),
    path("operator/turns/requeue", RequeueView.as_view()),
    path("operator/turns/cleanup", CleanupView.as_view()),
    # Last: it takes any other word for an id.
    path("operator/turns/<str:turn_id>", TurnView.as_view()),
]
