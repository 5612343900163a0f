"""What servers of chat completions have of their own: one line of differences each.

A server is known by the host of its base URL, else by the name that the operator gave the provider. A field that
only one of them knows is sent to no other: strict servers refuse what they do not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a server differs from the common ground of all."""

    name: str
    #: Host names, also of subdomains; or a port, where servers of one's own are known by it.
    hosts: tuple[str, ...] = ()
    #: Other names that operators give such a provider.
    also: tuple[str, ...] = ()
    #: The field that takes an effort; "reasoning" is an object with it.
    effort: Literal["reasoning_effort", "reasoning"] = "reasoning_effort"
    #: The models that take an effort: others refuse it, or do not know what it is.
    thinkers: re.Pattern[str] = field(default=re.compile(""))
    #: Words for efforts where they differ; "" leaves the field out.
    efforts: Mapping[str, str] = field(default_factory=dict)
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    #: Whether usage in a stream has to be asked for.
    asks_usage: bool = True
    #: Whether the model must get its reasoning back within a tool loop, in the fields that it came in.
    returns_reasoning: bool = False
    #: A field that every message with calls must have, empty when there is nothing to say.
    required: str = ""
    #: Whether calls carry signatures that must come back with them.
    signs_calls: bool = False
    #: Whether a person's message may follow the results of calls directly.
    user_after_results: bool = True
    #: How ids of calls must look: their greatest length, or their only one.
    longest_id: int = 0
    id_length: int = 0


def _models(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


GENERIC = Dialect("generic")
#: OpenAI's models that take tools in its Responses API only, whether or not they are asked to reason.
_RESPONSES_ONLY = _models(r"^gpt-(5\.\d|[6-9]|\d\d)(?!.*-chat)")
OPENAI = Dialect(
    "openai",
    hosts=("api.openai.com", "openai.azure.com"),
    thinkers=_models(r"^(?!(ft:)?(gpt-(3|4)|chatgpt|.*-chat(-|$)))"),
    limit="max_completion_tokens",
    longest_id=40,
)
_DIALECTS = (
    OPENAI,
    Dialect("openrouter", hosts=("openrouter.ai",), effort="reasoning", returns_reasoning=True),
    Dialect(
        "deepseek",
        hosts=("deepseek.com",),
        efforts={"medium": "high"},
        returns_reasoning=True,
        required="reasoning_content",
    ),
    Dialect("groq", hosts=("groq.com",), thinkers=_models("gpt-oss"), limit="max_completion_tokens"),
    Dialect(
        "mistral",
        hosts=("mistral.ai",),
        thinkers=_models(r"mistral-small-(latest|26)"),
        efforts={"low": "", "medium": "high"},
        asks_usage=False,
        user_after_results=False,
        id_length=9,
    ),
    Dialect("together", hosts=("together.xyz", "together.ai"), thinkers=_models("gpt-oss")),
    Dialect(
        "xai",
        hosts=("x.ai",),
        thinkers=_models(r"grok-(4\.[3-9](?!\d)|[5-9]|latest)"),
        limit="max_completion_tokens",
    ),
    Dialect(
        "gemini",
        hosts=("generativelanguage.googleapis.com",),
        also=("google",),
        thinkers=_models(r"gemini-(2\.5|[3-9]|.*latest)"),
        signs_calls=True,
    ),
    Dialect("moonshot", hosts=("moonshot.ai", "moonshot.cn"), thinkers=_models("^$"), returns_reasoning=True),
    Dialect("zai", hosts=("z.ai", "bigmodel.cn"), thinkers=_models("^$"), returns_reasoning=True),
    Dialect(
        "ollama",
        hosts=("ollama.com", ":11434"),
        thinkers=_models(r"^(?!.*(coder|instruct)).*(gpt-oss|qwen3|deepseek-(r1|v3)|magistral|glm-|kimi)"),
        returns_reasoning=True,
    ),
    Dialect("vllm", returns_reasoning=True),
    Dialect("llama.cpp", also=("llamacpp", "llama-cpp", "llama_cpp"), returns_reasoning=True),
    Dialect("sglang", returns_reasoning=True),
)
_BY_HOST = {host: dialect for dialect in _DIALECTS for host in dialect.hosts}
_BY_NAME = {name: dialect for dialect in _DIALECTS for name in (dialect.name, *dialect.also)}


def dialect_of(base_url: str, provider: str = "") -> Dialect:
    """Return what a server speaks.

    Args:
        provider: the provider's name in the settings; ``openai`` there says nothing, as any server may be its base
            URL.
    """
    try:
        parts = urlsplit(base_url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return GENERIC  # such a URL is refused when it is called
    if found := _BY_HOST.get(f":{port}"):
        return found
    labels = host.split(".")
    for at in range(len(labels) - 1):
        if found := _BY_HOST.get(".".join(labels[at:])):
            return found
    return GENERIC if provider == "openai" else _BY_NAME.get(provider.lower(), GENERIC)


def wants_responses(base_url: str, model: str) -> bool:
    """Tell whether OpenAI serves a model with tools in the Responses API only.

    Args:
        base_url: empty for OpenAI itself.
    """
    theirs = not base_url or dialect_of(base_url) is OPENAI
    return theirs and _RESPONSES_ONLY.search(model) is not None


def effort_fields(dialect: Dialect, model: str, effort: str) -> dict[str, object]:
    """Return the fields that ask for an effort: none where the model takes none, or nobody asked."""
    word = dialect.efforts.get(effort, effort)
    if word in ("", "none") or not dialect.thinkers.search(model):
        return {}
    return {"reasoning": {"effort": word}} if dialect.effort == "reasoning" else {"reasoning_effort": word}
