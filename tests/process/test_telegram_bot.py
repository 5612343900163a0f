"""The adapter as a process of its own, between a real server and Telegram's stand-in."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.platforms.serving import serving
from tests.platforms.telegram_stand_in import TOKEN, TelegramStandIn
from tests.process.clients import Rest, words
from tests.process.servers import EmbeddedServer, Process, Stack, until

pytestmark = pytest.mark.process
ADA, GRACE, GROUP = 1001, 1002, -100200
SECONDS = 30.0


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(data_dir) as stack:
        yield stack


@pytest.fixture
async def chats() -> AsyncIterator[TelegramStandIn]:
    stand_in = TelegramStandIn()
    async with serving(stand_in.application()) as stand_in.url:
        yield stand_in


@contextmanager
def adapter(stack: Stack, chats: TelegramStandIn) -> Iterator[Process]:
    """Run ``manage.py run_bot telegram``."""
    key = stack.manage("create_bot", "Agent", "--platform", "telegram", "--scopes", "approve").splitlines()[-1]
    env = {
        **stack.env,
        "HOLDFAST_URL": stack.url,
        "TELEGRAM_API_URL": chats.url,
        "TELEGRAM_TOKEN": TOKEN,
        "TELEGRAM_HOLDFAST_KEY": key,
    }
    process = Process("bot", [sys.executable, "manage.py", "run_bot", "telegram"], env=env, folder=stack.folder)
    stack.processes.append(process)
    yield process.start()
    process.kill()


async def _link(chats: TelegramStandIn, rest: Rest, chat: int) -> None:
    """Do with an invitation what a person does."""
    invited = await chats.says(chat, "/link/", SECONDS)
    token = invited.text.split("/link/")[1].split()[0].strip("/")
    code = invited.text.split("enter the code ")[1][:6]
    shown = await rest.get(f"link-tokens/{token}")
    body = {"kind": shown["kind"], "code": code}
    answer = await rest.http.post(f"link-tokens/{token}/confirm", json=body)
    assert answer.status_code == 200, answer.text


async def test_a_private_chat_from_the_link_to_the_approval(
    server: EmbeddedServer, chats: TelegramStandIn
) -> None:
    ada = chats.person(ADA, "Ada")
    async with Rest(server, server.issue_key()) as rest:
        with adapter(server, chats) as bot:
            await chats.writes(ada, "/start")
            await _link(chats, rest, ADA)
            await chats.says(ADA, "Linked", SECONDS)
            await chats.writes(ada, "/words 40 20")
            await chats.says(ADA, words(40), SECONDS)
            await chats.writes(ada, '/tool demo_note {"text": "from the chat"}')
            card = await chats.says(ADA, "Approval needed", SECONDS)
            await chats.presses(ada, card, "✅ Approve")
            await chats.says(ADA, "Done.", SECONDS)
            assert "Decided by ada" in card.text
            await chats.writes(ada, "/ask /ask What colour? | red | blue")
            question = await chats.says(ADA, "What colour?", SECONDS)
            await chats.presses(ada, question, "blue")
            await chats.until("the answer", lambda: "blue" in question.text and not question.buttons, SECONDS)
            await chats.writes(ada, "/words 2000 20")
            await chats.says(ADA, "w20 w21", SECONDS)
            await chats.writes(ada, "/stop")
            await chats.says(ADA, "\n\nStopped.", SECONDS)
            code, _ = await asyncio.to_thread(bot.stop)
            assert code == 0
            assert "Stopped. What was being shown goes on" in bot.output()
        approvals = (await rest.get("approvals?status=decided"))["results"]
        assert {each["surface"] for each in approvals} == {"telegram"}
        sessions = (await rest.get("sessions"))["results"]
        assert len(sessions) == 1
    server.check_invariants()
    assert TOKEN not in bot.output()
    assert str(ADA) not in bot.output()


async def test_a_strangers_press_decides_nothing_in_a_group(
    server: EmbeddedServer, chats: TelegramStandIn
) -> None:
    group, ada, grace = chats.group(), chats.person(ADA, "Ada"), chats.person(GRACE, "Grace")
    async with Rest(server, server.issue_key()) as rest:
        with adapter(server, chats):
            await chats.writes(ada, "/link", group)
            await _link(chats, rest, ADA)
            await chats.says(GROUP, "linked now", SECONDS)
            await chats.writes(grace, '/ask /tool demo_note {"text": "from Grace"}', group)
            card = await chats.says(GROUP, "Approval needed", SECONDS)
            press = await chats.presses(grace, card, "✅ Approve")
            await chats.until("an answer", lambda: press in chats.answered, SECONDS)
            assert "Only the person" in chats.answered[press]
            await chats.presses(ada, card, "❌ Reject")
            await chats.says(GROUP, "❌ demo_note", SECONDS)
            await chats.says(GROUP, "Done.", SECONDS)
    server.check_invariants()


async def test_a_killed_adapter_and_a_killed_server_lose_and_double_nothing(
    server: EmbeddedServer, chats: TelegramStandIn
) -> None:
    ada = chats.person(ADA, "Ada")
    async with Rest(server, server.issue_key()) as rest:
        with adapter(server, chats) as bot:
            await chats.writes(ada, "/start")
            await _link(chats, rest, ADA)
            await chats.writes(ada, "/words 150 30")
            first = await chats.says(ADA, "w10", SECONDS)
            # Telegram shows a message a moment before the adapter knows its id.
            state = server.data_dir / "bots/telegram.json"
            await asyncio.to_thread(until, "its id", lambda: '"written": ["' in state.read_text(), SECONDS)
            bot.kill()
            bot.start()
            await chats.until("the bot again", lambda: "w30" in first.text, SECONDS)
            server.server.kill()
            await chats.writes(ada, "/words 3")
            await asyncio.to_thread(server.restart)
            await chats.says(ADA, words(150), SECONDS)
            told = lambda: [each.text for each in chats.messages(ADA)]  # noqa: E731 # asked again and again
            await chats.until("the second answer", lambda: words(3) in told(), SECONDS)
            assert (told().count(words(150)), told().count(words(3))) == (1, 1)
            # Beside this loop, in which Telegram's stand-in still has to answer the adapter.
            await asyncio.to_thread(until, "an end", lambda: '"shown": []' in state.read_text(), SECONDS)
    server.check_invariants()
