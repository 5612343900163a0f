"""Every endpoint asked by everybody for what one person and their bot have: who is let in is in docs/endpoints.md.

``SCHEMA_WRITE=1`` writes that page anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from schemathesis.python import asgi

from tests.schema.operations import STREAMS, application, document
from tests.schema.world import World

PAGE = Path(__file__).resolve().parents[2] / "docs" / "endpoints.md"
PREFIX = "/api/v1/"
COLUMNS = ("nobody", "user", "other user", "staff", "bot", "other bot")
#: What one makes another one must not find.
METHODS = ("get", "delete", "post", "put", "patch")

#: Whoever has a link token may use it; a chat is the caller's own by any name; models are everybody's.
ANYBODYS = ("link-tokens/", "ui/chat/", "openai/models/")
#: For staff, about everybody.
OPERATORS = "operator/"

INTRODUCTION = """# Who may call what

Each endpoint was asked for what one person and their bot have: by nobody, by that person, by somebody else, by
staff, by the bot and by another one, each with a key that may do all that theirs can. The numbers are what they
were answered. 404: for them there is no such thing. 400, 409 and 410: they were let in, and what the probe asked
for could not be done.

A test asks anew and compares; `SCHEMA_WRITE=1 pytest tests/schema/test_endpoints.py` writes this page.

"""

pytestmark = pytest.mark.django_db(transaction=True)

Row = tuple[str, str, dict[str, int]]


@pytest.fixture
def rows(world: World, people: dict[str, dict[str, str]]) -> list[Row]:
    """What everybody was answered, by path and method."""
    found: list[Row] = []
    client = asgi.get_client(application())
    for path, methods in sorted(document()["paths"].items()):
        for method in sorted(methods, key=METHODS.index):
            answered = {}
            for who, headers in people.items():
                status = _ask(client, world, path, method, methods[method], headers)
                answered[who] = status
                if method != "get" and status < 300:
                    world.fill()
            found.append((method.upper(), path.removeprefix(PREFIX), answered))
    return found


def _ask(client: Any, world: World, path: str, method: str, operation: dict[str, Any], headers: Any) -> int:
    names = re.findall(r"{(\w+)}", path)
    url = path.format(**world.path(names, path)) if names else path
    content = operation.get("requestBody", {}).get("content", {})
    sent: dict[str, Any] = {}
    if "multipart/form-data" in content:
        sent = {"files": {"file": ("a.txt", b"hello")}}
    elif "application/json" in content:
        sent = {"json": {} if STREAMS in operation["tags"] else _body(world, content["application/json"])}
    response = client.request(method.upper(), f"http://testserver{url}", headers=headers, **sent)
    return int(response.status_code)


def _body(world: World, content: dict[str, Any]) -> dict[str, Any]:
    """Return an example of the document or, where it has none, what a body needs, with what there really is."""
    for example in content.get("examples", {}).values():
        return dict(world.replaced(example["value"], lambda: True))
    schema = document()["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[-1]]
    needed = [name for name in schema["properties"] if name in {*schema.get("required", []), "decisions"}]
    return {name: world.known.get(name, "Hello.") for name in needed}


def test_everybody_is_let_in_where_they_belong_and_nowhere_else(rows: list[Row]) -> None:
    for method, path, answered in rows:
        where = (method, path, answered)
        assert answered["nobody"] == 401, where
        strangers = ("user", "other user", "staff") if path.startswith("bot/") else ("bot", "other bot")
        assert {answered[who] for who in strangers} == {401}, where
        assert not {401, 403} & {answered[_owner(path)]}, where
        if path.startswith(OPERATORS):
            assert {answered[who] for who in ("user", "other user")} == {403}, where
        elif "{" in path and not path.startswith(ANYBODYS):
            others = {answered[who] for who in ("other user", "staff", "other bot")} - {401}
            assert others == {404} or (others == {400} and path.endswith("/aside")), where


def _owner(path: str) -> str:
    """Whom a path is for."""
    if path.startswith(OPERATORS):
        return "staff"
    return "bot" if path.startswith("bot/") else "user"


def test_the_page_says_what_everybody_is_answered(rows: list[Row]) -> None:
    lines = [f"| | | {' | '.join(COLUMNS)} |", "|---|---|" + "---|" * len(COLUMNS)]
    for method, path, answered in rows:
        cells = " | ".join(str(answered[who]) for who in COLUMNS)
        lines.append(f"| {method} | `{path}` | {cells} |")
    page = INTRODUCTION + "\n".join(lines) + "\n"
    if os.environ.get("SCHEMA_WRITE"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page
