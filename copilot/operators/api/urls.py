"""What ``/api/v1/`` answers to operators. No trailing slashes."""

from __future__ import annotations

from django.urls import path

from copilot.operators.api.turns import TurnsView

urlpatterns = [
    path("operator/turns", TurnsView.as_view()),
]
