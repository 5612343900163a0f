"""Which models see pictures, and how many of what size their providers take.

No catalogue says it, and a picture sent to a model that takes none fails the request: a model that is not known
here counts as one that sees nothing, until ``COPILOT_PROVIDERS`` says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.conf import settings

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a provider takes in one request: so many pictures, so many bytes of each and of all, before they are
    encoded; ``side`` is the most pixels of a picture's longer side, where there is a limit."""

    count: int = 20
    each: int = 20 * MIB
    total: int = 20 * MIB
    side: int | None = None


_USUAL = Pictures()
#: 5 MiB each counts what is encoded.
_CLAUDE = Pictures(each=15 * MIB // 4, side=8000)
_MISTRAL = Pictures(count=8, each=7 * MIB)
_GROQ = Pictures(count=5, each=3 * MIB, total=3 * MIB)

#: By the model's name, without the maker that some services put before it; the first that fits counts.
_KNOWN: tuple[tuple[str, Pictures | None], ...] = (
    (r".*(audio|realtime|transcribe|tts|embed|moderation|whisper|dall-e).*", None),
    (r"(gpt-4o|chatgpt-4o|gpt-4\.1|gpt-4\.5|gpt-4-turbo|gpt-4-vision).*", _USUAL),
    (r"gpt-[5-9].*", _USUAL),
    (r"(o1|o3|o4-mini)(-pro|-20.*)?", _USUAL),
    (r"claude-(2|instant).*", None),
    (r"claude.*", _CLAUDE),
    (r"gemini.*|gemma-?[3-9].*", _USUAL),
    (r"pixtral.*|mistral-(medium|large-3|small-(3\.[1-9]|latest|25)).*|magistral-.*-latest", _MISTRAL),
    (r"grok-([4-9]|2-vision|vision).*", _USUAL),
    (r"(meta-)?llama-?(4|3\.2.*vision).*", _USUAL),
    (r"(llava|bakllava|moondream|minicpm-v|internvl).*", _USUAL),
    (r"qwen.*-?vl.*|qvq.*", _USUAL),
    (r"phi-(3.*vision|4-multimodal).*", _USUAL),
    (r"glm-4.*v.*|kimi-(vl|k2\.5).*|nova-(lite|pro|premier).*", _USUAL),
)


def pictures_of(model_id: str) -> Pictures | None:
    """Return what pictures the model ``provider/name`` takes; None when it sees none.

    ``images`` in the provider's entry of ``COPILOT_PROVIDERS`` overrides what is known of the name.
    """
    provider, _, name = model_id.partition("/")
    if provider == "demo":
        return None
    entry = settings.COPILOT_PROVIDERS.get(provider)
    entry = entry if isinstance(entry, dict) else {}
    known = _of_name(name)
    if entry.get("images") is False:
        return None
    if known is None and entry.get("images") is not True:
        return None
    return _GROQ if "groq.com" in str(entry.get("base_url")) else known or _USUAL


def _of_name(name: str) -> Pictures | None:
    bare = name.rsplit("/", 1)[-1].lower()
    return next((pictures for pattern, pictures in _KNOWN if re.fullmatch(pattern, bare)), None)
