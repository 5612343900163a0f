"""Pages at the root, and the calls that are mounted under ``/api/v1/``."""

from django.urls import path

from linking.api.people import KeyListView, KeyView, MeView
from linking.views import LoginLinkView, PasswordLoginView, PostOnlyLogoutView

urlpatterns = [
    path("login/", PasswordLoginView.as_view(), name="login"),
    path("login/<str:token>/", LoginLinkView.as_view(), name="login-token"),
    path("logout/", PostOnlyLogoutView.as_view(), name="logout"),
]

api_urlpatterns = [
    path("keys", KeyListView.as_view(), name="keys"),
    path("keys/<uuid:key_id>", KeyView.as_view(), name="key"),
    path("me", MeView.as_view(), name="me"),
]
