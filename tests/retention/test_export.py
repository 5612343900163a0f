"""An export holds everything that is a person's, as it was shown to them, and nothing of anybody else."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.db.models import QuerySet
from pytest_django import Settings

from copilot.export import contents
from copilot.export.archive import MANIFEST, write_export
from copilot.export.contents import safe_name
from copilot.export.tables import tables_of
from copilot.files import path_of
from copilot.models import Message, Session, ToolCall, User
from copilot.models.message import MessageQuerySet
from copilot.signals import exporting
from copilot.workspaces import workspace_of
from tests.approvals.waiting import waiting
from tests.factories import make_session
from tests.retention.lives import Life, models
from tests.uploads import make_file

pytestmark = pytest.mark.django_db
PAGE = Path(__file__).resolve().parents[2] / "docs" / "retention.md"


def export(user: User) -> ZipFile:
    """Return the archive, whose check sums are right."""
    out = io.BytesIO()
    write_export(user, out)
    archive = ZipFile(out)
    assert archive.testzip() is None
    return archive


def rows(archive: ZipFile, path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in archive.read(path).splitlines()]


def manifest(archive: ZipFile) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(archive.read(MANIFEST))
    return found


def files(archive: ZipFile) -> list[str]:
    return [name for name in archive.namelist() if name.startswith(("files/", "workspaces/"))]


# --- what is in it --------------------------------------------------------------------------------


def test_every_table_has_what_is_theirs(lives: tuple[Life, Life]) -> None:
    life, _ = lives
    archive = export(life.user)
    counts = manifest(archive)["rows"]
    assert {path: len(rows(archive, path)) for path in counts} == counts
    assert {path for path, count in counts.items() if not count} == {"user_links.jsonl"}, "each has something"


def test_nothing_of_anybody_else_is_in_it(lives: tuple[Life, Life]) -> None:
    life, other = lives
    archive = export(life.user)
    everything = b"".join(archive.read(name) for name in archive.namelist()).decode()
    assert life.mark in everything
    assert other.mark not in everything
    assert str(other.user.pk) not in everything


def test_no_secret_and_no_hash_of_one_is_in_it(lives: tuple[Life, Life]) -> None:
    life, _ = lives
    hidden = {
        field for model in models() for field in ("password", "digest", "sealed", "endpoint", "auth", "p256dh")
    }
    for table in tables_of(life.user):
        for row in table.rows:
            assert not hidden & row.keys(), table.path
            assert "sha256" not in row or table.path == "files.jsonl", "that of what they have themselves"


def test_what_is_hidden_on_pages_is_hidden_here(user: User) -> None:
    secret = "sk-ant-api03-" + "a1B2c3D4" * 10
    asked = waiting(("demo_note", {"text": f"key {secret}"}), session=make_session(user))
    assert ToolCall.objects.get(turn=asked.turn).exact_arguments() == {"text": f"key {secret}"}
    archive = export(user)
    assert secret not in "".join(archive.read(name).decode() for name in archive.namelist())


@pytest.mark.parametrize(("limit", "staff", "shown"), [(0, False, True), (5, False, False), (5, True, True)])
def test_costs_are_in_it_for_whom_they_are_shown(
    lives: tuple[Life, Life], settings: Settings, limit: int, staff: bool, shown: bool
) -> None:
    life, _ = lives
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = limit
    life.user.is_staff = staff
    archive = export(life.user)
    costs = {
        "cost_microdollars" in row for path in ("usage.jsonl", "sessions.jsonl") for row in rows(archive, path)
    }
    assert costs == {shown}


def test_messages_of_all_branches_are_in_it(lives: tuple[Life, Life]) -> None:
    life, _ = lives
    first = life.session.messages.order_by("seq").first()
    assert first is not None
    Message.objects.filter(pk=first.pk).update(shown=False)
    said = rows(export(life.user), "messages.jsonl")
    assert str(first.pk) in [row["id"] for row in said if not row["shown"]]
    assert len(said) == Message.objects.filter(session__user=life.user).count()


def test_a_person_with_nothing_gets_a_whole_archive(user: User) -> None:
    archive = export(user)
    assert [row["username"] for row in rows(archive, "profile.jsonl")] == [user.username]
    assert files(archive) == []


def test_many_messages_are_read_a_few_at_a_time(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make_session(user)
    said = [Message(session=session, role="user", state="done", seq=n, number=n, parts=[]) for n in range(1, 1202)]
    Message.objects.bulk_create(said)
    asked_for: list[int | None] = []

    def noted(self: MessageQuerySet, chunk_size: int | None = None) -> Any:
        asked_for.append(chunk_size)
        return QuerySet.iterator(self, chunk_size)

    monkeypatch.setattr(MessageQuerySet, "iterator", noted)
    assert len(rows(export(user), "messages.jsonl")) == 1201
    assert asked_for == [500]


# --- what is where --------------------------------------------------------------------------------


def documented() -> dict[str, tuple[str, str]]:
    """What ``docs/retention.md`` says of each model: in the export or not, and what becomes of it."""
    found = {}
    for row in re.findall(r"^\| .+ \|$", PAGE.read_text(), re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        for label in re.findall(r"`([a-z]+\.[A-Za-z_]+)`", cells[0]):
            found[label] = (cells[2], cells[3])
    return found


def test_the_page_names_every_table_and_nothing_else() -> None:
    assert documented().keys() == {model._meta.label for model in models()}


def test_the_page_says_which_tables_are_exported(user: User) -> None:
    exported = {table.model._meta.label for table in tables_of(user)}
    assert {label for label, (export, _) in documented().items() if export.startswith("yes")} == exported
    assert all(export.startswith(("yes", "no: ")) for export, _ in documented().values())


def test_other_apps_add_what_is_theirs(user: User) -> None:
    assert exporting.has_listeners()
    assert "keys.jsonl" in [table.path for table in tables_of(user)]


# --- files ----------------------------------------------------------------------------------------


def test_contents_of_uploads_and_of_tools_are_in_it(lives: tuple[Life, Life]) -> None:
    life, _ = lives
    archive = export(life.user)
    place = f"workspaces/{life.session.pk}/notes.txt"
    assert sorted(files(archive)) == sorted([f"files/{life.mark}.txt", f"files/loose {life.mark}.txt", place])
    assert {archive.read(name) for name in files(archive)} == {life.mark.encode()}


def test_files_of_the_same_name_get_numbers(user: User) -> None:
    for content in (b"one", b"two", b"three"):
        make_file(user, content, name="notes.txt")
    make_file(user, b"four", name="NOTES.txt")
    archive = export(user)
    assert files(archive) == [
        "files/notes.txt",
        "files/notes (2).txt",
        "files/notes (3).txt",
        "files/NOTES (4).txt",
    ]
    assert [archive.read(name) for name in files(archive)] == [b"one", b"two", b"three", b"four"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.txt", "a.txt"),
        ("..", "file"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\windows\\a.dll", "C__windows_a.dll"),
        ("/etc/passwd", "_etc_passwd"),
        ("a\x00b\n", "a_b_"),
        (". hidden .", "hidden"),
        ("", "file"),
        ("x" * 300 + ".txt", "x" * 146 + ".txt"),
    ],
)
def test_no_name_leads_out_of_its_folder(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_a_file_of_a_tool_cannot_lead_out_either(lives: tuple[Life, Life], tmp_path: Path) -> None:
    life, _ = lives
    folder = workspace_of(life.session.pk)
    (folder / "a\\..\\b").write_text("odd")
    (folder / "sub").mkdir()
    (folder / "sub" / "c").write_text("inside")
    outside = tmp_path / "outside"
    outside.write_text("not theirs")
    os.symlink(outside, folder / "link")
    names = files(export(life.user))
    assert {f"workspaces/{life.session.pk}/a_.._b", f"workspaces/{life.session.pk}/sub/c"} <= set(names)
    assert not any("link" in name or ".." in Path(name).parts for name in names)


def test_what_is_too_large_is_left_out_and_named(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "FILE_MAX", 10)
    monkeypatch.setattr(contents, "TOTAL_MAX", 15)
    for name, size in (("exact.txt", 10), ("large.txt", 11), ("over.txt", 6), ("fits.txt", 5)):
        make_file(user, b"x" * size, name=name)
    archive = export(user)
    assert files(archive) == ["files/exact.txt", "files/fits.txt"]
    told = manifest(archive)
    assert told["files"] == {"count": 2, "bytes": 15}
    assert [(each["path"], each["size"]) for each in told["left_out"]] == [
        ("files/large.txt", 11),
        ("files/over.txt", 6),
    ]


def test_a_content_that_is_gone_is_named(user: User) -> None:
    path_of(make_file(user, b"x", name="gone.txt").pk).unlink()
    archive = export(user)
    assert files(archive) == []
    assert manifest(archive)["left_out"] == [
        {"path": "files/gone.txt", "size": 1, "reason": "its content is gone"}
    ]


def test_sessions_that_agents_began_are_in_it(user: User) -> None:
    parent = make_session(user)
    child = Session.objects.create(
        user=user, parent=parent, parent_call=parent.pk, depth=1, updated_at=parent.updated_at
    )
    assert {row["id"] for row in rows(export(user), "sessions.jsonl")} == {str(parent.pk), str(child.pk)}
