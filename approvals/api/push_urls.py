"""What ``/api/v1/push`` answers. No trailing slashes."""

from __future__ import annotations

from django.urls import path

from approvals.api.push import PushView, SubscriptionsView, SubscriptionView

urlpatterns = [
    path("push", PushView.as_view()),
    path("push/subscriptions", SubscriptionsView.as_view()),
    path("push/subscriptions/<str:subscription_id>", SubscriptionView.as_view()),
]
