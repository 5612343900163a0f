"""Lines as JSON: one object each, and no secret in any of them."""

from __future__ import annotations

import json
import logging
import sys
import uuid
from typing import Any

import pytest

from common.logs import JsonFormatter, LineFormatter, write_json_for_servers
from common.trail import follow_trail

SECRET = "Zx8Qm2Lr5Tn7Vb1Wc4Yd"


def record(message: str, *arguments: Any, exc_info: Any = None, **extra: Any) -> logging.LogRecord:
    return logging.getLogger("x").makeRecord("x", logging.INFO, "", 0, message, arguments, exc_info, extra=extra)


def written(message: str, *arguments: Any, **extra: Any) -> tuple[str, dict[str, Any]]:
    text = JsonFormatter().format(record(message, *arguments, **extra))
    return text, json.loads(text)


def test_a_line_is_one_object_with_message_and_fields() -> None:
    turn = uuid.uuid4()
    text, line = written("turn %s ended", 7, action="turn_ended", turn_id=turn, count=3, late=True, nothing=None)
    assert "\n" not in text
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "x",
        "message": "turn 7 ended",
        "action": "turn_ended",
        "turn_id": str(turn),
        "count": 3,
        "late": True,
        "nothing": None,
    }


def test_message_arguments_and_fields_are_redacted_and_stay_an_object() -> None:
    text, line = written(
        f"password={SECRET} %s", f"Bearer {SECRET}", api_key=SECRET, url=f"redis://:{SECRET}@redis/0"
    )
    assert SECRET[:8] not in text
    assert line["api_key"].startswith("⟦hidden:")


def test_a_traceback_is_redacted_and_one_line() -> None:
    try:
        raise ValueError(f"cannot log in with token={SECRET}")
    except ValueError:
        text, line = written("failed", exc_info=sys.exc_info())
    assert "\n" not in text
    assert "ValueError: cannot log in with token=⟦hidden:" in line["traceback"]
    assert SECRET[:8] not in text


@pytest.mark.parametrize("field", ["message", "where"])
def test_tokens_in_paths_and_keys_are_hidden(field: str) -> None:
    token, key = "mK2f_9Qw-" + "Ab3" * 11, f"hf_{SECRET}xyz"
    words = f"/login/{token}/ /login/?next=%2Flink%2F{token} {key}"
    text, _ = written(words) if field == "message" else written("asked", where=words)
    assert token[:8] not in text
    assert SECRET[:8] not in text


def test_a_field_cannot_stand_for_what_each_line_has() -> None:
    _, line = written("said", level="mine", time="then")
    assert line["level"] == "INFO"
    assert line["time"] != "then"


def test_what_no_json_holds_is_written_in_words() -> None:
    _, line = written("odd", number=float("nan"), body={"a": uuid.UUID(int=0)})
    assert (line["number"], line["body"]) == ("nan", "{'a': UUID('00000000-0000-0000-0000-000000000000')}")


def test_both_forms_carry_the_trail_but_what_is_said_of_the_line_itself_counts() -> None:
    with follow_trail(request_id="abc", turn_id="t1", traceparent=""):
        assert LineFormatter().format(record("hi", turn_id="t2")).endswith(" hi request_id=abc turn_id=t2")
        _, line = written("hi")
    assert (line["request_id"], line["turn_id"]) == ("abc", "t1")
    assert "traceparent" not in line
    assert "request_id" not in written("hi")[1]


def test_what_a_server_writes_itself_is_json_too() -> None:
    handler, logger = logging.NullHandler(), logging.getLogger("uvicorn.access")
    logger.addHandler(handler)
    try:
        write_json_for_servers()
        assert isinstance(handler.formatter, JsonFormatter)
    finally:
        logger.removeHandler(handler)
