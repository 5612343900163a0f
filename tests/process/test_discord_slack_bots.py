"""The adapters of Discord and Slack as processes of their own, between a real server and the stand-ins."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.platforms.discord_stand_in import GUILD, TOKEN, DiscordStandIn
from tests.platforms.discord_stand_in import ME as DISCORD_ME
from tests.platforms.discord_stand_in import Message as DiscordMessage
from tests.platforms.slack_stand_in import APP_TOKEN, BOT_TOKEN, TEAM, SlackStandIn
from tests.platforms.slack_stand_in import ME as SLACK_ME
from tests.platforms.slack_stand_in import Message as SlackMessage
from tests.process.clients import Rest, words
from tests.process.servers import EmbeddedServer, Process, Stack

pytestmark = pytest.mark.process
ADA, GRACE = "500000000000000001", "500000000000000002"
SECONDS = 60.0


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedServer]:
    """A server with a demo model."""
    with EmbeddedServer(data_dir) as stack:
        yield stack


@contextmanager
def adapter(stack: Stack, platform: str, **settings: str) -> Iterator[Process]:
    """Run ``manage.py run_bot``."""
    key = stack.manage("create_bot", "Agent", "--platform", platform, "--scopes", "approve").splitlines()[-1]
    env = {**stack.env, "HOLDFAST_URL": stack.url, f"{platform.upper()}_HOLDFAST_KEY": key, **settings}
    process = Process("bot", [sys.executable, "manage.py", "run_bot", platform], env=env, folder=stack.folder)
    stack.processes.append(process)
    yield process.start()
    process.kill()


async def accept(rest: Rest, invitation: str) -> None:
    """Do with an invitation what a person does."""
    token = re.search(r"/link/([\w-]+)", invitation)
    code = re.search(r"enter the code \**(\d{6})", invitation)
    assert token
    assert code
    shown = await rest.get(f"link-tokens/{token[1]}")
    body = {"kind": shown["kind"], "code": code[1]}
    answer = await rest.http.post(f"link-tokens/{token[1]}/confirm", json=body)
    assert answer.status_code == 200, answer.text


async def discord_says(discord: DiscordStandIn, channel: str, text: str) -> DiscordMessage:
    found: DiscordMessage = await discord.until(
        lambda: next((each for each in discord.of_bot(channel) if text in each.content), None), SECONDS
    )
    return found


async def slack_says(slack: SlackStandIn, channel: str, text: str) -> SlackMessage:
    found: SlackMessage = await slack.until(
        lambda: next((each for each in slack.of_bot(channel) if text in each.text), None), SECONDS
    )
    return found


async def test_discord_from_the_link_to_the_approval(server: EmbeddedServer) -> None:
    async with DiscordStandIn(beat_seconds=1) as discord, Rest(server, server.issue_key()) as rest:
        settings = {"DISCORD_TOKEN": TOKEN, "DISCORD_API_URL": discord.api_url}
        channel = discord.public()
        with adapter(server, "discord", **settings) as bot:
            await discord.until(lambda: discord.sessions, SECONDS)
            used = await discord.command(channel, ADA, "link")
            invitation = await discord.until(
                lambda: next((a["content"] for a in used.answers if "/link/" in a.get("content", "")), ""), SECONDS
            )
            await accept(rest, invitation)
            await discord_says(discord, channel, "linked now")
            await discord.say(channel, GRACE, f"<@{DISCORD_ME}> /words 40 20")
            answer = await discord_says(discord, channel, words(40))
            assert answer.texts == sorted(answer.texts, key=len)
            await discord.say(channel, GRACE, f'<@{DISCORD_ME}> /tool demo_note {{"text": "from Grace"}}')
            card = await discord_says(discord, channel, "Approval needed")
            used = await discord.press(card, "✅ Approve", GRACE)
            await discord.until(lambda: "Only the person" in used.words, SECONDS)
            used = await discord.press(card, "✅ Approve", ADA)
            await discord_says(discord, channel, "Done.")
            await discord.until(lambda: "Decided" in card.content and not card.buttons, SECONDS)
            await discord.say(channel, GRACE, f"<@{DISCORD_ME}> /words 2000 20")
            await discord_says(discord, channel, "w20 w21")
            await discord.command(channel, GRACE, "stop")
            await discord_says(discord, channel, "Stopped")
            assert bot.stop()[0] == 0
        approvals = (await rest.get("approvals?status=decided"))["results"]
        assert {each["surface"] for each in approvals} == {"discord"}
        assert len((await rest.get("sessions"))["results"]) == 1
        assert discord.violations == []
        secrets = [TOKEN, ADA, GRACE, GUILD, channel]
        assert [each for each in secrets if each in bot.output()] == []
    server.check_invariants()


async def test_a_killed_adapter_and_a_killed_server_lose_and_double_nothing_on_discord(
    server: EmbeddedServer,
) -> None:
    async with DiscordStandIn(beat_seconds=1) as discord, Rest(server, server.issue_key()) as rest:
        settings = {"DISCORD_TOKEN": TOKEN, "DISCORD_API_URL": discord.api_url}
        private = discord.private(ADA)
        with adapter(server, "discord", **settings) as bot:
            await discord.until(lambda: discord.sessions, SECONDS)
            await discord.say(private, ADA, "hello")
            await accept(rest, (await discord_says(discord, private, "/link/")).content)
            await discord.say(private, ADA, "/words 150 30")
            first = await discord_says(discord, private, "w10")
            bot.kill()
            bot.start()
            await discord.until(lambda: "w30" in first.content, SECONDS)
            server.server.kill()
            await discord.say(private, ADA, "/words 3")
            server.restart()
            await discord_says(discord, private, words(150))
            await discord.until(lambda: [m for m in discord.of_bot(private) if m.content == words(3)], SECONDS)
            told = [each.content for each in discord.of_bot(private)]
            assert (told.count(words(150)), told.count(words(3))) == (1, 1)
        assert discord.violations == []
    server.check_invariants()


async def test_slack_from_the_link_to_the_approval(server: EmbeddedServer) -> None:
    async with SlackStandIn() as slack, Rest(server, server.issue_key()) as rest:
        settings = {
            "SLACK_BOT_TOKEN": BOT_TOKEN,
            "SLACK_APP_TOKEN": APP_TOKEN,
            "SLACK_API_URL": slack.api_url,
        }
        ada, private, channel = "U0ADA", "DU0ADA", "C0GENERAL"
        mention = f"<@{SLACK_ME}>"
        with adapter(server, "slack", **settings) as bot:
            await slack.until(lambda: slack.sockets, SECONDS)
            await slack.send("slash_commands", slack.command(channel, ada, "link"))
            await accept(rest, (await slack_says(slack, private, "/link/")).text)
            payload = slack.message(channel, "U0GRACE", f"{mention} /words 40 20")
            await slack.send("events_api", payload)
            answer = await slack_says(slack, channel, words(40))
            thread = payload["event"]["ts"]
            assert answer.thread == thread
            asked = f'{mention} /tool demo_note {{"text": "from Grace"}}'
            await slack.send("events_api", slack.message(channel, "U0GRACE", asked, thread_ts=thread))
            card = await slack_says(slack, channel, "Approval needed")
            await slack.send("interactive", slack.pressed(card, "✅ Approve", "U0GRACE"))
            await slack.until(lambda: any("Only the person" in each["text"] for each in slack.answers), SECONDS)
            await slack.send("interactive", slack.pressed(card, "✅ Approve", ada))
            await slack_says(slack, channel, "Done.")
            await slack.until(lambda: "Decided" in card.text and not card.buttons, SECONDS)
            again = slack.message(channel, "U0GRACE", f"{mention} /words 2000 20", thread_ts=thread)
            await slack.send("events_api", again)
            await slack_says(slack, channel, "w20 w21")
            await slack.send("slash_commands", slack.command(channel, "U0GRACE", "stop"))
            await slack_says(slack, channel, "_Stopped._")
            assert bot.stop()[0] == 0
        approvals = (await rest.get("approvals?status=decided"))["results"]
        assert {each["surface"] for each in approvals} == {"slack"}
        assert len((await rest.get("sessions"))["results"]) == 1
        assert slack.violations == []
        secrets = [BOT_TOKEN, APP_TOKEN, ada, TEAM, channel, private]
        assert [each for each in secrets if each in bot.output()] == []
    server.check_invariants()
