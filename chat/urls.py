"""Where the pages of the web chat are."""

from django.urls import path

from chat import views

urlpatterns = [
    path("", views.home, name="home"),
    path("new/", views.new_session, name="new-session"),
    path("c/<uuid:session_id>/", views.session_page, name="session"),
    path("c/<uuid:session_id>/messages/", views.session_messages, name="session-messages"),
]
