"""What ``/api/v1/`` answers about approvals. No trailing slashes."""

from __future__ import annotations

from django.urls import path

from approvals.api.actions import ActionsView, ActionView, DecideView
from approvals.api.log import LogView
from approvals.api.rules import RulesView, RuleView

urlpatterns = [
    path("approvals", ActionsView.as_view()),
    path("approvals/<str:action_id>", ActionView.as_view()),
    path("approvals/<str:action_id>/decide", DecideView.as_view()),
    path("approval-log", LogView.as_view()),
    path("approval-rules", RulesView.as_view()),
    path("approval-rules/<str:rule_id>", RuleView.as_view()),
]
