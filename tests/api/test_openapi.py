"""The API document: valid, complete, with examples and error codes."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS, reset_generator_stats
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

#: path, method, status of success
OPERATIONS = [
    ("sessions", "get", "200"),
    ("sessions", "post", "201"),
    ("sessions/{session_id}", "get", "200"),
    ("sessions/{session_id}", "patch", "200"),
    ("sessions/{session_id}", "delete", "204"),
    ("sessions/{session_id}/messages", "get", "200"),
    ("sessions/{session_id}/messages", "post", "202"),
    ("sessions/{session_id}/queued", "get", "200"),
    ("sessions/{session_id}/queued/{message_id}", "delete", "204"),
    ("sessions/{session_id}/queued/deliver", "post", "202"),
    ("sessions/{session_id}/aside", "post", "200"),
    ("sessions/{session_id}/cancel", "post", "200"),
    ("sessions/{session_id}/regenerate", "post", "202"),
    ("sessions/{session_id}/branch", "post", "200"),
    ("messages/{message_id}", "get", "200"),
    ("messages/{message_id}/edit", "post", "202"),
    ("turns/{turn_id}", "get", "200"),
    ("turns/{turn_id}/cancel", "post", "200"),
    ("turns/{turn_id}/events", "get", "200"),
    ("turns/{turn_id}/stream", "get", "200"),
    ("ui/chat", "post", "200"),
    ("ui/chat/{chat}/stream", "get", "200"),
    ("ui/chat/{chat}/stop", "post", "200"),
    ("presets", "get", "200"),
    ("presets", "post", "201"),
    ("presets/{preset_id}", "delete", "204"),
    ("models", "get", "200"),
    ("usage", "get", "200"),
    ("ui/ag-ui", "post", "200"),
    ("openai/chat/completions", "post", "200"),
    ("openai/models", "get", "200"),
    ("openai/models/{model_id}", "get", "200"),
    ("files", "get", "200"),
    ("files", "post", "201"),
    ("files/{file_id}", "get", "200"),
    ("approval-log", "get", "200"),
    ("approval-rules", "get", "200"),
    ("approval-rules/{rule_id}", "delete", "204"),
    ("links", "get", "200"),
    ("links/{link_id}", "patch", "200"),
    ("links/{link_id}", "delete", "204"),
    ("link-tokens/{token}", "get", "200"),
    ("link-tokens/{token}/confirm", "post", "200"),
    ("operator/diagnostics", "get", "200"),
    ("operator/turns", "get", "200"),
    ("operator/usage", "get", "200"),
    ("operator/usage/reset", "post", "200"),
    ("operator/usage/tier", "post", "200"),
    ("operator/turns/{turn_id}", "get", "200"),
    ("operator/turns/stop", "post", "200"),
    ("operator/turns/requeue", "post", "200"),
    ("operator/turns/cleanup", "post", "200"),
]
#: The same for bots.
BOT_OPERATIONS = [
    ("bot/links/resolve", "post", "200"),
    ("bot/link-tokens", "post", "201"),
    ("bot/link-tokens/{token}", "get", "200"),
    ("bot/turns", "post", "202"),
    ("bot/turns/{turn_id}", "get", "200"),
    ("bot/turns/{turn_id}/cancel", "post", "200"),
    ("bot/turns/{turn_id}/events", "get", "200"),
    ("bot/turns/{turn_id}/stream", "get", "200"),
    ("bot/approvals", "get", "200"),
    ("bot/approvals/{action_id}/decide", "post", "200"),
    ("bot/webhook", "get", "200"),
    ("bot/webhook", "put", "201"),
    ("bot/webhook", "delete", "204"),
]


@pytest.fixture(scope="module")
def document() -> Any:
    return Client().get("/api/v1/schema").json()


def test_the_document_is_valid(document: Any) -> None:
    validate_schema(document)


def test_nothing_in_the_document_has_a_name_by_chance() -> None:
    """A name that is made up for want of one changes when something else comes along, and breaks made clients."""
    reset_generator_stats()
    generator: Any = SchemaGenerator
    document = generator().get_schema(request=None, public=True)
    assert not GENERATOR_STATS
    enums = [name for name, schema in document["components"]["schemas"].items() if "enum" in schema]
    assert [name for name in enums if name.endswith("Enum")] == []


@pytest.mark.parametrize(("path", "method", "status"), [*OPERATIONS, *BOT_OPERATIONS])
def test_an_operation_has_examples_and_error_codes(document: Any, path: str, method: str, status: str) -> None:
    operation = document["paths"][f"/api/v1/{path}"][method]
    assert operation["summary"]
    schemes = {name for scheme in operation["security"] for name in scheme}
    responses = operation["responses"]
    if path.startswith("bot/"):
        assert schemes == {"bot"}
        assert {status, "401"} <= set(responses)
    else:
        assert {"key", "session"} <= schemes
        assert {status, "401", "403"} <= set(responses)
    for answered, response in responses.items():
        if answered == "204":
            continue
        for content in response["content"].values():
            assert content["examples"], (path, method, answered)
        if answered >= "400":
            codes = {
                example["value"]["code"]
                for example in response["content"]["application/json"]["examples"].values()
            }
            assert codes
            assert all(f"`{code}`" in response["description"] for code in codes)


def test_every_operation_here_is_listed_above(document: Any) -> None:
    ours = {path.split("/")[0] for path, *_ in [*OPERATIONS, *BOT_OPERATIONS]}
    listed = {
        (path.removeprefix("/api/v1/"), method)
        for path, methods in document["paths"].items()
        for method in methods
        if path.removeprefix("/api/v1/").split("/")[0] in ours
    }
    assert listed == {(path, method) for path, method, _ in [*OPERATIONS, *BOT_OPERATIONS]}


@pytest.mark.parametrize(
    ("path", "method", "status", "codes"),
    [
        ("sessions", "post", "400", {"invalid", "unknown_field", "unknown_model", "refused_text"}),
        ("presets", "post", "400", {"invalid", "unknown_field", "refused_text"}),
        ("presets/{preset_id}", "delete", "404", {"not_found"}),
        ("sessions/{session_id}/messages", "post", "409", {"queue_full", "client_id_reused"}),
        ("sessions/{session_id}/messages", "post", "413", {"text_too_long"}),
        ("sessions/{session_id}/messages", "post", "404", {"not_found"}),
        ("sessions/{session_id}/messages", "post", "403", {"csrf", "scope"}),
        ("sessions/{session_id}/messages", "post", "503", {"busy"}),
        ("sessions/{session_id}/messages", "post", "429", {"rate_limited", "usage_limit"}),
        ("sessions/{session_id}/queued/deliver", "post", "429", {"usage_limit"}),
        ("sessions/{session_id}/aside", "post", "429", {"rate_limited", "usage_limit"}),
        ("sessions/{session_id}/queued/{message_id}", "delete", "409", {"already_delivered"}),
        ("messages/{message_id}/edit", "post", "409", {"session_busy", "stale", "client_id_reused"}),
        ("sessions/{session_id}/regenerate", "post", "409", {"session_busy", "stale", "client_id_reused"}),
        ("sessions/{session_id}/branch", "post", "409", {"session_busy", "stale"}),
        ("ui/chat", "post", "400", {"invalid", "incomplete", "not_allowed", "refused_text"}),
        (
            "ui/chat",
            "post",
            "409",
            {"session_busy", "client_id_reused", "already_decided", "expired", "stale"},
        ),
        ("ui/chat/{chat}/stop", "post", "404", {"not_found"}),
        ("turns/{turn_id}/events", "get", "400", {"invalid"}),
        ("turns/{turn_id}/cancel", "post", "404", {"not_found"}),
        ("approval-rules/{rule_id}", "delete", "404", {"not_found"}),
        ("link-tokens/{token}", "get", "410", {"token_used"}),
        ("link-tokens/{token}/confirm", "post", "400", {"invalid", "unknown_field", "wrong_kind"}),
        ("link-tokens/{token}/confirm", "post", "409", {"already_linked"}),
        ("bot/link-tokens", "post", "409", {"already_linked"}),
        ("bot/link-tokens", "post", "429", {"rate_limited"}),
        ("bot/link-tokens/{token}", "get", "404", {"not_found"}),
        ("files", "post", "413", {"file_too_large"}),
        ("openai/models/{model_id}", "get", "404", {"unknown_model"}),
        ("openai/chat/completions", "post", "429", {"rate_limited", "usage_limit", "quota"}),
        ("files", "post", "400", {"invalid", "unknown_field", "refused_text"}),
    ],
)
def test_the_codes_are_those_that_are_answered(
    document: Any, path: str, method: str, status: str, codes: set[str]
) -> None:
    examples = document["paths"][f"/api/v1/{path}"][method]["responses"][status]["content"]["application/json"]
    assert {example["value"]["code"] for example in examples["examples"].values()} == codes


@pytest.mark.parametrize(("path", "method"), [("ui/chat", "post"), ("ui/chat/{chat}/stream", "get")])
def test_streams_are_tagged(document: Any, path: str, method: str) -> None:
    assert "streams" in document["paths"][f"/api/v1/{path}"][method]["tags"]


def test_the_body_of_a_message_is_described(document: Any) -> None:
    body = document["components"]["schemas"]["SendBody"]
    assert body["required"] == ["text"]
    names = {"text", "client_id", "model", "effort", "attachments", "context", "timezone", "delivery"}
    assert set(body["properties"]) == names
