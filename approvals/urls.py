"""Where the pages of approvals are."""

from __future__ import annotations

from django.urls import path

from approvals import views

urlpatterns = [
    path("approvals/", views.inbox, name="approvals"),
    path("approvals/items/", views.inbox_items, name="approval-items"),
    path("approvals/rules/", views.rules, name="approval-rules"),
    path("approvals/rules/<uuid:rule_id>/revoke/", views.revoke_rule, name="revoke-approval-rule"),
    path("approvals/log/", views.log, name="approval-log"),
    path("approvals/<uuid:action_id>/", views.action_page, name="approval"),
]
