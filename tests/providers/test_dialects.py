"""What only some servers of chat completions are sent, or get back."""

from __future__ import annotations

from typing import Any

import pytest

from copilot.providers.anthropic import CACHES, messages_body
from copilot.providers.base import ModelMessage, ReasoningPart, TextPart, ToolCallPart, ToolResultPart, ToolSpec
from copilot.providers.dialects import GENERIC, dialect_of
from copilot.providers.openai import OpenAIProvider, chat_body
from copilot.providers.responses import responses_body
from copilot.providers.wire import ToolNames, dump
from tests.providers.answers import WEATHER, Answer, ask, collect
from tests.providers.chat import call, chunk
from tests.providers.server import Reply, serve, sse

COMMON = {"model", "messages", "stream", "stream_options"}


@pytest.mark.parametrize(
    ("url", "provider", "expected"),
    [
        ("https://api.openai.com/v1", "openai", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "azure", "openai"),
        ("https://openrouter.ai/api/v1", "router", "openrouter"),
        ("https://api.deepseek.com", "x", "deepseek"),
        ("https://api.x.ai/v1", "x", "xai"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "x", "gemini"),
        ("http://127.0.0.1:11434/v1", "openai", "ollama"),
        ("http://gpu.lan:11434/v1", "mine", "ollama"),
        ("http://127.0.0.1:8000/v1", "vLLM", "vllm"),
        ("http://10.0.0.3:8080/v1", "llama-cpp", "llama.cpp"),
        ("http://127.0.0.1:8000/v1", "openai", "generic"),
        ("https://notdeepseek.com.example/v1", "x", "generic"),
        ("https://max.ai/v1", "x", "generic"),
        ("http://[broken", "x", "generic"),
    ],
)
def test_a_server_is_known_by_its_host_or_its_name(url: str, provider: str, expected: str) -> None:
    assert dialect_of(url, provider).name == expected


def body_for(provider: str, **fields: Any) -> dict[str, Any]:
    return chat_body(ask(**fields), ToolNames(()), dialect_of("https://api.example.com/v1", provider))


@pytest.mark.parametrize(
    ("provider", "model", "effort", "sent"),
    [
        ("generic", "any", "low", {"reasoning_effort": "low"}),
        ("openrouter", "any/model", "medium", {"reasoning": {"effort": "medium"}}),
        ("deepseek", "deepseek-v4-pro", "medium", {"reasoning_effort": "high"}),
        ("groq", "openai/gpt-oss-120b", "low", {"reasoning_effort": "low"}),
        ("groq", "llama-3.3-70b-versatile", "high", {}),
        ("mistral", "mistral-small-latest", "medium", {"reasoning_effort": "high"}),
        ("mistral", "mistral-small-latest", "low", {}),
        ("mistral", "magistral-medium-latest", "high", {}),
        ("xai", "grok-4.3", "low", {"reasoning_effort": "low"}),
        ("xai", "grok-4.20-reasoning", "low", {}),
        ("xai", "grok-4-0709", "high", {}),
        ("gemini", "gemini-2.5-flash", "low", {"reasoning_effort": "low"}),
        ("gemini", "gemini-2.0-flash", "low", {}),
        ("ollama", "gpt-oss:20b", "high", {"reasoning_effort": "high"}),
        ("ollama", "qwen3-coder:30b", "high", {}),
        ("vllm", "Qwen/Qwen3-8B", "low", {"reasoning_effort": "low"}),
        ("generic", "any", "none", {}),
        ("openrouter", "any", "", {}),
    ],
)
def test_an_effort_is_sent_as_the_server_takes_it(
    provider: str, model: str, effort: str, sent: dict[str, Any]
) -> None:
    body = body_for(provider, model=model, effort=effort)
    assert {name: body[name] for name in set(body) - COMMON} == sent


def test_openais_models_that_do_not_reason_get_no_effort() -> None:
    openai = dialect_of("https://api.openai.com/v1")
    for model, sent in (("gpt-4o", False), ("gpt-4.1", False), ("gpt-5-chat-latest", False), ("gpt-6", True)):
        assert ("reasoning_effort" in chat_body(ask(model=model, effort="low"), ToolNames(()), openai)) == sent


def test_fields_that_a_server_refuses_are_left_out() -> None:
    assert "stream_options" not in body_for("mistral")
    assert body_for("groq", max_output_tokens=5)["max_completion_tokens"] == 5
    assert body_for("generic", max_output_tokens=5)["max_tokens"] == 5


def test_mistral_takes_ids_of_nine_letters_and_digits() -> None:
    messages = tuple(
        message
        for ident in ("call_1234567890", "D681PevKs")
        for message in (
            ModelMessage("assistant", (ToolCallPart(ident, "one", {}),)),
            ModelMessage("tool", (ToolResultPart(ident, "one", "x"),)),
        )
    )
    sent = body_for("mistral", messages=messages)["messages"][1:]
    ids = [item["tool_calls"][0]["id"] for item in sent[::2]]
    assert [item["tool_call_id"] for item in sent[1::2]] == ids
    assert len(ids[0]) == 9
    assert ids[0].isalnum()
    assert ids[1] == "D681PevKs"


def test_mistral_takes_no_users_message_right_after_results() -> None:
    step = (
        ModelMessage("assistant", (ToolCallPart("a", "one", {}),)),
        ModelMessage("tool", (ToolResultPart("a", "one", "x"),)),
    )
    for provider, between in (("mistral", ["assistant"]), ("generic", [])):
        sent = body_for(provider, messages=(*step, *ask().messages))["messages"][1:]
        assert [item["role"] for item in sent] == ["assistant", "tool", *between, "user"]


async def step_of(provider: str, *events: Any) -> Answer:
    async with serve(Reply([sse(*events, chunk({}, "tool_calls"))])) as server:
        return await collect(OpenAIProvider(api_key="k", base_url=server.url, name=provider).stream(ask()))


def returned(provider: str, answer: Answer) -> dict[str, Any]:
    """Return the message with which a step goes back, but for what all servers get."""
    body = body_for(provider, messages=(ask().messages[0], *answer.as_step("rain")))
    message = body["messages"][2]
    return {name: value for name, value in message.items() if name not in ("role", "content", "tool_calls")}


ONE_CALL = chunk(call("{}", index=0, id="a", name="one"))


@pytest.mark.parametrize(
    ("deltas", "back"),
    [
        pytest.param(
            [{"reasoning_content": "Hm, "}, {"reasoning_content": "rain."}],
            {"reasoning_content": "Hm, rain."},
            id="reasoning_content",
        ),
        pytest.param([{"reasoning": "Hm"}], {"reasoning": "Hm"}, id="reasoning"),
        pytest.param(
            [
                {"reasoning": "H", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "H"}]},
                {"reasoning": "m", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "m"}]},
                {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "", "signature": "s"}]},
                {"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "gA"}]},
            ],
            {
                "reasoning_details": [
                    {"type": "reasoning.text", "index": 0, "text": "Hm", "signature": "s"},
                    {"type": "reasoning.encrypted", "index": 1, "data": "gA"},
                ]
            },
            id="reasoning_details",
        ),
    ],
)
@pytest.mark.parametrize("provider", ["openrouter", "vllm", "sglang", "llama.cpp"])
async def test_reasoning_goes_back_as_it_came(provider: str, deltas: list[Any], back: dict[str, Any]) -> None:
    answer = await step_of(provider, *map(chunk, deltas), ONE_CALL)
    assert returned(provider, answer) == back
    for other in ("generic", "groq", "mistral"):
        assert returned(other, answer) == {}


async def test_reasoning_without_a_call_and_of_other_servers_stays_here() -> None:
    async with serve(Reply([sse(chunk({"reasoning": "Hm", "content": "Hi"}), chunk({}, "stop"))])) as server:
        stream = OpenAIProvider(api_key="k", base_url=server.url, name="openrouter").stream(ask())
        assert (await collect(stream)).extras == []
    answer = await step_of("groq", chunk({"reasoning": "Hm"}), ONE_CALL)
    assert answer.extras == []


async def test_deepseek_wants_a_field_even_when_there_is_nothing_to_say() -> None:
    assert returned("deepseek", await step_of("deepseek", ONE_CALL)) == {"reasoning_content": ""}
    answer = await step_of("deepseek", chunk({"reasoning_content": "Hm"}), ONE_CALL)
    assert returned("deepseek", answer) == {"reasoning_content": "Hm"}


async def test_geminis_signatures_go_back_with_their_calls() -> None:
    signed = {"google": {"thought_signature": "AVSo"}}
    both = call("{}", index=0, id="a", name="one", extra_content=signed)["tool_calls"]
    both += call("{}", index=1, id="b", name="two")["tool_calls"]
    answer = await step_of("gemini", chunk({"tool_calls": both}))
    for provider, extra in (("gemini", signed), ("generic", None)):
        body = body_for(provider, messages=(ask().messages[0], *answer.as_step("x")))
        calls = body["messages"][2]["tool_calls"]
        assert [item.get("extra_content") for item in calls] == [extra, None]


@pytest.mark.parametrize(
    ("delta", "shown"),
    [
        ({"reasoning": "a", "reasoning_content": "b"}, "a"),
        ({"reasoning": {"odd": 1}, "reasoning_content": "b"}, "b"),
        ({"reasoning": "", "reasoning_details": [{"type": "reasoning.summary", "summary": "c"}]}, "c"),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "text": "no"}]}, ""),
        ({"reasoning_details": [{"type": "reasoning.new", "text": "no"}, {"text": "no"}]}, ""),
        ({"reasoning_details": [{"type": "reasoning.text", "text": {"odd": 1}}, "no", None, 7]}, ""),
        ({"reasoning_details": {"type": "reasoning.text", "text": "no"}}, ""),
        ({"reasoning_details": "no"}, ""),
    ],
)
async def test_which_reasoning_is_shown(delta: dict[str, Any], shown: str) -> None:
    answer = await step_of("openrouter", chunk(delta), chunk({"content": "Hi"}), ONE_CALL)
    assert answer.error is None
    assert (answer.reasoning, answer.text) == (shown, "Hi")


THOUGHTS = {
    "anthropic": {"signature": "s"},
    "responses": {"openai_item": {"type": "reasoning", "encrypted_content": "g"}},
}


@pytest.mark.parametrize("api", THOUGHTS)
@pytest.mark.parametrize("text", ["", "Hi"])
def test_thoughts_that_led_to_nothing_do_not_go_back(api: str, text: str) -> None:
    thought = ReasoningPart("Hm", THOUGHTS[api])
    said = ModelMessage("assistant", (TextPart("First."), thought, *([TextPart(text)] if text else [])))
    alone = ModelMessage("assistant", (thought,))
    request = ask(messages=(*ask().messages, said, *ask("And?").messages, alone, *ask("Go on.").messages))
    if api == "anthropic":
        sent = messages_body(request, ToolNames(()), {})["messages"]
        blocks = [[block["type"] for block in item["content"]] for item in sent]
        assert blocks == [["text"], ["text", "thinking", "text"] if text else ["text"], ["text"], ["text"]]
    else:
        items = responses_body(request, ToolNames(()))["input"]
        kinds = [item.get("type") or item["role"] for item in items]
        assert kinds == ["user", "assistant", *(["reasoning", "assistant"] if text else []), "user", "user"]


def test_every_tool_has_a_whole_schema() -> None:
    request = ask(tools=(ToolSpec("one", "", {}), WEATHER))
    names = ToolNames(["one", WEATHER.name])
    empty = {"type": "object", "properties": {}}
    chat = chat_body(request, names, GENERIC)["tools"]
    assert [tool["function"]["parameters"] for tool in chat] == [empty, WEATHER.parameters]
    assert [tool["parameters"] for tool in responses_body(request, names)["tools"]] == [empty, WEATHER.parameters]
    sent = messages_body(request, names, {})["tools"]
    assert [tool["input_schema"] for tool in sent] == [empty, WEATHER.parameters]


def test_system_and_tools_are_the_same_bytes_in_every_turn() -> None:
    first = ask(tools=(WEATHER,))
    said = ModelMessage("assistant", (ReasoningPart("x", {"signature": "s"}), TextPart("Hi")))
    later = ask("Somebody else", tools=(WEATHER,), step=3, tries=1)
    later = ask(messages=(*first.messages, said, *later.messages), tools=(WEATHER,), step=3)
    for body_of in (
        lambda request: chat_body(request, ToolNames([WEATHER.name]), GENERIC),
        lambda request: responses_body(request, ToolNames([WEATHER.name])),
        lambda request: messages_body(request, ToolNames([WEATHER.name]), CACHES["5m"]),
    ):
        one, two = body_of(first), body_of(later)
        for name in ("system", "instructions", "tools"):
            assert dump(one.get(name)) == dump(two.get(name))
        if "messages" in one and one["messages"][0]["role"] == "system":
            assert dump(one["messages"][0]) == dump(two["messages"][0])
