"""The conversation in ``docs/platforms.md`` is one that really took place, with the stand-ins of both sides."""

from __future__ import annotations

import re
from pathlib import Path

from tests.platforms.conftest import Bots
from tests.platforms.holdfast_stand_in import HoldfastStandIn
from tests.platforms.telegram_stand_in import TelegramStandIn

PAGE = Path(__file__).resolve().parents[2] / "docs" / "platforms.md"
ADA, GRACE, GROUP = 1001, 1002, -100200


async def test_the_conversation_in_the_docs(bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn) -> None:
    group, ada, grace = chats.group(), chats.person(ADA, "Ada", started=False), chats.person(GRACE, "Grace")
    await chats.writes(grace, "@stand_in_bot which of our servers is full?", group)
    await chats.says(GROUP, "not linked")
    await chats.writes(ada, "/link", group)
    await chats.says(GROUP, "t.me/")
    await chats.writes(ada, "/start")
    await chats.says(ADA, "https://")
    await holdfast.confirm(list(holdfast.tokens)[-1])
    await chats.says(GROUP, "linked now")
    await chats.writes(grace, "@stand_in_bot which of our servers is full?", group)
    turn = await holdfast.turn()
    await turn.says("I will look at the disks.")
    await chats.says(GROUP, "the disks")
    request = {"tool_call_id": "c1", "name": "shell", "arguments": {"command": "df -h"}}
    approval = await turn.asks(requests=[{**request, "allowed_decisions": ["approve", "reject"]}])
    card = await chats.says(GROUP, "Approval needed")
    asked = "\n".join(chats.transcript(GROUP)[-1:])
    press = await chats.presses(grace, card, "✅ Approve")
    await chats.until("an answer", lambda: press in chats.answered)
    refused = chats.answered[press]
    await chats.presses(ada, card, "✅ Approve")
    await holdfast.until(lambda: approval["id"] and holdfast.decided)
    await chats.says(GROUP, "Decided")
    await turn.says("`db-2` is: **97 %** of its disk is used.", part="t2")
    await turn.ends()
    await chats.says(GROUP, "97 %")
    played = "\n".join(_as_seen(chats, asked, refused))
    played = re.sub(r"token-\w+", "…", played)
    written = re.search(r"<!-- played by the tests -->\n```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert written, f"docs/platforms.md has no conversation; it would be\n{played}"
    assert [line.rstrip() for line in written[1].strip().splitlines()] == [
        line.rstrip() for line in played.splitlines()
    ]


def _as_seen(chats: TelegramStandIn, asked: str, refused: str) -> list[str]:
    """Return group and private chat in the order of what happened, with the request as it was before its end."""
    lines = chats.transcript()
    at = next(n for n, line in enumerate(lines) if line.startswith("bot: Decided"))
    decided = lines[at]
    lines[at] = asked
    lines[at + 1] += f"   (told in passing: {refused})"
    lines[at + 2] += f"   (the request becomes: {decided.removeprefix('bot: ').splitlines()[0]})"
    return lines
