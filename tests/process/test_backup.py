"""The backup of ``docs/deploy.md``: taken from a server that works, and brought to life elsewhere."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.clients import Rest, following, words
from tests.process.servers import ROOT, EmbeddedServer

pytestmark = pytest.mark.process


def back_up(data_dir: Path, into: Path) -> None:
    """Do what the page says: the database by its command, the other files as they are."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    [code] = re.findall(r'python -c "(import sqlite3;.*)"$', page, re.MULTILINE)
    code = code.replace("var/holdfast.sqlite3", str(data_dir / "holdfast.sqlite3"))
    shutil.copytree(data_dir, into, ignore=shutil.ignore_patterns("holdfast.sqlite3*", "up.lock"))
    subprocess.run([sys.executable, "-c", code], cwd=into, check=True, timeout=60)
    (into / "backup.sqlite3").rename(into / "holdfast.sqlite3")


async def test_a_turn_that_ran_in_the_backup_goes_on_in_the_restored_server(
    data_dir: Path, tmp_path: Path
) -> None:
    with EmbeddedServer(data_dir) as server:
        key = server.issue_key()
        async with Rest(server, key) as rest:
            session = await rest.new_session()
            async with following(server, key, session) as follower:
                turn = await rest.start(session, "/words 100 20")
                await follower.until(lambda: follower.words(turn) > 10, 10)
                await asyncio.to_thread(back_up, data_dir, tmp_path / "restored")
            assert (await rest.ended(turn, 15))["text"] == words(100)
    with EmbeddedServer(tmp_path / "restored") as restored:
        async with Rest(restored, key) as rest:
            ended = await rest.ended(turn, 15)
        assert (ended["status"], ended["text"]) == ("completed", words(100))
        await asyncio.to_thread(restored.check_invariants)
