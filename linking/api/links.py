"""``/links``, ``/links/{id}``, ``/link-tokens/{token}`` and its confirmation: for the person."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.apidocs import errors, found, no_content
from common.rest import ApiView, caller_of
from linking.api import examples
from linking.api.components import ChangeLinkBody, ConfirmBody, LinkOutput, LinkPage, LinkTokenOutput
from linking.link_tokens import confirm_link_token, look_at_link_token
from linking.links import allow_personal, links_of, unlink
from linking.objects import link_object, link_token_object


class LinksView(ApiView):
    """What is linked to the caller."""

    @extend_schema(
        operation_id="list_links",
        summary="List your links",
        description="Servers and people of chat platforms that are linked to you, newest first.",
        responses=found(LinkPage, {"results": [examples.LINK], "next": None, "previous": None}) | errors(),
    )
    def get(self, request: Request) -> Response:
        """Answer with all of them."""
        links = [link_object(link) for link in links_of(caller_of(request).user)]
        return Response({"results": links, "next": None, "previous": None})


class LinkView(ApiView):
    """One of the caller's links."""

    @property
    def scope(self) -> str:  # type: ignore[override] # read only
        """To let strangers have more takes as much as to make the link."""
        return "approve" if self.request.method == "PATCH" else "chat"

    @extend_schema(
        operation_id="change_link",
        summary="Change a server's link",
        description="A key needs the scope `approve`.",
        request=ChangeLinkBody,
        responses=found(LinkOutput, examples.LINK)
        | errors("not_found", "invalid", "unknown_field", "text_too_long", unsafe=True),
        examples=[OpenApiExample("wish", value={"allows_personal": False}, request_only=True)],
    )
    def patch(self, request: Request, link_id: str) -> Response:
        """Say what strangers there may use."""
        wish = self.body(request, ChangeLinkBody)
        user = caller_of(request).user
        return Response(link_object(allow_personal(user=user, link_id=link_id, allowed=wish["allows_personal"])))

    @extend_schema(
        operation_id="delete_link",
        summary="Unlink",
        description="From then on the bot speaks there for nobody. What was said stays.",
        responses=no_content() | errors("not_found", unsafe=True),
    )
    def delete(self, request: Request, link_id: str) -> Response:
        """Remove the link."""
        unlink(user=caller_of(request).user, link_id=link_id)
        return Response(status=204)


class LinkTokenView(ApiView):
    """A token that a bot handed out."""

    @extend_schema(
        operation_id="get_link_token",
        summary="Look at a link token",
        description="What it would link to your account, who asked for that, and what it allows. Changes nothing.",
        responses=found(LinkTokenOutput, examples.TOKEN) | errors("not_found", "already_linked", "token_used"),
    )
    def get(self, request: Request, token: str) -> Response:
        """Answer with what it is about."""
        account = caller_of(request).user.get_username()
        return Response(link_token_object(look_at_link_token(token), account=account))


class ConfirmView(ApiView):
    """The confirmation of a token. A link lets somebody decide for its owner, so a key needs that scope."""

    scope = "approve"

    @extend_schema(
        operation_id="confirm_link_token",
        summary="Confirm a link token",
        description="Links what it stands for to your account, once. A key needs the scope `approve`. A wrong "
        "kind burns nothing; after five wrong codes the token is worth nothing.",
        request=ConfirmBody,
        responses=found(LinkOutput, examples.LINK)
        | errors(
            "invalid",
            "unknown_field",
            "wrong_kind",
            "not_found",
            "already_linked",
            "token_used",
            "text_too_long",
            unsafe=True,
        ),
        examples=[OpenApiExample("wish", value={"kind": "server", "code": "042917"}, request_only=True)],
    )
    def post(self, request: Request, token: str) -> Response:
        """Make the link."""
        wish = self.body(request, ConfirmBody)
        link = confirm_link_token(
            user=caller_of(request).user, token=token, kind=wish["kind"], code="".join(wish["code"].split())
        )
        return Response(link_object(link))
