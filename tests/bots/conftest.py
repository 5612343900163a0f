"""Linked places, workers that run the demo model, and guards that can be taken away."""

from tests.approvals.asking import people
from tests.bots.places import private, server
from tests.harness import crew, hints
from tests.linking.conftest import bot, bot_api, make_bot
from tests.turns.racing import between

__all__ = ["between", "bot", "bot_api", "crew", "hints", "make_bot", "people", "private", "server"]
