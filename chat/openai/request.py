"""What a chat completion asks for, in our terms; what cannot be done here is refused in words, not passed over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rest_framework import serializers

from common.bodies import Body, Flag, Text
from common.errors import AppError, invalid
from copilot.turns.given import Question, Said
from copilot.turns.submit import EFFORTS

#: What programs send by habit, and what changes nothing here.
IGNORED = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "user",
    "metadata",
    "store",
    "service_tier",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "verbosity",
)
#: What would change the answer, and is refused with the reason.
REFUSED = {
    "tools": "tools run on this server, those that it has; what the client brings along cannot be called.",
    "functions": "tools run on this server, those that it has; what the client brings along cannot be called.",
    "function_call": "tools run on this server, and whether one is called is left to the model.",
    "stop": "stop sequences are not supported: cut the answer where you want it to end.",
    "logprobs": "log probabilities are not known here.",
    "top_logprobs": "log probabilities are not known here.",
    "logit_bias": "tokens cannot be weighed here.",
    "audio": "answers are texts.",
    "web_search_options": "searching is a tool of the server, if it has one.",
    "moderation": "there is nothing here that moderates.",
}
#: Efforts of OpenAI's API that have another name here.
_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high"}
_INSTRUCTIONS = ("system", "developer")
_SAID_BY_TEXT = {"text": "text", "refusal": "refusal", "input_text": "text", "output_text": "text"}


class StreamOptions(Body):
    """``stream_options``."""

    include_usage = Flag(required=False, help_text="One more chunk, before the end, tells the usage.")
    include_obfuscation = Flag(required=False, help_text="Ignored.")


class CompletionBody(Body):
    """``POST openai/chat/completions``, in the form of OpenAI's API."""

    model = Text(required=False, max_length=200, help_text="`provider/model`; none: the server's default.")
    messages = serializers.ListField(
        child=serializers.DictField(),
        help_text="`system` and `developer` instruct, `user` and `assistant` are what was said; the last one is "
        "the user's. Texts, or lists of parts of type `text`.",
    )
    stream = Flag(required=False, help_text="Answer with server-sent events.")
    stream_options = StreamOptions(required=False)
    reasoning_effort = Text(required=False, max_length=20, help_text="`none`, `low`, `medium`, `high` or alike.")
    max_completion_tokens = serializers.IntegerField(
        required=False, min_value=1, max_value=10_000_000, help_text="Of each model call of the answer."
    )
    max_tokens = serializers.IntegerField(
        required=False, min_value=1, max_value=10_000_000, help_text="The older name."
    )
    tool_choice = serializers.JSONField(
        required=False, help_text="`auto`: the server's tools as the model likes; `none`: no tools."
    )
    n = serializers.IntegerField(required=False, help_text="1.")
    response_format = serializers.JSONField(required=False, help_text='`{"type": "text"}`.')
    modalities = serializers.JSONField(required=False, help_text='`["text"]`.')

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields with those that are only looked at for whether they ask for something."""
        more = dict.fromkeys(IGNORED, "Ignored.") | dict.fromkeys(REFUSED, "Not supported.")
        return super().get_fields() | {
            name: serializers.JSONField(required=False, help_text=said) for name, said in more.items()
        }


def question_of(body: dict[str, Any]) -> Question:
    """Return what a checked body asks.

    Raises:
        Invalid: it asks for what is not done here, or its messages are none.
    """
    if problem := next(_problems(body), None):
        raise invalid(dict([problem]))
    instructions, said = _said(body["messages"])
    if not said or said[-1].role != "user":
        raise invalid({"messages": "the last one must be the user's: it is what is answered."})
    effort = body.get("reasoning_effort", "")
    return Question(
        text=said[-1].text,
        earlier=said[:-1],
        instructions="\n\n".join(instructions),
        model=body.get("model", ""),
        effort=_EFFORTS.get(effort, effort),
        tools=[] if body.get("tool_choice") == "none" else None,
        max_output_tokens=body.get("max_completion_tokens") or body.get("max_tokens") or 0,
    )


def _problems(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, why in REFUSED.items():
        if body.get(name):
            yield name, why
    if _EFFORTS.get(effort := body.get("reasoning_effort", ""), effort) not in ("", *EFFORTS):
        yield "reasoning_effort", f"must be one of {', '.join((*EFFORTS, *_EFFORTS))}."
    if body.get("n", 1) != 1:
        yield "n", "one answer is given: ask again for another one."
    if body.get("tool_choice", "auto") not in ("auto", "none"):
        yield "tool_choice", "must be auto or none: no tool can be demanded here."
    if _kind_of(body.get("response_format", {"type": "text"})) != "text":
        yield "response_format", "answers are texts: ask for the form that you want in a message."
    if body.get("modalities", ["text"]) != ["text"]:
        yield "modalities", "answers are texts."


def _kind_of(value: Any) -> Any:
    return value.get("type") if isinstance(value, dict) else None


def _said(messages: list[dict[str, Any]]) -> tuple[list[str], list[Said]]:
    """Return the instructions, and what was said, oldest first."""
    instructions: list[str] = []
    said: list[Said] = []
    for number, message in enumerate(messages):
        role = message.get("role")
        text = _text_of(message.get("content"), f"messages.{number}.content")
        if role in _INSTRUCTIONS:
            instructions.append(text)
        elif role == "user":
            said.append(Said("user", text))
        elif role == "assistant":
            if message.get("tool_calls") or message.get("function_call"):
                raise _of_message(number, "tool_calls", REFUSED["tools"])
            said.append(Said("assistant", text))
        else:
            raise _of_message(number, "role", "must be system, developer, user or assistant.")
    return instructions, said


def _text_of(content: Any, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise invalid({where: "must be a text, or a list of parts."})
    return "".join(_text_of_part(part, where) for part in content)


def _text_of_part(part: Any, where: str) -> str:
    name = _SAID_BY_TEXT.get(str(_kind_of(part)))
    text = part.get(name) if name else None
    if not isinstance(text, str):
        raise invalid({where: "only parts of type text are taken here; files go through POST /api/v1/files."})
    return text


def _of_message(number: int, field: str, problem: str) -> AppError:
    return invalid({f"messages.{number}.{field}": problem})
