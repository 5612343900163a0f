"""The adapter for Slack, as ``manage.py run_bot slack`` runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from linking.platforms.base import SetupError
from linking.platforms.client import Holdfast
from linking.platforms.conversation import Conversations
from linking.platforms.memory import Memory
from linking.platforms.serving import listening, until_stopped
from linking.platforms.slack_events import Events, Webhook
from linking.platforms.slack_platform import APART_SECONDS, Slack
from linking.platforms.slack_socket import Socket
from linking.platforms.slack_web import SlackWeb

REQUIRED = ("SLACK_BOT_TOKEN",)
OPTIONAL = ("SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET", "SLACK_API_URL", "SLACK_WEBHOOK_LISTEN")


async def serve(
    configured: Mapping[str, str],
    holdfast: Holdfast,
    memory: Memory,
    stop: asyncio.Event,
    say: Callable[[str], None],
    *,
    apart_seconds: float = APART_SECONDS,
) -> None:
    """Run until ``stop`` is set: over a socket with ``SLACK_APP_TOKEN``, else by signed requests.

    Args:
        configured: the settings named above.
        say: prints a line for whoever runs it.
        apart_seconds: between two writes in a channel.

    Raises:
        SetupError: a setting is missing or wrong, or Slack does not let the app in.
    """
    if not configured["SLACK_APP_TOKEN"] and not configured["SLACK_SIGNING_SECRET"]:
        raise SetupError("SLACK_APP_TOKEN", "missing, and so is SLACK_SIGNING_SECRET: one of them is needed.")
    async with SlackWeb(configured["SLACK_BOT_TOKEN"], configured["SLACK_API_URL"]) as web:
        platform = Slack(web, apart_seconds=apart_seconds)
        conversations = Conversations(platform, holdfast, memory)
        events = Events(web, platform, conversations)
        try:
            await until_stopped(stop, _receive(configured, events, conversations, say))
        finally:
            await events.close()
            await conversations.close()


async def _receive(
    configured: Mapping[str, str], events: Events, conversations: Conversations, say: Callable[[str], None]
) -> None:
    await events.begin()
    resumed = conversations.resume()
    if token := configured["SLACK_APP_TOKEN"]:
        async with SlackWeb(token, configured["SLACK_API_URL"]) as web:
            say(f"Connecting to Slack by Socket Mode. {resumed} answers go on. Ctrl-C stops it.")
            await Socket(web, events.take).run()
    webhook = Webhook(configured["SLACK_SIGNING_SECRET"], events)
    async with listening("SLACK_WEBHOOK_LISTEN", configured["SLACK_WEBHOOK_LISTEN"], webhook.take) as port:
        say(f"Slack's requests come to port {port}. {resumed} answers go on. Ctrl-C stops it.")
        await asyncio.Event().wait()
