"""Where the pages of the web chat are."""

from django.urls import path

from chat import views
from chat.usage_page import usage

urlpatterns = [
    path("", views.home, name="home"),
    path("new/", views.new_session, name="new-session"),
    path("usage/", usage, name="usage"),
    path("c/<uuid:session_id>/", views.session_page, name="session"),
    path("c/<uuid:session_id>/messages/", views.session_messages, name="session-messages"),
]
