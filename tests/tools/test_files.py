"""The files of a session: what tools do with them, and that nothing leads out of their folder."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from copilot.tools import folder, search
from copilot.tools.base import Tool, ToolError
from copilot.tools.demo import DemoNote, DemoOnce
from copilot.tools.files import CHARACTERS_MAX, LINES_MAX, EditFile, ListFiles, ReadFile, WriteFile
from copilot.tools.folder import Folder
from copilot.tools.search import SearchFiles
from copilot.tools.todo import FILE, Todo
from tests.tools.using import use


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A session's folder, with another one and a secret beside it."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret.txt").write_text("secret")
    inside = tmp_path / "session"
    inside.mkdir()
    return inside


# --- what they do --------------------------------------------------------------------------------


async def test_what_was_written_is_listed_and_read(tmp_path: Path) -> None:
    workspace = tmp_path / "not" / "there yet"
    assert (await use(ListFiles(), workspace))["entries"] == []
    assert (await use(SearchFiles(), workspace, query="x"))["matches"] == []
    written = await use(WriteFile(), workspace, path="a/b/c.txt", content="one\ntwo ü\n")
    assert written == {"path": "a/b/c.txt", "bytes": 11, "created": True}
    assert (await use(WriteFile(), workspace, path="/workspace/d", content=""))["created"]
    assert (await use(ListFiles(), workspace))["entries"] == [
        {"name": "a", "type": "folder"},
        {"name": "d", "type": "file", "size": 0},
    ]
    assert (await use(ListFiles(), workspace, path="a/b"))["entries"] == [
        {"name": "c.txt", "type": "file", "size": 11}
    ]
    read = await use(ReadFile(), workspace, path="./a//b/c.txt")
    assert read == {"path": "./a//b/c.txt", "text": "one\ntwo ü\n", "offset": 1, "lines": 2, "total_lines": 2}
    assert (await use(ReadFile(), workspace, path="d"))["text"] == ""


async def test_files_are_for_the_server_alone_and_stay_executable(workspace: Path) -> None:
    await use(WriteFile(), workspace, path="a/run.sh", content="1")
    path = workspace / "a" / "run.sh"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o777)
    await use(EditFile(), workspace, path="a/run.sh", old="1", new="2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert [item.name for item in path.parent.iterdir()] == ["run.sh"]


async def test_lines_of_a_long_file(workspace: Path) -> None:
    (workspace / "long").write_text("".join(f"{number}\n" for number in range(1, LINES_MAX + 11)))
    first = await use(ReadFile(), workspace, path="long")
    assert (first["lines"], first["total_lines"]) == (LINES_MAX, LINES_MAX + 10)
    assert first["note"] == f"There is more: go on with offset {LINES_MAX + 1}."
    rest = await use(ReadFile(), workspace, path="long", offset=LINES_MAX + 1)
    assert (rest["text"].split()[0], rest["lines"], "note" in rest) == (str(LINES_MAX + 1), 10, False)
    some = await use(ReadFile(), workspace, path="long", offset=3, limit=2)
    assert (some["text"], some["offset"]) == ("3\n4\n", 3)
    with pytest.raises(ToolError, match="there is no line"):
        await use(ReadFile(), workspace, path="long", offset=LINES_MAX + 11)


async def test_lines_that_are_long_by_themselves(workspace: Path) -> None:
    (workspace / "wide").write_text("a" * 30_000 + "\n" + "b" * 30_000 + "\n" + "c" * 60_000 + "\nd\n")
    first = await use(ReadFile(), workspace, path="wide")
    assert (first["lines"], first["note"]) == (1, "There is more: go on with offset 2.")
    cut = await use(ReadFile(), workspace, path="wide", offset=3)
    assert (len(cut["text"]), cut["note"]) == (CHARACTERS_MAX, "Line 3 has 60,001 characters and was cut.")


async def test_only_a_line_feed_ends_a_line(workspace: Path) -> None:
    (workspace / "a").write_bytes("one\u2028still one\x0c\r\ntwo x".encode())
    assert (await use(ReadFile(), workspace, path="a"))["total_lines"] == 2
    assert (await use(SearchFiles(), workspace, query="X"))["matches"] == [
        {"path": "a", "line": 2, "text": "two x"}
    ]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\0\0", b"\xff\xfe", b"caf\xe9"], ids=["png", "utf16", "latin1"])
async def test_what_is_no_text_is_named_only(workspace: Path, content: bytes) -> None:
    (workspace / "b").write_bytes(content)
    with pytest.raises(ToolError, match="binary file of"):
        await use(ReadFile(), workspace, path="b")
    with pytest.raises(ToolError, match="binary file of"):
        await use(EditFile(), workspace, path="b", old="a", new="b")
    assert (await use(SearchFiles(), workspace, query="caf"))["matches"] == []


async def test_files_that_are_too_large(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (workspace / "huge").open("wb") as file:
        file.truncate(folder.READ_MAX + 1)
    with pytest.raises(ToolError, match="10,000,001 bytes; files up to 10,000,000"):
        await use(ReadFile(), workspace, path="huge")
    assert (await use(SearchFiles(), workspace, query="x"))["files_too_large"] == 1
    with pytest.raises(ToolError, match="too large"):
        await use(WriteFile(), workspace, path="a", content="ü" * 1_500_000)
    assert not (workspace / "a").exists()


async def test_an_edit_changes_the_one_place(workspace: Path) -> None:
    (workspace / "a").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\nthree\r\n")
    assert (await use(EditFile(), workspace, path="a", old="two", new="2"))["line"] == 2
    assert (workspace / "a").read_bytes() == b"\xef\xbb\xbfone\r\n2\r\nthree\r\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("x", "y", "occurs 2 times .* Add lines around it"),
        ("z", "y", "does not occur .* copy it exactly"),
        ("a  x", "y", "only with other white space"),
        ("b", "b", "nothing to do"),
    ],
    ids=["twice", "never", "spaces", "same"],
)
async def test_an_edit_that_does_not_fit_says_so_and_changes_nothing(
    workspace: Path, old: str, new: str, said: str
) -> None:
    (workspace / "f").write_text("a x\nb x\n")
    with pytest.raises(ToolError, match=said):
        await use(EditFile(), workspace, path="f", old=old, new=new)
    assert (workspace / "f").read_text() == "a x\nb x\n"


async def test_edits_of_one_step_do_not_undo_each_other(workspace: Path) -> None:
    (workspace / "f").write_text("".join(f"<{number}>" for number in range(30)))
    edits = [use(EditFile(), workspace, path="f", old=f"<{number}>", new=f"[{number}]") for number in range(30)]
    await asyncio.gather(*edits)
    assert (workspace / "f").read_text() == "".join(f"[{number}]" for number in range(30))


async def test_a_search_says_where(workspace: Path) -> None:
    (workspace / "a" / ".git").mkdir(parents=True)
    (workspace / "a" / ".git" / "x").write_text("needle")
    (workspace / "a" / "b.txt").write_text("hay\nthe NEEDLE.*\n" + "-" * 500 + "needle" + "-" * 500)
    (workspace / "c").write_text("needle")
    found = await use(SearchFiles(), workspace, query="Needle")
    assert [(match["path"], match["line"]) for match in found["matches"]] == [
        ("a/b.txt", 2),
        ("a/b.txt", 3),
        ("c", 1),
    ]
    assert len(found["matches"][1]["text"]) == search.LINE_MAX
    assert "needle" in found["matches"][1]["text"]
    assert [
        match["path"] for match in (await use(SearchFiles(), workspace, query="e.*", path="a"))["matches"]
    ] == ["a/b.txt"]
    assert len((await use(SearchFiles(), workspace, query="needle", path="c"))["matches"]) == 1


async def test_a_search_ends(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "a").write_text("x\n" * 1000)
    found = await use(SearchFiles(), workspace, query="x")
    assert (len(found["matches"]), "note" in found) == (search.MATCHES_MAX, True)
    monkeypatch.setattr(search, "SECONDS_MAX", -1.0)
    (workspace / "b").write_text("y")
    assert "may be more" in (await use(SearchFiles(), workspace, query="y"))["note"]


# --- nothing leads out ---------------------------------------------------------------------------

READERS: list[tuple[Tool, dict[str, str]]] = [
    (ListFiles(), {}),
    (ReadFile(), {}),
    (SearchFiles(), {"query": "secret"}),
    (WriteFile(), {"content": "mine"}),
    (EditFile(), {"old": "secret", "new": "mine"}),
]
EVERY = pytest.mark.parametrize(("tool", "arguments"), READERS, ids=[tool.name for tool, _ in READERS])


@EVERY
@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "a/../../secret.txt",
        "..",
        "/etc/passwd",
        "/",
        "//etc/passwd",
        "/workspace/../secret.txt",
        "a\0b",
        "x" * 300,
        "a/" * 100 + "b",
        "missing/secret.txt",
        "link/secret.txt",
        "link",
        "to_file",
        "a/link/secret.txt",
        "loop",
        "pipe",
        "socket",
    ],
    ids=lambda path: repr(path)[:24],
)
async def test_no_path_leads_out(workspace: Path, tool: Tool, arguments: dict[str, str], path: str) -> None:
    (workspace / "a").mkdir()
    (workspace / "link").symlink_to(workspace.parent / "other")
    (workspace / "a" / "link").symlink_to("../../other")
    (workspace / "to_file").symlink_to("../secret.txt")
    (workspace / "loop").symlink_to("loop")
    os.mkfifo(workspace / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(workspace / "socket"))
        if path == "missing/secret.txt" and tool.name == "write_file":
            return  # folders are made
        with pytest.raises(ToolError) as refused:
            await use(tool, workspace, path=path, **arguments)
    assert len(str(refused.value)) < 600
    assert {file.read_text() for file in workspace.parent.rglob("secret.txt")} == {"secret"}
    assert (workspace / "to_file").is_symlink()


@EVERY
async def test_a_folder_is_no_file(workspace: Path, tool: Tool, arguments: dict[str, str]) -> None:
    if tool.name in ("list_files", "search_files"):
        return
    (workspace / "a").mkdir()
    for path in ("a", "a/", ".", "/workspace"):
        with pytest.raises(ToolError):
            await use(tool, workspace, path=path, **arguments)


def test_a_folder_that_is_read_does_not_stay_open(workspace: Path) -> None:
    (workspace / "a").mkdir()
    with pytest.raises(ToolError, match=r"is a folder\. List it with list_files"):
        Folder(workspace).read("a")
    opened = {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}
    assert str(workspace / "a") not in opened


async def test_no_tool_writes_through_a_link(workspace: Path) -> None:
    for name, tool in (("notes.txt", DemoNote()), ("once.txt", DemoOnce())):
        (workspace / name).symlink_to("../secret.txt")
        with pytest.raises(ToolError):
            await use(tool, workspace, text="more")
    (workspace / FILE).symlink_to("../secret.txt")
    assert (await use(Todo(), workspace))["todos"] == []
    with pytest.raises(ToolError):
        await use(Todo(), workspace, todos=[])
    assert (workspace.parent / "secret.txt").read_text() == "secret"


async def test_links_are_named_and_not_followed(workspace: Path) -> None:
    (workspace / "folder").symlink_to(workspace.parent / "other")
    (workspace / "file").symlink_to("../secret.txt")
    found = await use(ListFiles(), workspace)
    assert found["entries"] == [{"name": "file", "type": "link"}, {"name": "folder", "type": "link"}]
    assert (await use(SearchFiles(), workspace, query="secret"))["matches"] == []


async def test_a_workspace_that_is_a_link_is_refused(workspace: Path) -> None:
    moved = workspace.parent / "link"
    moved.symlink_to(workspace.parent / "other")
    with pytest.raises(ToolError):
        await use(ReadFile(), moved, path="secret.txt")


def test_a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere(workspace: Path) -> None:
    """The control opens by path, as a check before would allow: it reads the secret."""
    inside = workspace / "a"
    inside.mkdir()
    (inside / "secret.txt").write_text("mine")
    aside, link = workspace / "aside", workspace / "link"
    link.symlink_to(workspace.parent / "other")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            inside.rename(aside)
            link.rename(inside)
            inside.rename(link)
            aside.rename(inside)

    swapping = threading.Thread(target=swap)
    swapping.start()
    read: set[bytes] = set()
    fooled: set[str] = set()
    try:
        until = time.monotonic() + 30
        while not (fooled >= {"secret", "mine"} and read) and time.monotonic() < until:
            with suppress(ToolError):
                read.add(Folder(workspace).read("a/secret.txt"))
            with suppress(OSError):
                fooled.add((inside / "secret.txt").read_text())
    finally:
        over.set()
        swapping.join()
    assert "secret" in fooled
    assert read == {b"mine"}


def test_a_file_is_written_whole_or_not_at_all(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "a").write_text("before")

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ToolError, match="the disk is full"):
        Folder(workspace).write("a", b"after")
    assert [(file.name, file.read_text()) for file in workspace.iterdir()] == [("a", "before")]
