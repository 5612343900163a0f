"""Spans from the request to the tool call, where somebody collects them; nothing at all otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from common import tracing
from common.request_ids import RequestIds
from common.tracing import span, traceparent
from common.trail import follow_trail, trail
from config.checks import check_tracing
from tests.harness import Crew
from tests.observability.tracing import Tracer


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    """Keeps the spans of this test."""
    tracer = Tracer()
    tracing.set_tracer(tracer)
    yield tracer
    tracing.set_tracer(None)


def test_without_a_collector_nothing_is_made(settings: Any) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = ""
    tracing.start("web")
    with span("anything", parent="00-" + "1" * 32 + "-" + "2" * 16 + "-01", turn_id="t"):
        assert traceparent() == ""


def test_a_collector_without_the_packages_is_a_failed_check_that_names_the_mend(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:4318"
    monkeypatch.setattr(tracing, "PACKAGES", ("no_such_package.sdk", "json"))
    [problem] = check_tracing(None)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set, but no_such_package.sdk" in problem.msg
    assert "requirements-otel.txt" in (problem.hint or "")
    monkeypatch.setattr(tracing, "PACKAGES", ("json",))
    assert check_tracing(None) == []
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = ""
    monkeypatch.setattr(tracing, "PACKAGES", ("no_such_package",))
    assert check_tracing(None) == []


def test_a_span_that_fails_says_what_kind_of_error_and_nothing_of_its_words(tracer: Tracer) -> None:
    with pytest.raises(ValueError), span("step", step=1):
        raise ValueError("what somebody wrote")
    [made] = tracer.spans
    assert made.failed
    assert made.attributes == {"holdfast.step": 1, "error.type": "ValueError"}


async def test_a_request_goes_on_with_the_trace_that_it_came_with(tracer: Tracer) -> None:
    given = "00-" + "0af7651916cd43dd8448eb211c80319c" + "-b7ad6b7169203331-01"
    seen: dict[str, str] = {}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.update(trail())

    token = "mK2f_9Qw-" + "Ab3" * 11
    scope = {"type": "http", "path": f"/login/{token}/", "headers": [(b"traceparent", given.encode())]}
    await RequestIds(application)(scope, None, None)
    [made] = tracer.spans
    assert f"{made.trace_id:032x}" == given.split("-")[1]
    assert made.attributes["holdfast.path"] == "/login/…/"
    assert seen["traceparent"].split("-")[1:3] == [given.split("-")[1], f"{made.id:016x}"]
    assert seen["request_id"] == made.attributes["holdfast.request_id"]


@pytest.mark.django_db(transaction=True)
async def test_a_turn_is_traced_from_its_request_to_its_tools_without_a_word(crew: Crew, tracer: Tracer) -> None:
    await crew.hire()
    with span("http request"), follow_trail(request_id="r", traceparent=traceparent()):
        turn = await crew.send('/words 3\n/tool calculator {"expression": "6 * 7"}\n/words 2')
    await crew.ended(turn)
    [request], [ran] = tracer.named("http request"), tracer.named("turn")
    steps, calls, [tool] = tracer.named("step"), tracer.named("model call"), tracer.named("tool call")
    assert all(made.ended and made.trace_id == request.trace_id for made in tracer.spans)
    assert (ran.parent, tool.parent) == (request.id, ran.id)
    assert [made.parent for made in steps] == [ran.id, ran.id]
    assert [made.parent for made in calls] == [made.id for made in steps]
    assert ran.attributes["holdfast.turn_id"] == str(turn.pk)
    assert tool.attributes["holdfast.tool"] == "calculator"
    about = {key for made in tracer.spans for key in made.attributes}
    known = {"turn_id", "session_id", "fence", "step", "model", "tool", "tool_call_id"}
    assert about == {f"holdfast.{name}" for name in known}
