"""The conversations on Discord and Slack in ``docs/platforms.md`` took place, with the stand-ins of both sides."""

from __future__ import annotations

import re
from pathlib import Path

from linking.platforms import discord as discord_adapter
from linking.platforms import slack as slack_adapter
from tests.platforms import discord_stand_in as d
from tests.platforms import slack_stand_in as s
from tests.platforms.holdfast_stand_in import HoldfastStandIn, StandInTurn
from tests.platforms.running import running

PAGE = Path(__file__).resolve().parents[2] / "docs" / "platforms.md"
ASKED = "which of our servers is full?"
REQUEST = {
    "tool_call_id": "c1",
    "name": "shell",
    "arguments": {"command": "df -h"},
    "allowed_decisions": ["approve", "reject"],
}


class Script:
    """What was said, in order, as a reader of the page sees it."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def line(self, who: str, text: str) -> None:
        """Add what somebody said; further lines of it are indented."""
        first, *rest = re.sub(r"token-\w+", "…", text).splitlines()
        self._lines += [f"{who}: {first}", *(f"    {line}".rstrip() for line in rest)]

    def compare(self, platform: str) -> None:
        """Compare with the page."""
        found = re.search(
            rf"<!-- {platform}, played by the tests -->\n```text\n(.*?)\n```\n\n", PAGE.read_text(), re.DOTALL
        )
        played = "\n".join(self._lines)
        assert found, f"docs/platforms.md has no conversation; it would be\n{played}"
        assert found[1] == played


async def work(turn: StandInTurn) -> None:
    """Let the agent begin and ask."""
    await turn.says("I will look at the disks.")
    await turn.asks(requests=[REQUEST])


async def finish(turn: StandInTurn) -> None:
    """Let the agent answer."""
    await turn.says("`db-2` is: **97 %** of its disk is used.", part="t2")
    await turn.ends()


async def test_on_discord(holdfast: HoldfastStandIn, tmp_path: Path) -> None:
    script, ada, grace = Script(), "500000000000000001", "500000000000000002"
    async with d.DiscordStandIn() as discord:
        settings = {
            "DISCORD_TOKEN": d.TOKEN,
            "DISCORD_API_URL": discord.api_url,
            "DISCORD_PUBLIC_KEY": "",
            "DISCORD_WEBHOOK_LISTEN": "",
        }
        channel = discord.public()

        async def says(words: str) -> d.Message:
            found: d.Message = await discord.until(
                lambda: next((each for each in discord.of_bot(channel) if words in each.content), None)
            )
            return found

        async with running(discord_adapter, settings, holdfast.url, tmp_path / "discord.json"):
            await discord.until(lambda: discord.sessions)
            await discord.say(channel, grace, f"<@{d.ME}> {ASKED}")
            script.line("Grace", f"@Agent {ASKED}")
            script.line("bot", (await says("not linked")).content)
            used = await discord.command(channel, ada, "link")
            await discord.until(lambda: len(used.answers) == 3)
            script.line("Ada", "/link")
            for answer in used.answers[1:]:
                script.line("(only Ada sees) bot", answer["content"])
            await holdfast.confirm(list(holdfast.tokens)[-1])
            script.line("bot", (await says("linked now")).content)
            await discord.say(channel, grace, f"<@{d.ME}> {ASKED}")
            script.line("Grace", f"@Agent {ASKED}")
            turn = await holdfast.turn()
            await work(turn)
            script.line("bot", (await says("the disks")).content)
            card = await says("Approval needed")
            script.line("bot", card.content + "\n" + " ".join(f"[{each['label']}]" for each in card.buttons))
            used = await discord.press(card, "✅ Approve", grace)
            await discord.until(lambda: used.words)
            script.line("Grace", "[✅ Approve]")
            script.line("(only Grace sees) bot", used.words)
            await discord.press(card, "✅ Approve", ada)
            await discord.until(lambda: "Decided" in card.content)
            script.line("Ada", "[✅ Approve]")
            script.line("(the request becomes) bot", card.content)
            await finish(turn)
            script.line("bot", (await says("97 %")).content)
    script.compare("Discord")


async def test_on_slack(holdfast: HoldfastStandIn, tmp_path: Path) -> None:
    script, ada, grace, channel = Script(), "U0ADA", "U0GRACE", "C0GENERAL"
    async with s.SlackStandIn() as slack:
        settings = {
            "SLACK_BOT_TOKEN": s.BOT_TOKEN,
            "SLACK_APP_TOKEN": s.APP_TOKEN,
            "SLACK_SIGNING_SECRET": "",
            "SLACK_API_URL": slack.api_url,
            "SLACK_WEBHOOK_LISTEN": "",
        }

        async def says(words: str, where: str = channel) -> s.Message:
            found: s.Message = await slack.until(
                lambda: next((each for each in slack.of_bot(where) if words in each.text), None)
            )
            return found

        async with running(slack_adapter, settings, holdfast.url, tmp_path / "slack.json"):
            await slack.send("events_api", slack.message(channel, grace, f"<@{s.ME}> {ASKED}"))
            script.line("Grace", f"@Agent {ASKED}")
            await slack.until(lambda: slack.whispers)
            script.line("(only Grace sees) bot", slack.whispers[0]["text"])
            await slack.send("slash_commands", slack.command(channel, ada, "link"))
            script.line("Ada", "/link")
            script.line("(only Ada sees) bot", (await slack.until(lambda: slack.answers))[0]["text"])
            script.line("(in private) bot", (await says("/link/", f"D{ada}")).text)
            await holdfast.confirm(list(holdfast.tokens)[-1])
            script.line("bot", (await says("linked now")).text)
            await slack.send("events_api", slack.message(channel, grace, f"<@{s.ME}> {ASKED}"))
            script.line("Grace", f"@Agent {ASKED}")
            turn = await holdfast.turn()
            await work(turn)
            script.line("(in the thread) bot", (await says("the disks")).text)
            card = await says("Approval needed")
            buttons = " ".join(f"[{each['text']['text']}]" for each in card.buttons)
            script.line("(in the thread) bot", f"{card.text}\n{buttons}")
            await slack.send("interactive", slack.pressed(card, "✅ Approve", grace))
            await slack.until(lambda: len(slack.answers) == 2)
            script.line("Grace", "[✅ Approve]")
            script.line("(only Grace sees) bot", slack.answers[1]["text"])
            await slack.send("interactive", slack.pressed(card, "✅ Approve", ada))
            await slack.until(lambda: "Decided" in card.text)
            script.line("Ada", "[✅ Approve]")
            script.line("(the request becomes) bot", card.text)
            await finish(turn)
            script.line("(in the thread) bot", (await says("97 %")).text)
    script.compare("Slack")
