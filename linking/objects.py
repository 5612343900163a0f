"""The public JSON form of links and link tokens. Optional keys are absent, never null."""

from __future__ import annotations

from typing import Any

from approvals.objects import moment
from linking.models import Link, LinkToken, ServerLink
from linking.models.links import LinkKind

#: What a link lets happen, for the person who is asked to make it.
ALLOWS = {
    LinkKind.SERVER: (
        "Everybody there can chat with the agents.",
        "All that they use is counted as yours, and your limits apply.",
        "Your instructions and MCP servers are kept from them, unless you share them later; your files always.",
        "What you allowed for always is not allowed to them.",
        "Decisions that an agent waits for can be made there only by whoever asked for this link.",
    ),
    LinkKind.USER: (
        "What is written there is written in your name, with your instructions and MCP servers.",
        "All that it uses is counted as yours, and your limits apply.",
        "Decisions that an agent waits for can be made there.",
    ),
}


def link_object(link: Link) -> dict[str, Any]:
    """Return a link; its bot must have been read with it."""
    shown: dict[str, Any] = {
        "id": str(link.pk),
        "kind": str(link.kind),
        "bot": link.bot.name,
        "platform": link.bot.platform,
        "platform_id": link.platform_id,
        "platform_name": link.platform_name,
        "created_at": moment(link.created_at),
    }
    if link.asked_by:
        shown |= {"platform_user_id": link.asked_by, "platform_user_name": link.asked_by_name}
    if isinstance(link, ServerLink):
        shown["allows_personal"] = link.allows_personal
    return shown


def link_token_object(row: LinkToken, *, account: str) -> dict[str, Any]:
    """Return what a token would link to the account of this name; its bot must have been read with it."""
    shown: dict[str, Any] = {
        "kind": row.kind,
        "bot": row.bot.name,
        "platform": row.bot.platform,
        "platform_id": row.platform_id,
        "platform_name": row.platform_name,
        "account": account,
        "allows": list(ALLOWS[LinkKind(row.kind)]),
        "expires_at": moment(row.expires_at),
    }
    if row.platform_user_id:
        shown |= {"platform_user_id": row.platform_user_id, "platform_user_name": row.platform_user_name}
    return shown
