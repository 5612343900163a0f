"""The adapter for Discord, as ``manage.py run_bot discord`` runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from linking.platforms import discord_wire as wire
from linking.platforms.base import SetupError
from linking.platforms.client import Holdfast
from linking.platforms.conversation import Conversations
from linking.platforms.discord_events import Events, Webhook
from linking.platforms.discord_gateway import Gateway, Session
from linking.platforms.discord_platform import APART_SECONDS, Discord
from linking.platforms.discord_rest import DiscordRest
from linking.platforms.memory import Memory
from linking.platforms.serving import listening, until_stopped

REQUIRED = ("DISCORD_TOKEN",)
OPTIONAL = ("DISCORD_API_URL", "DISCORD_PUBLIC_KEY", "DISCORD_WEBHOOK_LISTEN")
#: Seconds between two times that the place in the gateway's session is written down. Events come again from there.
KEEP_SECONDS = 1.0


async def serve(
    configured: Mapping[str, str],
    holdfast: Holdfast,
    memory: Memory,
    stop: asyncio.Event,
    say: Callable[[str], None],
    *,
    apart_seconds: float = APART_SECONDS,
) -> None:
    """Run until ``stop`` is set: over the gateway, or with ``DISCORD_PUBLIC_KEY`` by signed requests.

    Args:
        configured: the settings named above.
        say: prints a line for whoever runs it.
        apart_seconds: between two writes in a channel.

    Raises:
        SetupError: a setting is wrong, or Discord does not let the bot in.
    """
    async with DiscordRest(configured["DISCORD_TOKEN"], configured["DISCORD_API_URL"]) as rest:
        platform = Discord(rest, apart_seconds=apart_seconds)
        conversations = Conversations(platform, holdfast, memory)
        events = Events(rest, conversations)
        try:
            await until_stopped(stop, _receive(configured, events, conversations, memory, say))
        finally:
            await events.close()
            await conversations.close()


async def _receive(
    configured: Mapping[str, str],
    events: Events,
    conversations: Conversations,
    memory: Memory,
    say: Callable[[str], None],
) -> None:
    public_key = configured["DISCORD_PUBLIC_KEY"]
    webhook = Webhook(_key(public_key), events.answer) if public_key else None
    await events.begin()
    resumed = conversations.resume()
    if webhook is None:
        say(f"Connecting to Discord's gateway. {resumed} answers go on. Ctrl-C stops it.")
        await _over_gateway(configured["DISCORD_TOKEN"], events, memory)
        return
    async with listening("DISCORD_WEBHOOK_LISTEN", configured["DISCORD_WEBHOOK_LISTEN"], webhook.take) as port:
        say(f"Commands and buttons, not messages, come to port {port}. {resumed} answers go on. Ctrl-C stops it.")
        await asyncio.Event().wait()


async def _over_gateway(token: str, events: Events, memory: Memory) -> None:
    """Receive events, from where an earlier process of the same bot stopped."""
    old, session = memory.session, None
    with suppress(LookupError, ValueError, TypeError):  # a file of another form: a new session is begun
        if old["bot"] == events.me:
            session = Session(str(old["id"]), str(old["url"]), int(old["seq"]))
            events.roles = frozenset(old["roles"])
    gateway = Gateway(token, events.find_gateway, events.take, session=session)

    def keep() -> None:
        kept = gateway.kept()
        found = {"bot": events.me, "roles": sorted(events.roles), **asdict(kept)} if kept else {}
        if found != memory.session:
            memory.session = found
            memory.save()

    async def keep_now_and_then() -> None:
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            keep()

    keeping = asyncio.create_task(keep_now_and_then())
    try:
        await gateway.run()
    finally:
        keeping.cancel()
        keep()


def _key(text: str) -> Ed25519PublicKey:
    try:
        return wire.read_public_key(text)
    except ValueError as error:
        raise SetupError("DISCORD_PUBLIC_KEY", "expected the 64 hexadecimal digits of the portal.") from error
