"""What ``/api/v1/`` answers to operators. No trailing slashes."""

from __future__ import annotations

from django.urls import path

from copilot.operators.api.turns import TurnsView
from copilot.operators.api.usage import ResetView, TierView, UsageView

urlpatterns = [
    path("operator/turns", TurnsView.as_view()),
    path("operator/usage", UsageView.as_view()),
    path("operator/usage/reset", ResetView.as_view()),
    path("operator/usage/tier", TierView.as_view()),
]
