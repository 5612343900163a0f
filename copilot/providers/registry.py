"""Which providers and models there are: the built-in ones, and those that the settings name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from copilot.providers import pricing
from copilot.providers.base import ModelInfo, Provider, ProviderError
from copilot.providers.dialects import wants_responses
from copilot.providers.vision import pictures_of

DEMO = "demo/demo"
BUILT_IN = ("demo", "openai", "openai-responses", "anthropic")
_APIS = ("openai", "openai-responses", "anthropic")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*", re.IGNORECASE)
#: Offered when the operator names none: the current general model of each provider, then its small one.
_CURRENT = {
    "openai": ("gpt-6.1-sol", "gpt-6-luna"),
    "anthropic": ("claude-sonnet-5-5", "claude-haiku-5-5"),
}
#: What a server that asks for no key is sent.
_NO_KEY = "none"


class UnknownModel(ValueError):
    """There is no such provider, or the model is not among those that the operator allows."""


@dataclass(frozen=True, slots=True)
class _Access:
    """How a provider is reached. ``key_name`` is the setting that holds the key."""

    api: str
    base_url: str
    key: str
    key_name: str


def provider_for(model_id: str, *, idle_seconds: float | None = None) -> tuple[Provider, str]:
    """Return the adapter for ``provider/name`` and the model's name.

    Args:
        idle_seconds: silence after which a stream is dead, by default that of a turn. Calls that differ in it have
            clients of their own.

    Raises:
        UnknownModel: see there.
        ProviderError: ``not_configured``: the provider lacks its key, or its settings are wrong.
    """
    check_model(model_id)
    provider, _, name = model_id.partition("/")
    if provider == "demo":
        from copilot.providers.demo import DemoProvider

        return DemoProvider(), name
    return _adapter(provider, _access(provider), name, idle_seconds), name


def check_model(model_id: str) -> None:
    """Make sure that ``model_id`` may be chosen; its provider need not be configured yet.

    Raises:
        UnknownModel: see there.
    """
    provider, _, name = model_id.partition("/")
    if not name or provider not in {*BUILT_IN, *settings.COPILOT_PROVIDERS}:
        raise UnknownModel(f"There is no model {model_id!r}: name it as provider/model, with a known provider.")
    if provider == "demo" and model_id != DEMO:
        raise UnknownModel(f"The demo provider has one model, {DEMO}.")
    if settings.COPILOT_MODELS and model_id not in _allowed():
        raise UnknownModel(f"The model {model_id!r} is not offered here.")


def offered_models() -> list[ModelInfo]:
    """Return the models to choose from, in the operator's order."""
    return [_info(model_id) for model_id in settings.COPILOT_MODELS or [DEMO, *_real_models()]]


def known_model(model_id: str) -> str:
    """Return ``provider/name`` where the operator or this program names it, else ``provider/other`` or ``other``.

    For what is counted by model: people may choose any name, which would make a figure of its own of each.
    """
    if model_id in {DEMO, *_allowed(), *_real_models()}:
        return model_id
    provider = model_id.partition("/")[0]
    return f"{provider}/other" if provider in {*BUILT_IN, *settings.COPILOT_PROVIDERS} else "other"


def default_model() -> str:
    """Return the id of the model that a new session takes."""
    if settings.COPILOT_DEFAULT_MODEL:
        return str(settings.COPILOT_DEFAULT_MODEL)
    return next(iter([*settings.COPILOT_MODELS, *_real_models(), DEMO]))


def preload() -> None:
    """Load the adapters of the models on offer: an SDK takes a second to import, which no turn should wait for."""
    for model in [*(info.id for info in offered_models()), default_model(), settings.COPILOT_FALLBACK_MODEL]:
        try:
            provider_for(model)
        except (ProviderError, UnknownModel):
            continue  # told to whoever uses it


def provider_problems() -> list[str]:
    """Return what is wrong in the settings about providers and models, a sentence each."""
    problems: list[str] = []
    for name, entry in settings.COPILOT_PROVIDERS.items():
        problems += [f"COPILOT_PROVIDERS: {name}: {problem}" for problem in _entry_problems(name, entry)]
    chosen = [("COPILOT_MODELS", model_id) for model_id in settings.COPILOT_MODELS]
    chosen += [(name, model_id) for name, model_id in _single_models() if model_id]
    for setting, model_id in chosen:
        try:
            check_model(model_id)
        except UnknownModel as error:
            problems.append(f"{setting}: {error}")
    return problems


def _entry_problems(name: str, entry: Any) -> list[str]:
    if name in BUILT_IN:
        return ["the name is that of a built-in provider; choose another."]
    if not _NAME.fullmatch(name):
        return ["a name is made of letters, digits, dots, hyphens and underscores."]
    if not isinstance(entry, dict):
        return ['expected an object such as {"api": "openai", "base_url": "https://…/v1", "api_key": "…"}.']
    problems = []
    if entry.get("api") not in _APIS:
        problems.append(f"api must be one of {', '.join(_APIS)}, is {entry.get('api')!r}.")
    if not str(entry.get("base_url") or "").startswith(("http://", "https://")):
        problems.append("base_url must be an http(s) URL.")
    if not isinstance(entry.get("images", False), bool):
        problems.append("images must be true or false.")
    if unknown := sorted(set(entry) - {"api", "base_url", "api_key", "images"}):
        problems.append(f"unknown field {', '.join(unknown)}.")
    return problems


def _single_models() -> list[tuple[str, str]]:
    names = ("COPILOT_DEFAULT_MODEL", "COPILOT_FALLBACK_MODEL", "COPILOT_TITLE_MODEL")
    return [(name, str(getattr(settings, name, ""))) for name in names]


def _allowed() -> set[str]:
    """What the operator named anywhere may be used."""
    return {*settings.COPILOT_MODELS, *(model_id for _, model_id in _single_models() if model_id)}


def _real_models() -> list[str]:
    return [
        f"{provider}/{name}" for provider, names in _CURRENT.items() if _access(provider).key for name in names
    ]


def _access(provider: str) -> _Access:
    if provider in ("openai", "openai-responses"):
        url = str(settings.OPENAI_BASE_URL)
        return _Access(provider, url, settings.OPENAI_API_KEY or (_NO_KEY if url else ""), "OPENAI_API_KEY")
    if provider == "anthropic":
        return _Access(
            "anthropic", str(settings.ANTHROPIC_BASE_URL), settings.ANTHROPIC_API_KEY, "ANTHROPIC_API_KEY"
        )
    entry = settings.COPILOT_PROVIDERS[provider]
    if problems := _entry_problems(provider, entry):
        raise ProviderError(
            "not_configured",
            f"The provider {provider} is not set up: {problems[0]}",
            hint="Correct COPILOT_PROVIDERS.",
        )
    return _Access(entry["api"], entry["base_url"], str(entry.get("api_key", _NO_KEY)), "COPILOT_PROVIDERS")


def _adapter(provider: str, access: _Access, model: str, idle_seconds: float | None) -> Provider:
    if not access.key:
        raise ProviderError(
            "not_configured",
            f"The provider {provider} has no key.",
            hint=f"Set {access.key_name}, then try again.",
        )
    if not (access.key.isascii() and access.key.isprintable()):
        raise ProviderError(
            "not_configured",
            f"The key of the provider {provider} has characters that no key has.",
            hint=f"Correct {access.key_name}.",
        )
    # A tool may hold a stream silent for its longest time; twice that is a dead stream.
    idle_seconds = idle_seconds or 2 * float(settings.TOOL_MAX_SECONDS)
    # Imported late: the SDKs are slow to load, and a demo needs neither.
    if access.api == "openai" and not wants_responses(access.base_url, model):
        from copilot.providers.openai import OpenAIProvider

        return OpenAIProvider(
            api_key=access.key, base_url=access.base_url, name=provider, idle_seconds=idle_seconds
        )
    if access.api in ("openai", "openai-responses"):
        from copilot.providers.responses import ResponsesProvider

        return ResponsesProvider(api_key=access.key, base_url=access.base_url, idle_seconds=idle_seconds)
    from copilot.providers.anthropic import AnthropicProvider

    return AnthropicProvider(
        api_key=access.key, base_url=access.base_url, cache=settings.ANTHROPIC_CACHE, idle_seconds=idle_seconds
    )


def _info(model_id: str) -> ModelInfo:
    if model_id == DEMO:
        return ModelInfo(DEMO, "Demo (offline, no real model)", input_price=0, output_price=0)
    known = pricing.facts(model_id)
    provider, _, name = model_id.partition("/")
    return ModelInfo(
        model_id,
        label=f"{known.name or name} ({provider})",
        context=known.context,
        images=pictures_of(model_id) is not None,
        input_price=known.input_price,
        output_price=known.output_price,
    )
