"""What every model provider looks like to the agent loop: one normalised request, one normalised stream.

An adapter turns ``ModelRequest`` into its provider's call and yields the parts below. It ends its stream with
exactly one ``Stop``; a stream that ends without the provider's own end marker raises ``ProviderError("network")``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

ErrorClass = Literal[
    "quota",
    "rate_limit",
    "auth",
    "model_not_found",
    "context_overflow",
    "content_filter",
    "network",
    "timeout",
    "overloaded",
    "no_response",
    "not_configured",
    "usage_limit",
    "unknown",
]
#: Trying the same request again may help with these.
TRANSIENT: frozenset[str] = frozenset({"rate_limit", "network", "timeout", "overloaded"})

FinishReason = Literal["stop", "length", "content-filter", "tool-calls", "error", "other"]


class ProviderError(Exception):
    """A model call failed.

    Args:
        code: the error class; decides whether it is tried again.
        detail: one plain sentence for people: no HTML, no secrets.
        hint: what a person or operator can do about it, when that is known.
        retry_after: seconds the provider asked us to wait.
    """

    def __init__(self, code: ErrorClass, detail: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.code: ErrorClass = code
        self.detail = detail
        self.hint = hint
        self.retry_after = retry_after

    @property
    def transient(self) -> bool:
        return self.code in TRANSIENT


# --- the request ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it; ``parameters`` is a JSON Schema object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text of a user or of the model."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture in a user's message; ``media_type`` is what its bytes are, not what somebody called it."""

    media_type: str
    data: bytes
    name: str = ""


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """Reasoning of an earlier step of the same turn; ``extra`` is what its provider needs to get it back."""

    text: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A call that the model made. ``id`` is the provider's own, ``arguments`` the parsed object."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """The answer to the call with the same ``id``; ``output`` is text (JSON for structured values)."""

    id: str
    name: str
    output: str
    is_error: bool = False


Part = TextPart | ImagePart | ReasoningPart | ToolCallPart | ToolResultPart


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """One message of the model's view. Tool results are messages of role ``tool``, right after their calls.

    A user's message that came while the turn ran was delivered after so many of its steps (``after_step``), the
    last of them cut short if it ``interrupts``.
    """

    role: Literal["user", "assistant", "tool"]
    parts: tuple[Part, ...]
    after_step: int | None = None
    interrupts: bool = False

    def text(self) -> str:
        """All text of this message."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One model call.

    ``model`` is the name without the provider's prefix. ``step`` counts the turn's model steps from 1 and
    ``tries`` how often this step was tried before. ``effort`` "" sends nothing, as does "none". The messages from
    ``asked_from`` on are this turn's: its question, then its steps so far. ``pause`` says how many seconds pieces
    of the answer may gather before they are read: when much is going on, reading each by itself only costs.
    """

    model: str
    system: str
    messages: tuple[ModelMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    effort: str = ""
    max_output_tokens: int = 0
    step: int = 1
    tries: int = 0
    asked_from: int = 0
    pause: Callable[[], float] = field(default=lambda: 0.0, compare=False)


# --- the stream ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """More visible text."""

    delta: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """More reasoning; a non-empty ``extra`` closes the block and is kept to be sent back (signatures)."""

    delta: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """The model began a call; ``index`` tells parallel calls apart within one step."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of the JSON text of a call's arguments."""

    index: int
    arguments: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call used, in the contract's convention, whatever the provider's.

    ``input_tokens`` includes cache reads and writes, ``output_tokens`` includes reasoning.
    ``cost_microdollars`` only when the provider itself said so. ``estimated``: it said nothing, or not all of it.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_microdollars: int | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class AnsweredBy:
    """Who answers, in the provider's words: the model's full name, and for a router who runs it."""

    model: str
    provider: str = ""


@dataclass(frozen=True, slots=True)
class TitleHint:
    """A title that the provider suggests for the session."""

    text: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The provider's own end of the stream. ``again``: it paused and wants to be called again, same turn."""

    reason: FinishReason
    again: bool = False


StreamPart = Text | Reasoning | ToolCallStart | ToolCallDelta | Usage | AnsweredBy | TitleHint | Stop


class Provider(Protocol):
    """An adapter over one provider's API."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        """Call the model and yield its answer as it arrives.

        Closing the iterator closes the connection. A later ``Usage`` replaces an earlier one.

        Raises:
            ProviderError: the call failed, before or in the middle of the answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as the picker shows it; prices in microdollars per million tokens, None when unknown."""

    id: str
    label: str
    context: int | None = None
    tools: bool = True
    images: bool = False
    input_price: int | None = None
    output_price: int | None = None
