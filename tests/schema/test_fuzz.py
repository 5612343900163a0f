"""Whatever is sent, by whomever: no 500, no status that the document does not name, answers as it says.

Each request is made once and sent as everybody: most of the time goes into making them.
"""

from __future__ import annotations

import copy
import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.generation import GenerationMode

from tests.schema.operations import STREAMS, document, operations
from tests.schema.world import World, shown

#: Requests made for an operation, each sent as everybody.
EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "30"))
OPERATIONS = operations(document())
CHECKS = checks.CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
#: Seconds for an answer: reaching it is a failure, however busy the machine is.
PATIENCE = 60
#: Two in three requests are meant to be accepted.
MODES = (GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
#: What uses things up also when it is refused.
USED_UP = {"/api/v1/link-tokens/{token}/confirm"}

pytestmark = pytest.mark.django_db(transaction=True)


def send_everything(operation: Any, world: World, people: dict[str, dict[str, str]]) -> Counter[Any]:
    """Send an operation's requests as everybody; return how often who got which status.

    Fails the test with the first request whose answer is not as documented.
    """
    names = [parameter.name for parameter in operation.path_parameters]
    got: Counter[Any] = Counter()

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of([operation.as_strategy(generation_mode=mode) for mode in MODES]), data=st.data())
    def send(case: Any, data: Any) -> None:
        sensible = data.draw(st.booleans())

        def choose() -> bool:
            return sensible or bool(data.draw(st.integers(0, 2)))

        if names and choose():
            case.path_parameters = world.path(names, operation.path)
        case.body = world.replaced(case.body, choose)
        if isinstance(case.query, dict):
            case.query = world.replaced(case.query, choose) | ({"wait": "0"} if "wait" in case.query else {})
        used_up = False
        for who, headers in people.items():
            response = case.call(headers=headers, timeout=PATIENCE)
            got[who, response.status_code] += 1
            used_up |= case.method == "DELETE" and response.status_code < 300
            try:
                case.validate_response(response, checks=CHECKS)
            except BaseExceptionGroup as group:
                sent = f"{who}: {case.method} {case.formatted_path} {shown(case.query)} {shown(case.body)}"
                pytest.fail("\n".join([sent, *map(str, group.exceptions)]), pytrace=False)
        if used_up or operation.path in USED_UP:
            world.fill()

    send()
    return got


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_operation_answers_as_documented(name: str, world: World, people: dict[str, Any]) -> None:
    got = send_everything(OPERATIONS[name], world, people)
    assert any(status < 300 for _, status in got), f"nothing that was sent was accepted: {dict(got)}"


@pytest.mark.parametrize(("name", "forgotten"), [("read_session", "404"), ("create_session", "400")])
def test_a_status_that_the_document_forgets_is_noticed(
    name: str, forgotten: str, world: World, people: dict[str, Any]
) -> None:
    changed = copy.deepcopy(document())
    for methods in changed["paths"].values():
        for operation in methods.values():
            operation["responses"].pop(forgotten, None)
    with pytest.raises(pytest.fail.Exception, match="Undocumented status code"):
        send_everything(operations(changed)[name], world, people)


def test_an_answer_that_does_not_fit_its_schema_is_noticed(world: World, people: dict[str, Any]) -> None:
    changed = copy.deepcopy(document())
    changed["components"]["schemas"]["Session"]["properties"]["title"]["type"] = "integer"
    with pytest.raises(pytest.fail.Exception, match="violates schema"):
        send_everything(operations(changed)["list_sessions"], world, people)


def test_only_what_streams_is_left_out() -> None:
    left_out = {
        (method, path)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        if STREAMS in operation["tags"]
    }
    known = {(each.method, each.path) for each in OPERATIONS.values()}
    every = {(method, path) for path, methods in document()["paths"].items() for method in methods}
    assert known == every - left_out
    assert ("get", "/api/v1/turns/{turn_id}/stream") in left_out
