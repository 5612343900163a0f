"""Where the pages of the web chat are."""

from django.urls import path

from chat import account, views
from chat.usage_page import usage

urlpatterns = [
    path("", views.home, name="home"),
    path("account/data/", account.data, name="account-data"),
    path("account/data/download/", account.download, name="account-download"),
    path("account/delete/", account.delete, name="account-delete"),
    path("account/deleted/", account.deleted, name="account-deleted"),
    path("new/", views.new_session, name="new-session"),
    path("usage/", usage, name="usage"),
    path("c/<uuid:session_id>/", views.session_page, name="session"),
    path("c/<uuid:session_id>/messages/", views.session_messages, name="session-messages"),
]
