"""Uploading, listing and reading files."""

from __future__ import annotations

import hashlib
import os
import stat
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from django.core import signing
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client
from django.utils import timezone

from common.db import db
from copilot import files, workspace_files
from copilot.models import File, Session, User
from copilot.sweep import sweep
from copilot.workspaces import workspace_of
from tests.api.conftest import Api
from tests.pictures import GIF, JPEG, PDF, PNG, SVG, WEBP
from tests.uploads import make_file

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    """Where contents are, for this test alone."""
    settings.DATA_DIR = tmp_path
    return tmp_path / "files"


@pytest.fixture
def client(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def upload(
    client: Client, content: bytes = PNG, name: str = "a.png", kind: str = "application/x-lie", **fields: Any
) -> Any:
    form = {"file": SimpleUploadedFile(name, content, content_type=kind), **fields}
    return client.post("/api/v1/files", form)


def stored(client: Client, content: bytes = PNG, name: str = "a.png", **fields: Any) -> File:
    answer = upload(client, content, name, **fields)
    assert answer.status_code == 201, answer.content
    return File.objects.get(pk=answer.json()["id"])


async def read(client: AsyncClient, file_id: object) -> tuple[Any, bytes]:
    answer = await client.get(f"/api/v1/files/{file_id}")
    if not answer.streaming:
        return answer, answer.content
    pieces = cast("AsyncIterator[bytes]", cast(StreamingHttpResponse, answer).streaming_content)
    return answer, b"".join([piece async for piece in pieces])


def contents(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


# --- uploading -----------------------------------------------------------------------------------


def test_an_upload_is_stored_and_answered(client: Client, folder: Path) -> None:
    answer = upload(client, PNG, "chart.png")
    assert answer.status_code == 201
    body = answer.json()
    assert (body["name"], body["type"], body["size"]) == ("chart.png", "image/png", len(PNG))
    row = File.objects.get(pk=body["id"])
    assert row.sha256 == hashlib.sha256(PNG).hexdigest()
    assert row.session is None
    content = folder / body["id"]
    assert content.read_bytes() == PNG
    assert stat.S_IMODE(content.stat().st_mode) == 0o600
    assert contents(folder) == [body["id"]]


@pytest.mark.parametrize(
    ("content", "said", "kind"),
    [
        pytest.param(PNG, "text/html", "image/png", id="png"),
        pytest.param(JPEG, "image/png", "image/jpeg", id="jpeg"),
        pytest.param(GIF, "", "image/gif", id="gif"),
        pytest.param(WEBP, "application/pdf", "image/webp", id="webp"),
        pytest.param(PDF, "image/png", "application/pdf", id="pdf"),
        pytest.param(b"<html><script>alert(1)</script>", "image/png", "text/plain", id="html"),
        pytest.param(SVG, "image/svg+xml", "text/plain", id="svg"),
        pytest.param(b"RIFF\x10\x00\x00\x00WAVEfmt \x00", "image/webp", "application/octet-stream", id="riff"),
        pytest.param("größe\n".encode(), "image/gif", "text/plain", id="text"),
        pytest.param("größe".encode("latin-1"), "text/plain", "application/octet-stream", id="latin-1"),
        pytest.param(b"MZ\x00\x01", "image/png", "application/octet-stream", id="program"),
    ],
)
def test_a_type_is_what_the_bytes_are(client: Client, content: bytes, said: str, kind: str) -> None:
    answer = upload(client, content, "x.png", said or "application/octet-stream")
    assert answer.json()["type"] == kind


def test_the_largest_upload_is_accepted_and_one_byte_more_is_not(client: Client, folder: Path) -> None:
    assert stored(client, b"\x00" * files.SIZE_MAX, "big").size == 20 * MIB
    answer = upload(client, b"\x00" * (files.SIZE_MAX + 1), "bigger")
    assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
    assert len(contents(folder)) == 1
    assert File.objects.count() == 1


def test_an_empty_file_is_refused(client: Client, folder: Path) -> None:
    answer = upload(client, b"", "empty.txt")
    assert (answer.status_code, answer.json()["code"], list(answer.json()["fields"])) == (400, "invalid", ["file"])
    assert contents(folder) == []


def test_a_form_without_a_file_is_refused(client: Client) -> None:
    for answer in (
        client.post("/api/v1/files", {"file": "text"}),
        client.post("/api/v1/files", {}),
        client.post("/api/v1/files", PNG, content_type="image/png"),
        client.post("/api/v1/files", {}, content_type="application/json"),
        client.post("/api/v1/files", b"--x\r\nbroken", content_type="multipart/form-data; boundary=y"),
        client.post("/api/v1/files", b"x", content_type="multipart/form-data"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


def test_other_fields_and_other_files_are_refused(client: Client, folder: Path) -> None:
    assert upload(client, titel="x").json()["code"] == "unknown_field"
    two = {"file": [SimpleUploadedFile("a", PNG), SimpleUploadedFile("b", PNG)]}
    assert client.post("/api/v1/files", two).status_code == 400
    other = {"file": SimpleUploadedFile("a", PNG), "image": SimpleUploadedFile("b", PNG)}
    assert client.post("/api/v1/files", other).status_code == 400
    assert contents(folder) == []


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        pytest.param("../../etc/passwd", "passwd", id="folders"),
        pytest.param("..\\..\\boot.ini", "boot.ini", id="backslashes"),
        pytest.param("a\u202egnp.exe", "a gnp.exe", id="direction"),
        pytest.param("x" * 300 + ".png", "x" * 251 + ".png", id="long"),
        pytest.param("naïve 日本.txt", "naïve 日本.txt", id="unicode"),
    ],
)
def test_a_name_is_for_people_and_never_a_path(sent: str, shown: str) -> None:
    assert files.clean_name(sent) == shown


def test_a_refused_name_leaves_nothing(client: Client, folder: Path, settings: Any) -> None:
    settings.TEXT_CHECKERS = ["tests.api.test_files.no_secrets"]
    answer = upload(client, PNG, "secret.png")
    assert (answer.status_code, answer.json()["code"]) == (400, "refused_text")
    assert contents(folder) == []


def no_secrets(text: str) -> str | None:
    return "No secrets here." if "secret" in text else None


def test_an_upload_belongs_to_the_session_that_it_names(
    client: Client, session: Session, other_user: User
) -> None:
    assert stored(client, session=str(session.id)).session == session
    foreign = Session.objects.create(user=other_user, updated_at=timezone.now())
    for unknown in (foreign.id, uuid.uuid4(), "x"):
        answer = upload(client, session=str(unknown))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert len(contents(files.path_of("x").parent)) == 1


def test_nobody_uploads_without_a_login_or_a_token(user: User, folder: Path) -> None:
    assert upload(Client()).status_code == 401
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    answer = upload(strict)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
    assert contents(folder) == []


@pytest.mark.parametrize("size", [10, 3 * MIB], ids=["at the end", "in the middle"])
def test_a_full_disk_is_told(client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    def full(descriptor: int, mode: str) -> Any:
        os.close(descriptor)
        return open("/dev/full", mode)

    monkeypatch.setattr(files.os, "fdopen", full)
    answer = upload(client, b"x" * size)
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert contents(folder) == []


def test_a_folder_that_cannot_be_is_told(client: Client, folder: Path) -> None:
    folder.write_text("not a folder")
    answer = upload(client)
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert not File.objects.exists()


# --- reading -------------------------------------------------------------------------------------


async def test_a_file_is_read_as_it_was_sent(async_client: AsyncClient, a_file: Callable[..., Any]) -> None:
    content = PNG + bytes(700_000)
    row = await a_file(content, "chart.png")
    answer, body = await read(async_client, row.pk)
    assert (answer.status_code, body) == (200, content)
    assert answer["Content-Type"] == "image/png"
    assert answer["Content-Length"] == str(len(content))


@pytest.fixture
def a_file(user: User) -> Callable[..., Any]:
    """Return a function that uploads a file of the person that a test is about."""
    return lambda *about: db(make_file, user, *about)


@pytest.mark.parametrize(
    ("content", "inline"),
    [
        pytest.param(PNG, True, id="png"),
        pytest.param(JPEG, True, id="jpeg"),
        pytest.param(GIF, True, id="gif"),
        pytest.param(WEBP, True, id="webp"),
        pytest.param(PDF, True, id="pdf"),
        pytest.param(b"<!doctype html><script>fetch('/api/v1/keys')</script>", False, id="html"),
        pytest.param(SVG, False, id="svg"),
        pytest.param(b"plain", False, id="text"),
        pytest.param(b"\x00\x01", False, id="unknown"),
    ],
)
async def test_a_file_can_do_nothing_on_our_origin(
    async_client: AsyncClient, a_file: Callable[..., Any], content: bytes, inline: bool
) -> None:
    row = await a_file(content, "x.html")
    answer, _ = await read(async_client, row.pk)
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer["Content-Disposition"].startswith("inline;" if inline else "attachment;")
    assert "html" not in answer["Content-Type"]
    assert "svg" not in answer["Content-Type"]


async def test_a_name_beyond_ascii_is_encoded(async_client: AsyncClient, a_file: Callable[..., Any]) -> None:
    row = await a_file(b"x", 'größe "1".txt')
    answer, _ = await read(async_client, row.pk)
    assert answer["Content-Disposition"] == "attachment; filename*=utf-8''gr%C3%B6%C3%9Fe%20%221%22.txt"


async def test_what_is_not_yours_is_not_there(
    other_async_client: AsyncClient, async_client: AsyncClient, a_file: Callable[..., Any]
) -> None:
    row = await a_file()
    for client, file_id in (
        (other_async_client, row.pk),
        (async_client, uuid.uuid4()),
        (async_client, "x"),
        (async_client, "..%2Fsecret_key"),
    ):
        answer, body = await read(client, file_id)
        assert (answer.status_code, b"not_found" in body) == (404, True)
    assert (await AsyncClient().get(f"/api/v1/files/{row.pk}")).status_code == 401


async def test_a_content_that_is_gone_is_not_found(async_client: AsyncClient, a_file: Callable[..., Any]) -> None:
    row = await a_file()
    files.path_of(row.pk).unlink()
    answer, _ = await read(async_client, row.pk)
    assert answer.status_code == 404


# --- listing, with the workspace ----------------------------------------------------------------


@pytest.fixture
def workspace(session: Session) -> Path:
    root = workspace_of(session.id)
    (root / "out").mkdir(parents=True)
    (root / "out" / "report.csv").write_text("a,b\n")
    (root / "page.html").write_text("<html>")
    return root


def test_a_session_lists_its_files_and_those_of_its_tools(
    client: Client, api: Api, session: Session, workspace: Path
) -> None:
    row = stored(client, session=str(session.id))
    stored(client)  # of no session
    listed = api.get("files", session=session.id).json()
    assert [(each["name"], each.get("path"), each["type"]) for each in listed] == [
        ("a.png", None, "image/png"),
        ("report.csv", "out/report.csv", "text/plain"),
        ("page.html", "page.html", "text/plain"),
    ]
    assert listed[0]["id"] == str(row.pk)
    assert api.get("files", session=session.id).json() == listed


def test_without_a_session_all_uploads_of_the_caller_are_listed(
    client: Client, api: Api, other_api: Api, session: Session
) -> None:
    first, second = stored(client, session=str(session.id)), stored(client)
    assert [each["id"] for each in api.get("files").json()] == [str(second.pk), str(first.pk)]
    assert other_api.get("files").json() == []


def test_a_session_without_a_workspace_lists_nothing(api: Api, session: Session) -> None:
    assert api.get("files", session=session.id).json() == []


def test_a_workspace_without_bounds_is_listed_as_far_as_they_go(
    api: Api, session: Session, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = workspace.joinpath(*["d"] * 60)
    deep.mkdir(parents=True)
    (deep / "far").write_text("x")
    (workspace / "d" / "near").write_text("x")
    (workspace / os.fsdecode(b"\xff")).write_text("a name that is no text")
    names = [each["path"] for each in api.get("files", session=session.id).json()]
    assert names == ["d/near", "out/report.csv", "page.html"]
    monkeypatch.setattr(workspace_files, "LISTED_MAX", 2)
    assert len(api.get("files", session=session.id).json()) == 2


def test_a_foreign_session_lists_nothing(other_api: Api, session: Session) -> None:
    for unknown in (session.id, uuid.uuid4(), "x"):
        assert other_api.get("files", session=unknown).status_code == 404


async def test_a_file_of_the_workspace_is_read_by_its_listed_id(
    async_client: AsyncClient, other_async_client: AsyncClient, session: Session, workspace: Path
) -> None:
    listed = (await async_client.get("/api/v1/files", {"session": str(session.id)})).json()
    ids = {each["path"]: each["id"] for each in listed}
    answer, body = await read(async_client, ids["out/report.csv"])
    assert (answer.status_code, body) == (200, b"a,b\n")
    answer, _ = await read(async_client, ids["page.html"])
    assert answer["Content-Disposition"] == 'attachment; filename="page.html"'
    answer, _ = await read(other_async_client, ids["page.html"])
    assert answer.status_code == 404
    answer, _ = await read(async_client, ids["page.html"][:-1] + "_")
    assert answer.status_code == 404


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "pipe", "climbing", "absolute"])
async def test_nothing_outside_a_workspace_is_listed_or_read(
    async_client: AsyncClient, session: Session, workspace: Path, tmp_path: Path, kind: str
) -> None:
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.write_text("TOP SECRET")
    path = "x"
    match kind:
        case "link to a file":
            (workspace / "x").symlink_to(secret)
        case "link to a folder":
            (workspace / "x").symlink_to(secret.parent)
            path = "x/secret"
        case "pipe":
            os.mkfifo(workspace / "x")
        case "climbing":
            path = "../../elsewhere/secret"
        case "absolute":
            path = str(secret)
    listed = (await async_client.get("/api/v1/files", {"session": str(session.id)})).json()
    assert {each["path"] for each in listed} == {"out/report.csv", "page.html"}
    # Even with an id that only the server can make.
    forged = signing.Signer(salt=workspace_files._SALT).sign_object([session.id.hex, path], compress=True)
    answer, body = await read(async_client, forged)
    assert (answer.status_code, b"SECRET" in body) == (404, False)


async def test_the_workspace_itself_may_not_be_a_link(
    async_client: AsyncClient, session: Session, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("x")
    workspace_of(session.id).parent.mkdir(parents=True)
    workspace_of(session.id).symlink_to(elsewhere)
    assert workspace_files.list_workspace(session.id) == []


# --- removing ------------------------------------------------------------------------------------


def test_deleting_a_session_removes_its_files(client: Client, api: Api, session: Session, folder: Path) -> None:
    stored(client, session=str(session.id))
    kept = stored(client)
    assert api.delete(f"sessions/{session.id}").status_code == 204
    assert contents(folder) == [str(kept.pk)]
    assert list(File.objects.all()) == [kept]


def test_an_upload_that_is_sent_nowhere_is_deleted_after_a_day(
    client: Client, session: Session, folder: Path
) -> None:
    unsent, recent, attached = stored(client), stored(client), stored(client, session=str(session.id))
    old = timezone.now() - timedelta(days=1, seconds=5)
    File.objects.filter(pk__in=[unsent.pk, attached.pk]).update(created_at=old)
    assert sweep()["unsent_files"] == 1
    assert set(File.objects.all()) == {recent, attached}
    assert contents(folder) == sorted([str(recent.pk), str(attached.pk)])


def test_contents_that_no_row_speaks_of_are_removed_in_time(client: Client, folder: Path) -> None:
    kept, of_deleted = stored(client), stored(client)
    File.objects.filter(pk=of_deleted.pk).delete()
    (folder / "incoming-1").write_bytes(b"cut off")
    (folder / "incoming-2").write_bytes(b"arriving")
    for name in (str(kept.pk), str(of_deleted.pk), "incoming-1"):
        os.utime(folder / name, (0, 0))
    assert sweep()["leftover_contents"] == 2
    assert contents(folder) == sorted([str(kept.pk), "incoming-2"])


def test_a_sweep_before_the_first_upload_finds_nothing(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "fresh"
    assert files.delete_leftovers() == 0
