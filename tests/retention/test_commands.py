"""The commands that export and delete a person, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.core.management import CommandError, call_command

from copilot.management.commands import delete_user
from copilot.models import OperatorEntry, Session, User
from copilot.retention.decision import begin_deletion
from tests.factories import make_running, make_session
from tests.uploads import make_file

pytestmark = pytest.mark.django_db


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    call_command(*words)
    return capsys.readouterr().out


# --- export_user ----------------------------------------------------------------------------------


def test_the_archive_is_where_it_is_wanted_and_for_its_owner_only(
    user: User, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_file(user, b"x", name="a.txt", session=make_session(user))
    target = tmp_path / "ada.zip"
    assert run(capsys, "export_user", "ada", "--to", str(target)) == f"{target}: 3 rows, 1 files.\n"
    assert target.stat().st_mode & 0o777 == 0o600
    assert ZipFile(target).testzip() is None


def test_what_is_there_is_not_overwritten(user: User, tmp_path: Path) -> None:
    target = tmp_path / "ada.zip"
    target.write_text("precious")
    with pytest.raises(CommandError, match="is there already"):
        call_command("export_user", "ada", "--to", str(target))
    assert target.read_text() == "precious"


def test_a_failed_export_leaves_no_half_of_one(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("copilot.management.commands.export_user.write_export", fail)
    with pytest.raises(CommandError, match=r"cannot be written: No space left on device\."):
        call_command("export_user", "ada", "--to", str(tmp_path / "ada.zip"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("export_user", "nobody"), ("delete_user", "nobody", "--yes")])
def test_somebody_unknown_is_one_line(db: None, words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=r"^There is no user 'nobody'\.$"):
        call_command(*words)


# --- delete_user ----------------------------------------------------------------------------------


def test_without_yes_it_says_what_would_go(user: User) -> None:
    make_session(user)
    with pytest.raises(CommandError, match="ada has 1 sessions and 0 files, which cannot be had back"):
        call_command("delete_user", "ada")
    assert User.objects.get(pk=user.pk).is_active


def test_with_yes_everything_goes_at_once_and_is_on_record(
    user: User, other_user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    for person in (user, user, other_user):
        make_session(person)
    assert "Deleted: ada." in run(capsys, "delete_user", "ada", "--yes")
    assert list(Session.objects.values_list("user", flat=True)) == [other_user.pk]
    assert not User.objects.filter(pk=user.pk).exists()
    entry = OperatorEntry.objects.get()
    assert (entry.operator_name, entry.action, entry.target_user) == ("", "delete_user", None)


def test_it_goes_on_with_what_was_begun(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    make_session(user)
    begin_deletion(user.pk, by=user, operated=False)
    assert "Deleted: ada." in run(capsys, "delete_user", "ada", "--yes")
    assert not OperatorEntry.objects.exists(), "whoever began it decided it"


def test_it_gives_up_on_what_stays_in_use_and_says_who_goes_on(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_running(make_session(user))
    monkeypatch.setattr(delete_user, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(CommandError, match="run this again to see it done"):
        call_command("delete_user", "ada", "--yes")
    assert not User.objects.get(pk=user.pk).is_active


def test_the_last_superuser_is_refused_in_one_line(operator: User) -> None:
    with pytest.raises(CommandError, match=r"^root is the last active superuser\."):
        call_command("delete_user", "root", "--yes")
