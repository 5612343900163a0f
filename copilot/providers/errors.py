"""Says what a failed model call was: one class, one plain sentence, what to do about it.

The HTTP status and the type of the exception decide first, the provider's machine codes next, its text last;
quota goes before rate limit and rate limit before auth, because providers report missing credit as each of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import httpx2

from copilot.providers.base import ErrorClass, ProviderError

_HTTP_ERRORS = (httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError)
_MAX_DETAIL = 300
_MAX_BODY = 100_000

HINTS: dict[ErrorClass, str] = {
    "quota": "Add credit with the provider, or choose another model.",
    "rate_limit": "Wait a moment, then try again.",
    "auth": "Check the provider's key in the settings.",
    "model_not_found": "Check the model's name, and the provider's base URL.",
    "context_overflow": "Shorten the message, or start a new session.",
    "content_filter": "Word the request differently.",
    "network": "Try again. If it keeps failing, check the provider's base URL.",
    "timeout": "Try again.",
    "overloaded": "Try again in a moment, or choose another model.",
}

_QUOTA_KINDS = frozenset(
    (
        "arrearage",
        "billing_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_funds",
        "insufficient_quota",
        "insufficient_user_quota",
        "payment_required",
        "quota_exceeded",
        "usage_limit_exceeded",
        "usage_limit_reached",
        "usage_not_included",
    )
)
_KINDS: dict[str, ErrorClass] = {
    "rate_limit_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "too_many_requests": "rate_limit",
    "model_not_found": "model_not_found",
    "model_not_exist": "model_not_found",
    "not_found_error": "model_not_found",
    "deploymentnotfound": "model_not_found",
    "authentication_error": "auth",
    "permission_error": "auth",
    "permission_denied": "auth",
    "invalid_api_key": "auth",
    "unauthenticated": "auth",
    "context_length_exceeded": "context_overflow",
    "exceed_context_size_error": "context_overflow",
    "request_too_large": "context_overflow",
    "string_above_max_length": "context_overflow",
    "content_policy_violation": "content_filter",
    "content_filter": "content_filter",
    "responsibleaipolicyviolation": "content_filter",
    "moderation_blocked": "content_filter",
}
#: Only where no HTTP status speaks: inside a stream.
_STREAM_KINDS: dict[str, ErrorClass] = {
    "overloaded_error": "overloaded",
    "server_error": "overloaded",
    "api_error": "overloaded",
    "internal_server_error": "overloaded",
    "internal_error": "overloaded",
    "service_unavailable": "overloaded",
    "unavailable": "overloaded",
    "timeout_error": "timeout",
    "timeout": "timeout",
}
_STATUS: dict[int, ErrorClass] = {
    408: "timeout",
    504: "timeout",
    524: "timeout",
    413: "context_overflow",
    498: "overloaded",  # one provider's "capacity exceeded"
}
_QUOTA_STATUSES = (None, 400, 401, 403, 429)
_QUOTA_TEXT = re.compile(
    r"insufficient[_ ](quota|credit|balance|funds)|exceeded your current quota|credit balance|credits exhausted"
    r"|billing (hard )?limit|more credits|out of credits|can only afford|spend(ing)? limit|api usage limit"
    r"|quota[_ ]exceeded|plan limit reached|usage[_ ]limit[_ ]exceeded|reached the limit of messages"
    r"|used up your usage"
)
#: A quota that fills up again by itself is a rate.
_SHORT_TEXT = re.compile(r"per[ _-]?(second|minute)|\b[rt]pm\b")
_TRY_AGAIN_TEXT = re.compile(
    r"(?:try again|retry) (?:in|after) (?:(\d+)h)? ?(?:(\d+) ?m(?:in\w*)?(?!s))? ?(?:(\d+(?:\.\d+)?) ?(ms|s)\w*)?"
)
_TOO_LARGE_TEXT = re.compile(
    r"request too large|(input|prompt|request|message) is too (large|long)|must be reduced"
)
_CONTEXT_TEXT = re.compile(
    r"context[_ ](length|window|limit|size)|maximum context|(prompt|input)( is)? too (long|large)"
    r"|too many (input )?tokens|reduce the length|request too large"
    r"|exceeds? (the )?(model'?s )?(maximum|max) (number of )?(input )?(tokens|length)"
)
_POLICY_TEXT = re.compile(
    r"content[_ ](policy|filter|management policy)|safety (system|filter|reasons)|flagged|moderation"
    r"|violat\w+ .{0,60}polic|usage polic"
)
_MODEL_TEXT = re.compile(
    r"model.{0,100}(not found|not exist|no longer available|decommissioned)|(unknown|no such|not a valid) model"
)
_AUTH_TEXT = re.compile(r"api[ _-]?key|unauthori[sz]ed|authentication|invalid token")
_RATE_TEXT = re.compile(r"rate.?limit|too many requests")
_TIMEOUT_TEXT = re.compile(r"time[d]? ?out")
_OVERLOAD_TEXT = re.compile(
    r"overloaded|capacity|unavailable|internal (server )?error|try again later|server error"
)

_SECRETS = (
    re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',;]{6,}"),
    re.compile(r"(?i)\b(?:sk|pk|rk|gsk|hf|xai|key|tok|api|ghp|csk|nvapi|pplx|tgp|fw)[-_][A-Za-z0-9_\-*.…]{6,}"),
    re.compile(r"\bAIza[A-Za-z0-9_-]{10,}"),
    re.compile(r"(?i)((?:api[_-]?key|key|token|secret|password)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;]{6,}"),
    re.compile(r"://[^/\s:@]+:[^/\s@]+@"),
    re.compile(r"\b(?=[A-Za-z0-9_-]*\d)(?=[A-Za-z0-9_-]*[A-Za-z])[A-Za-z0-9_-]{40,}\b"),
)
_TAG = re.compile(r"(?is)<(script|style)\b.*?</\1>|<[^>]*>")
_PAGE = re.compile(r"(?i)<!doctype html|<(html|head|body)\b")
_TITLE = re.compile(r"(?is)<title[^>]*>(.*?)</title>")


def from_exception(error: Exception, *, secret: str = "") -> ProviderError:
    """Return what an exception of an SDK or of its HTTP client means.

    Args:
        secret: the key that was sent, so that no echo of it is shown.
    """
    response = getattr(error, "response", None)
    if isinstance(response, httpx2.Response):
        return from_response(response, secret=secret)
    # The SDKs wrap what their HTTP client raised.
    cause = (
        error
        if isinstance(error, _HTTP_ERRORS) or not isinstance(error.__cause__, _HTTP_ERRORS)
        else error.__cause__
    )
    if isinstance(cause, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return ProviderError(
            "not_configured", "The provider's base URL is not a valid URL.", hint="Correct the base URL."
        )
    if isinstance(cause, httpx2.TimeoutException) and not _lost(cause):
        what = "could not be reached" if isinstance(cause, httpx2.ConnectTimeout) else "did not answer"
        return _error("timeout", f"The provider {what} in time.")
    if isinstance(cause, httpx2.ConnectError) or isinstance(_lost(cause), OSError):
        return _error(
            "network", f"The provider could not be reached: {tidy(str(cause), secret) or 'no reason given'}"
        )
    if isinstance(cause, httpx2.HTTPError):
        return _error("network", "The connection to the provider was cut.")
    if isinstance(cause, aiohttp.ClientError):
        return _error("network", "What the provider answered is not HTTP.")
    return _error("unknown", tidy(str(cause), secret) or "The model call failed.")


def _lost(error: Exception) -> BaseException | None:
    """The lost connection behind an error that says "timeout": the SDKs' transport says so of each of them."""
    cause = error.__cause__
    return cause if isinstance(error, httpx2.ConnectTimeout) and not isinstance(cause, TimeoutError) else None


def from_response(response: httpx2.Response, *, secret: str = "") -> ProviderError:
    """Return what an HTTP error means; the body of ``response`` has been read."""
    error = from_body(response.text[:_MAX_BODY], status=response.status_code, secret=secret)
    seconds = retry_after(response.headers)
    error.retry_after = error.retry_after if seconds is None else seconds
    return error


def from_body(body: str, *, status: int | None, secret: str = "") -> ProviderError:
    """Return what an error body means, be it JSON, HTML or plain text."""
    try:
        payload: Any = json.loads(body)
    except (ValueError, RecursionError):
        payload = None
    if isinstance(payload, dict | list) and payload:
        return from_payload(payload, status=status, secret=secret)
    text = body.strip()
    if text.startswith("<"):
        title = _TITLE.search(text)
        code = classify(status, (), _TAG.sub(" ", title[1] if title else text))
        named = f", {tidy(title[1], secret)}" if title and title[1].strip() else ""
        return _error(code, f"A web page came back instead of an answer (HTTP {status or 200}{named}).")
    return _error(classify(status, (), text), tidy(text, secret) or f"The provider answered HTTP {status}.")


def from_payload(payload: Any, *, status: int | None = None, secret: str = "") -> ProviderError:
    """Return what a provider's error object means.

    Args:
        status: the HTTP status, None for an error inside a stream, where the object's own code may stand in.
    """
    if isinstance(payload, list):
        payload = payload[0] if payload else {}
    found = payload.get("error") if isinstance(payload, dict) and payload.get("error") else payload
    fields: dict[str, Any] = found if isinstance(found, dict) else {"message": found}
    # The code says more than the type that it belongs to.
    kinds = [str(fields.get(name) or "").lower() for name in ("code", "status", "type")]
    if status is None:
        status = next((code for name in ("status_code", "code") if (code := _http_status(fields.get(name)))), None)
    message = _message(fields)
    shown = tidy(message, secret) or f"The provider reported an error{f' (HTTP {status})' if status else ''}."
    # How long a quota takes to fill up again stands beside the message, if anywhere.
    details = fields.get("details")
    beside = json.dumps(details) if isinstance(details, list) else ""
    error = _error(classify(status, kinds, f"{message} {beside}" if status == 429 else message), shown)
    if error.transient:
        error.retry_after = _wait_in(message, beside)
    return error


def classify(status: int | None, kinds: Sequence[str], text: str) -> ErrorClass:
    """Return the class of an error.

    Args:
        status: the HTTP status, None when there is none.
        kinds: the provider's codes and types, in lower case, the most telling first.
        text: the provider's words.
    """
    text = text.lower()
    if status == 402 or not _QUOTA_KINDS.isdisjoint(kinds):
        return "quota"
    if status in _QUOTA_STATUSES and _QUOTA_TEXT.search(text):
        return "rate_limit" if status == 429 and _SHORT_TEXT.search(text) else "quota"
    if status == 429:
        return "context_overflow" if _TOO_LARGE_TEXT.search(text) else "rate_limit"
    if status in _STATUS:
        return _STATUS[status]
    if status and status >= 500:
        return "overloaded"
    for kind in kinds:
        if kind in _KINDS:
            return _KINDS[kind]
        if status is None and kind in _STREAM_KINDS:
            return _STREAM_KINDS[kind]
    return _by_text(status, text)


def _by_text(status: int | None, text: str) -> ErrorClass:
    if status == 404:
        return "model_not_found"
    if status in (401, 403) and _RATE_TEXT.search(text):
        return "rate_limit"
    if status in (401, 403):
        return "content_filter" if status == 403 and _POLICY_TEXT.search(text) else "auth"
    rules: list[tuple[re.Pattern[str], ErrorClass]] = [
        (_CONTEXT_TEXT, "context_overflow"),
        (_POLICY_TEXT, "content_filter"),
        (_MODEL_TEXT, "model_not_found"),
    ]
    if status is None:
        rules += [(_RATE_TEXT, "rate_limit"), (_TIMEOUT_TEXT, "timeout"), (_OVERLOAD_TEXT, "overloaded")]
    rules.append((_AUTH_TEXT, "auth"))
    return next((code for pattern, code in rules if pattern.search(text)), "unknown")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a response asks us to wait: in milliseconds, in seconds, or until a date."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        value = headers.get(name, "").strip()
        try:
            seconds = float(value) / unit
        except ValueError:
            seconds = _until(value) if value else -1
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def _wait_in(message: str, beside: str) -> float | None:
    """Return the seconds to wait that an error names in its words or, as Google's, beside them."""
    if found := re.search(r'"retryDelay": "(\d+(?:\.\d+)?)s"', beside):
        return float(found[1])
    if found := _TRY_AGAIN_TEXT.search(message.lower()):
        hours, minutes, number, unit = found.groups()
        seconds = float(number or 0) / (1000 if unit == "ms" else 1)
        total = int(hours or 0) * 3600 + int(minutes or 0) * 60 + seconds
        return total or None
    return None


def _until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return -1
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def tidy(text: str, secret: str = "") -> str:
    """Return ``text`` as one short line in which nothing looks like a key."""
    text = " ".join(_without_page(text[:_MAX_BODY]).split())
    if len(secret) >= 6:
        text = text.replace(secret, "[key]")
    # Masked before it is cut, so that no half of a key is left; a match may keep its first group.
    for pattern in _SECRETS[:3]:
        text = pattern.sub("[key]", text)
    text = _SECRETS[3].sub(r"\1[key]", text)
    text = _SECRETS[4].sub("://[key]@", text)
    text = _SECRETS[5].sub("[key]", text)
    return text if len(text) <= _MAX_DETAIL else text[: _MAX_DETAIL - 1].rstrip() + "…"


def _without_page(text: str) -> str:
    """Return ``text`` with a web page in it, as a proxy puts it there, reduced to its title or its words."""
    page = _PAGE.search(text)
    if page is None:
        return text
    before, html = text[: page.start()], text[page.start() :]
    title = _TITLE.search(html)
    return f"{before} {_TAG.sub(' ', title[1] if title and title[1].strip() else html)}"


def _message(fields: dict[str, Any]) -> str:
    found = next((fields[key] for key in ("message", "detail", "error_description", "msg") if fields.get(key)), "")
    if isinstance(found, list):
        found = "; ".join(str(item.get("msg", item) if isinstance(item, dict) else item) for item in found)
    # A router says "Provider returned error" and puts the reason beside it.
    metadata = fields.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str) and raw.strip():
        raw = _upstream(raw)
        return f"{found}: {raw}" if found else raw
    return found if isinstance(found, str) else json.dumps(found)


def _upstream(raw: str) -> str:
    """Return the words of an error body that a router passes on."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    inner = body.get("error") or body if isinstance(body, dict) else None
    if isinstance(inner, dict):
        return _message(inner) or raw
    return inner if isinstance(inner, str) else raw


def _http_status(value: Any) -> int | None:
    try:
        code = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return code if 400 <= code < 600 else None


def _error(code: ErrorClass, detail: str) -> ProviderError:
    return ProviderError(code, detail, hint=HINTS.get(code, ""))
