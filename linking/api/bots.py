"""``/bot/links/resolve`` and ``/bot/link-tokens``: for bots."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.objects import moment
from common.apidocs import bot_errors, created, found
from linking.api import examples
from linking.api.components import IssuedOutput, LinkTokenBody, ResolveBody, ResolvedOutput, TokenStatusOutput
from linking.bot_auth import BotView, bot_of
from linking.link_tokens import Target, issue_link_token, status_of_token
from linking.links import link_of
from linking.models.links import LinkKind


class ResolveView(BotView):
    """Whether something is linked."""

    @extend_schema(
        operation_id="resolve_bot_link",
        summary="Ask whether a server or a person is linked",
        description="Of this bot's links; those of other bots do not exist for it. A server's link is none of the "
        "people there, nor the other way round.",
        request=ResolveBody,
        responses=found(ResolvedOutput, {"linked": True, "owner": "ada"})
        | bot_errors("invalid", "unknown_field", "text_too_long", unsafe=True),
        examples=[
            OpenApiExample(
                "server", value={"kind": "server", "platform_id": "81384788765712384"}, request_only=True
            )
        ],
    )
    def post(self, request: Request) -> Response:
        """Answer with the owner, if there is one."""
        link = link_of(bot=bot_of(request), **self.body(request, ResolveBody))
        if link is None:
            return Response({"linked": False})
        return Response({"linked": True, "owner": link.owner.get_username()})


class LinkTokensView(BotView):
    """Tokens of the bot."""

    @extend_schema(
        operation_id="create_bot_link_token",
        summary="Ask for a link token",
        description="Send its `url` and its `code` in private to whoever asked. The token can be confirmed once, "
        "within `LINK_TOKEN_SECONDS`; an older one for the same target dies.",
        request=LinkTokenBody,
        responses=created(IssuedOutput, examples.ISSUED)
        | bot_errors("invalid", "unknown_field", "already_linked", "text_too_long", unsafe=True),
        examples=[OpenApiExample("server", value=examples.TARGET, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Issue one."""
        wish = self.body(request, LinkTokenBody)
        if wish["kind"] == LinkKind.USER:
            wish["platform_user_id"] = wish.get("platform_user_id") or wish["platform_id"]
            wish["platform_user_name"] = wish.get("platform_user_name") or wish.get("platform_name", "")
        issued = issue_link_token(bot=bot_of(request), target=Target(**wish))
        path = reverse("link", args=[issued.token])
        url = settings.BASE_URL + path if settings.BASE_URL else request.build_absolute_uri(path)
        answer = {"token": issued.token, "code": issued.code, "url": url, "expires_at": moment(issued.expires_at)}
        return Response(answer, status=201)


class LinkTokenStatusView(BotView):
    """One token of the bot."""

    @extend_schema(
        operation_id="get_bot_link_token",
        summary="Ask what a link token has come to",
        description="`linked` while the link that was made of it is there; `expired` also for one that was "
        "replaced by a newer one or whose code was wrong too often.",
        responses=found(TokenStatusOutput, {"status": "pending"}) | bot_errors("not_found"),
    )
    def get(self, request: Request, token: str) -> Response:
        """Answer with its status."""
        return Response({"status": status_of_token(bot=bot_of(request), token=token).value})
