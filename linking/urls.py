"""Pages at the root, and the calls that are mounted under ``/api/v1/``."""

from django.urls import path, register_converter

from linking.api.bot_approvals import BotActionsView, BotDecideView
from linking.api.bot_turns import (
    BotTurnsView,
    bot_turn_events_view,
    bot_turn_stream_view,
    bot_turn_view,
    cancel_bot_turn_view,
)
from linking.api.bots import LinkTokenStatusView, LinkTokensView, ResolveView
from linking.api.links import ConfirmView, LinksView, LinkTokenView, LinkView
from linking.api.people import KeyListView, KeyView, MeView
from linking.api.webhooks import WebhookView
from linking.converters import LinkTokenConverter
from linking.link_pages import LinkPage, allow_personal_there, links, put_away, unlink_there
from linking.views import LoginLinkView, PasswordLoginView, PostOnlyLogoutView

register_converter(LinkTokenConverter, "link_token")

urlpatterns = [
    path("login/", PasswordLoginView.as_view(), name="login"),
    path("login/<str:token>/", LoginLinkView.as_view(), name="login-token"),
    path("logout/", PostOnlyLogoutView.as_view(), name="logout"),
    path("link/<link_token:token>", LinkPage.as_view(), name="link"),
    path("links/", links, name="links"),
    path("links/<uuid:link_id>/unlink/", unlink_there, name="unlink"),
    path("links/<uuid:link_id>/seen/", put_away, name="link-seen"),
    path("links/<uuid:link_id>/personal/", allow_personal_there, name="link-personal"),
]

api_urlpatterns = [
    path("keys", KeyListView.as_view(), name="keys"),
    path("keys/<uuid:key_id>", KeyView.as_view(), name="key"),
    path("me", MeView.as_view(), name="me"),
    path("links", LinksView.as_view()),
    path("links/<str:link_id>", LinkView.as_view()),
    path("link-tokens/<link_token:token>", LinkTokenView.as_view()),
    path("link-tokens/<link_token:token>/confirm", ConfirmView.as_view()),
    path("bot/links/resolve", ResolveView.as_view()),
    path("bot/link-tokens", LinkTokensView.as_view()),
    path("bot/webhook", WebhookView.as_view()),
    path("bot/link-tokens/<link_token:token>", LinkTokenStatusView.as_view()),
    path("bot/turns", BotTurnsView.as_view()),
    path("bot/turns/<str:turn_id>", bot_turn_view),
    path("bot/turns/<str:turn_id>/events", bot_turn_events_view),
    path("bot/turns/<str:turn_id>/stream", bot_turn_stream_view),
    path("bot/turns/<str:turn_id>/cancel", cancel_bot_turn_view),
    path("bot/approvals", BotActionsView.as_view()),
    path("bot/approvals/<str:action_id>/decide", BotDecideView.as_view()),
]
