"""What an adapter says itself."""

from __future__ import annotations

from linking.platforms.client import ApiError, LinkToken
from linking.platforms.markdown import plain

HELP = (
    "Write to me, and an agent answers. In a group, mention me, reply to me or use /ask.\n\n"
    "/ask - ask something\n"
    "/stop - stop what runs here\n"
    "/link - link this chat to a Holdfast account\n"
    "/unlink - how to end that\n"
    "/help - this"
)
READY = "This chat is linked. Just write."
NO_FILES = "I cannot read files here, only text. Attach them in Holdfast's own page."
TEXT_ONLY = "I passed on your text. The file that came with it I cannot read here."
NOTHING_RUNS = "Nothing runs here."
STOPPING = "Stopping."
STOPPED = "_Stopped._"
NOT_LINKED = (
    "This chat is not linked to a Holdfast account yet. Whoever wants to link it and pay for what is asked here"
    " writes /link."
)
UNLINK = "Open Holdfast, go to Linked platforms and press Unlink beside this chat. Only its owner can."
ALREADY_LINKED = "This chat is linked already. Its owner ends that in Holdfast, under Linked platforms."
ANONYMOUS = "I cannot see who you are. Turn off anonymous posting for a moment, and try again."
IN_PRIVATE = "I have written to you in private: the link is for you alone."
LINKED = "Linked. Just write."
GROUP_LINKED = "This chat is linked now. Mention me, reply to me or use /ask."
LINK_EXPIRED = "The link has expired. Write /link for a new one."
NOT_YOURS = "Only the person whose account is used here can decide this."
NO_SCOPE = "This bot was not allowed to pass on decisions. Decide in Holdfast, under Approvals."
OVER = "This is over: it was decided, or its time ran out."
GONE = "_This chat is no longer linked, so I cannot see the rest._"
HELD = "What you wrote meanwhile waits: it goes along with your next message."
QUEUED = "Noted. I read it as soon as I can."
QUEUED_APPROVAL = "Noted. I read it when what waits above is decided."
NOT_NOW = "Holdfast does not answer at the moment. I keep trying."
BROKEN = "I am not set up properly: Holdfast refuses my key. Whoever runs me finds more in my log."


def invitation(token: LinkToken, *, what: str) -> str:
    """Return how to link; it holds a secret and is for one person alone."""
    return (
        f"To link {what} to your Holdfast account, open this address and enter the code **{token.code}**:\n\n"
        f"<{token.url}>\n\n"
        "Works once, for half an hour. Whoever links pays for what is asked."
    )


def refusal(error: ApiError) -> str:
    """Return what to tell a person whose message was refused."""
    if error.status == 401 or error.code == "scope":
        return BROKEN
    if error.code == "rate_limited" and error.retry_after:
        return f"That was too fast. Try again in {max(1, round(error.retry_after))} seconds."
    return plain(error.detail) or "That did not work."
