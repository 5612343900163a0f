"""A person who has one of everything, and everybody who may ask for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission

from copilot.models import User
from copilot.operators.permission import let_operate
from linking.bots import register_bot
from linking.keys import issue_key
from tests.approvals.reaching import keys_set
from tests.schema.world import World

__all__ = ["keys_set"]


@pytest.fixture
def world(make_user: Callable[..., User], tmp_path: Path, settings: Any, keys_set: str) -> World:
    settings.DATA_DIR = tmp_path
    return World(make_user(username="ada"))


@pytest.fixture
def people(world: World, make_user: Callable[..., User]) -> dict[str, dict[str, str]]:
    """Headers of everybody who may call; the owner of the world and their bot come last, as they change most."""
    staff = make_user(username="operator")
    let_operate(staff)
    staff.user_permissions.add(Permission.objects.get(codename="change_user"))
    _, others = issue_key(user=make_user(username="grace"))
    _, operators = issue_key(user=staff, scopes=["chat", "approve", "operator"])
    _, own = issue_key(user=world.owner)
    _, stranger = register_bot(name="stranger", platform="discord", scopes=["approve"])
    keys = {
        "nobody": "",
        "other user": others,
        "staff": operators,
        "other bot": stranger,
        "bot": world.bot_key,
        "user": own,
    }
    return {who: {"Authorization": f"Bearer {key}"} if key else {} for who, key in keys.items()}
