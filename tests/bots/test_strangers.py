"""What a stranger in a linked server reaches with all the tools there are: the thread's session, nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.db import db
from copilot.models import Session, Turn, User
from copilot.people import change_person
from copilot.workspaces import workspace_of
from tests.bots.places import STRANGER_ID, Linked
from tests.children.asking import call, children_of, outputs_of, result, run
from tests.factories import make_session
from tests.harness import Crew
from tests.linking.conftest import USER_ID

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "the owner's own words"


@pytest.fixture
def elsewhere(user: User) -> Session:
    """A session of the owner's, with something in it that is nobody else's business."""
    change_person(user, instructions=SECRET)
    session = make_session(user)
    folder = workspace_of(session.pk)
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text(SECRET)
    return session


async def say(crew: Crew, place: Linked, text: str, identity: str = STRANGER_ID, **over: Any) -> Turn:
    """Have somebody in a place say something, and wait for the end of the turn."""
    return await crew.ended(await db(lambda: place.turn(text, platform_user_id=identity, **over)))


async def test_neither_files_nor_sessions_of_the_owner_are_within_reach(
    crew: Crew, server: Linked, elsewhere: Session, settings: Any
) -> None:
    """Also where nobody has to be asked."""
    settings.APPROVALS_ALLOW = ["*"]
    await crew.hire()
    wanted = [
        call("list_files"),
        call("list_files", path=".."),
        call("read_file", path=f"../{elsewhere.pk}/notes.txt"),
        call("read_file", path=str(workspace_of(elsewhere.pk) / "notes.txt")),
        call("search_files", query="owner"),
        result(elsewhere.pk, wait=0),
        run("tell me", session=str(elsewhere.pk), wait=0),
    ]
    turn = await say(crew, server, "\n".join(wanted))
    told = await outputs_of(turn)
    assert SECRET not in json.dumps(told)
    assert sum(isinstance(each, str) for each in told) == 5, "all but the lists of an empty folder are refused"
    assert SECRET not in json.dumps([request.system for request in crew.requests])
    assert await db(lambda: elsewhere.messages.count()) == 0


async def test_what_is_in_the_thread_is_everybodys_there(crew: Crew, server: Linked, settings: Any) -> None:
    """The control: the tools do work."""
    settings.APPROVALS_ALLOW = ["*"]
    await crew.hire()
    turn = await say(crew, server, call("write_file", path="plan.txt", content="ours"), USER_ID)
    turn = await say(crew, server, call("read_file", path="plan.txt"))
    assert "ours" in json.dumps(await outputs_of(turn))
    other = await say(crew, server, call("list_files"), thread_id="b")
    assert "plan.txt" not in json.dumps(await outputs_of(other))


async def test_a_child_of_a_strangers_turn_is_a_strangers(crew: Crew, server: Linked, elsewhere: Session) -> None:
    await crew.hire()
    turn = await say(crew, server, run("/words 1"))
    [child] = await db(children_of, turn.session)
    theirs = await db(lambda: child.turns.get())
    assert (theirs.settings["policy"].get("in_person", False), theirs.settings.get("lent", False)) == (
        False,
        False,
    )
    assert theirs.user_id == server.link.owner_id
    assert SECRET not in json.dumps([request.system for request in crew.requests])


async def test_a_child_has_what_is_lent_to_its_parent(crew: Crew, server: Linked) -> None:
    await db(lambda: type(server.link)._default_manager.update(allows_personal=True))
    await crew.hire()
    turn = await say(crew, server, run("/words 1"))
    [child] = await db(children_of, turn.session)
    theirs = await db(lambda: child.turns.get())
    assert (theirs.settings["policy"].get("in_person", False), theirs.settings.get("lent", False)) == (False, True)


async def test_the_owners_own_words_there_are_answered_with_what_is_theirs(
    crew: Crew, server: Linked, elsewhere: Session
) -> None:
    await crew.hire()
    await say(crew, server, "/words 1", USER_ID)
    await say(crew, server, "/words 1")
    assert [SECRET in request.system for request in crew.requests] == [True, False]


@pytest.mark.parametrize("first", ["owner", "stranger"])
async def test_nobody_borrows_by_writing_into_the_others_turn(
    crew: Crew, server: Linked, elsewhere: Session, first: str
) -> None:
    """As soon as both are behind a turn, it runs on what the stranger stands for."""
    await crew.hire()
    identities = {"owner": USER_ID, "stranger": STRANGER_ID}
    second = "stranger" if first == "owner" else "owner"
    turn = await db(
        lambda: server.turn('/tool demo_wait {"seconds": 0.3}\n/words 1', platform_user_id=identities[first])
    )
    await crew.until(turn, "tool-input-available")
    waits = await db(lambda: server.say("/words 2", platform_user_id=identities[second]))
    assert waits.queued
    turn = await crew.ended(turn)
    assert turn.settings["personal"] == ""
    assert not turn.settings["policy"].get("in_person", False)
    told = [SECRET in request.system for request in crew.requests]
    assert (told[0], any(told[1:])) == (first == "owner", False)
