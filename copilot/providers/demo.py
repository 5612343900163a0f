"""The built-in demo model: deterministic, offline, and obedient.

Any text gets a short answer about the project. Lines that begin with a directive are carried out in order, which
makes every path of the engine reachable without a key: ``/words N [delay_ms]``, ``/think TEXT``,
``/tool NAME {json}``, ``/ask QUESTION | OPT | OPT``, ``/sleep SECONDS``, ``/step``, ``/results``,
``/fail CLASS [n]``, ``/faillate CLASS [n]``, ``/empty``, ``/cost MICRODOLLARS``, ``/title TEXT``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from copilot.providers.base import (
    ErrorClass,
    ModelMessage,
    ModelRequest,
    ProviderError,
    Reasoning,
    Stop,
    StreamPart,
    Text,
    TextPart,
    TitleHint,
    ToolCallDelta,
    ToolCallStart,
    ToolResultPart,
    Usage,
)

NAMES = frozenset(
    ["words", "think", "tool", "ask", "sleep", "step", "results", "fail", "faillate", "empty", "cost", "title"]
)
WORDS_MAX = 100_000
SLEEP_MAX = 3600.0
ANSWER = (
    "Hello! I am Holdfast's **demo model**: I run inside the server, without a key, and say only canned things. "
    "What you see is real all the same: this answer was accepted as a durable turn, run by a worker, stored event "
    "by event and streamed to you.\n\n"
    "Try it:\n\n"
    "- reload the page, or open it in a second tab, while I am speaking\n"
    "- stop the server with Ctrl-C or `kill -9` and start it again: the turn comes to its end\n"
    '- send `/words 200 50` for a long answer, or `/tool calculator {"expression": "6 * 7"}` for a tool\n'
    '- send `/tool demo_note {"text": "hello"}` for a tool that asks you first\n\n'
    "Set `OPENAI_API_KEY` or `ANTHROPIC_API_KEY` (or an OpenAI-compatible `OPENAI_BASE_URL`) to talk to a real "
    "model."
)


@dataclass(frozen=True, slots=True)
class Directive:
    """One line such as ``/words 3``: its name and the rest of the line."""

    name: str
    rest: str = ""


@dataclass(slots=True)
class Script:
    """One model step: what to say, then which tools to call."""

    says: list[Directive] = field(default_factory=list)
    calls: list[Directive] = field(default_factory=list)
    more: bool = False


def parse(text: str) -> list[Script]:
    """Split the directives of a message into model steps; no directives, no steps."""
    directives = [found for line in text.splitlines() if (found := _directive(line))]
    if not directives:
        return []
    steps = [Script()]
    for directive in directives:
        if directive.name == "step":
            steps[-1].more = True
            steps.append(Script())
        elif directive.name in ("tool", "ask"):
            steps[-1].calls.append(directive)
        else:
            if steps[-1].calls:
                steps.append(Script())
            steps[-1].says.append(directive)
    if steps[-1].calls:
        steps.append(Script())
    if not any(step.says for step in steps):
        steps[-1].says.append(Directive("done"))
    return steps


def _directive(line: str) -> Directive | None:
    name, _, rest = line.strip().partition(" ")
    return Directive(name[1:], rest.strip()) if name.startswith("/") and name[1:] in NAMES else None


class DemoProvider:
    """See the module. Which step is next is read from the messages, so a continuation needs no memory."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        """Yield the next step of the script that the last user messages hold."""
        plan, done = _plan(request.messages[request.asked_from :]), request.step - 1
        script = plan[done] if done < len(plan) else Script([Directive("done")])
        said = 0
        cost = 0
        for directive in script.says:
            if directive.name == "cost":
                cost = _number(directive.rest, 0)
                continue
            async for part in self._carry_out(directive, request, first=said == 0):
                said += isinstance(part, Text)
                yield part
        for index, call in enumerate(script.calls):
            yield ToolCallStart(index, f"demo-{request.step}-{index}", _tool_name(call))
            yield ToolCallDelta(index, _tool_arguments(call))
        yield _usage(request, said, cost)
        more = script.more or done + 1 < len(plan)
        yield Stop("tool-calls" if script.calls else "stop", again=more and not script.calls)

    async def _carry_out(
        self, directive: Directive, request: ModelRequest, *, first: bool
    ) -> AsyncIterator[StreamPart]:
        rest = directive.rest
        between = "" if first else "\n"
        match directive.name:
            case "words":
                count, delay = _words(rest)
                for n in range(1, count + 1):
                    if delay and n > 1:
                        await asyncio.sleep(delay)
                    elif n % 200 == 0:
                        await asyncio.sleep(0)
                    yield Text(between + f"w{n}" if n == 1 else f" w{n}")
            case "think":
                for n, word in enumerate(rest.split(" ")):
                    yield Reasoning(f" {word}" if n else word)
            case "results":
                yield Text(between + _results(request.messages))
            case "sleep":
                await asyncio.sleep(_seconds(rest))
            case "title":
                yield TitleHint(rest)
            case "fail" | "faillate":
                async for part in _fail(directive, request, between):
                    yield part
            case "done":
                yield Text("Done.")
            case "answer":
                async for part in _say(ANSWER, words=_ANSWER_WORDS):
                    yield part
            case _:
                return


_ANSWER_WORDS = 0.015


async def _say(text: str, *, words: float) -> AsyncIterator[StreamPart]:
    for n, word in enumerate(text.split(" ")):
        if n:
            await asyncio.sleep(words)
        yield Text(word if n == 0 else f" {word}")


async def _fail(directive: Directive, request: ModelRequest, between: str) -> AsyncIterator[StreamPart]:
    name, _, times = directive.rest.partition(" ")
    code = cast(ErrorClass, name if name in get_args(ErrorClass) else "unknown")
    if request.tries >= _number(times, 1_000_000):
        return
    if directive.name == "faillate":
        yield Text(between + "This text comes before the failure.")
    if code == "no_response":
        raise ProviderError("no_response", "The model answered nothing.")
    raise ProviderError(code, f"The demo model was asked to fail with {code}.", hint="Send another message.")


def _plan(messages: Sequence[ModelMessage]) -> list[Script]:
    """Return the turn's steps: what was asked at its beginning, then what was sent meanwhile, in order.

    A message that interrupts takes the place of what was still to come.
    """
    people = [message for message in messages if message.role == "user" and not _is_note(message)]
    at_once = [_own_text(message) for message in people if message.after_step is None]
    plan = _steps("\n".join(at_once)) if at_once else []
    for message in people:
        if message.after_step is not None:
            kept = plan[: message.after_step] if message.interrupts else plan
            plan = kept + _steps(_own_text(message))
    return plan


def _steps(asked: str) -> list[Script]:
    return parse(asked) or [Script([Directive("answer")])]


def _is_note(message: ModelMessage) -> bool:
    """A note of the server's, after a step that said nothing that is sent back."""
    return _own_text(message).startswith("<server-note")


def _own_text(message: ModelMessage) -> str:
    """The person's words: the first text part; what the server adds follows in parts of its own."""
    return next((part.text for part in message.parts if isinstance(part, TextPart)), "")


def _results(messages: Sequence[ModelMessage]) -> str:
    if messages and messages[-1].role == "tool":
        results = [part for part in messages[-1].parts if isinstance(part, ToolResultPart)]
        return "\n".join(f"{result.name}: {result.output}" for result in results)
    return "There are no results."


def _words(rest: str) -> tuple[int, float]:
    count, _, delay = rest.partition(" ")
    return min(_number(count, 0), WORDS_MAX), _number(delay, 0) / 1000


def _number(text: str, default: int) -> int:
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) < 16 else default


def _seconds(text: str) -> float:
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    return min(seconds, SLEEP_MAX) if seconds > 0 else 0.0  # not a number is not above 0


def _tool_name(call: Directive) -> str:
    return "ask_user" if call.name == "ask" else call.rest.partition(" ")[0]


def _tool_arguments(call: Directive) -> str:
    if call.name == "tool":
        return call.rest.partition(" ")[2].strip() or "{}"
    question, *options = [piece.strip() for piece in call.rest.split("|")]
    arguments: dict[str, Any] = {"question": question, **({"options": options} if options else {})}
    return json.dumps(arguments)


def _usage(request: ModelRequest, words: int, cost: int = 0) -> Usage:
    asked = sum(len(message.text().split()) for message in request.messages)
    return Usage(input_tokens=asked, output_tokens=words, cost_microdollars=cost)
