"""Every failure gets one class, one plain sentence, and no secret."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest

from copilot.providers import errors
from copilot.providers.base import TRANSIENT


def body(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("status", "payload", "code"),
    [
        (401, body("Incorrect API key provided", code="invalid_api_key"), "auth"),
        (401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key"}}, "auth"),
        (403, body("Not allowed", type="permission_error"), "auth"),
        (403, body("Input flagged by moderation"), "content_filter"),
        (403, body("No access to the model", code="model_not_found", type="permission_error"), "model_not_found"),
        (403, body("You have exceeded a secondary rate limit"), "rate_limit"),
        (401, body("Too many requests with this key"), "rate_limit"),
        (403, body("x", type="usage_limit_reached"), "quota"),
        (404, body("The model `x` does not exist"), "model_not_found"),
        (404, {"detail": "Not Found"}, "model_not_found"),
        (400, body("x is not a valid model ID"), "model_not_found"),
        (402, body("This request requires more credits"), "quota"),
        (402, {"detail": "Payment required"}, "quota"),
        (429, body("You exceeded your current quota", code="insufficient_quota"), "quota"),
        (429, body("Rate limit reached for m", code="rate_limit_exceeded"), "rate_limit"),
        (429, {"message": "Too many"}, "rate_limit"),
        (429, body("Request too large for m: Limit 30000, Requested 31538", code="rate_limit_exceeded"),
         "context_overflow"),
        (400, body("Your credit balance is too low", type="invalid_request_error"), "quota"),
        (400, body("prompt is too long: 219898 tokens > 200000 maximum"), "context_overflow"),
        (400, body("This model's maximum context length is 131072 tokens"), "context_overflow"),
        (400, body("x", code="context_length_exceeded"), "context_overflow"),
        (413, body("Request exceeds the maximum size", type="request_too_large"), "context_overflow"),
        (400, body("Rejected by our safety system", code="content_policy_violation"), "content_filter"),
        (400, body("The response was filtered due to content management policy", code="content_filter"),
         "content_filter"),
        (400, body("API key not valid. Please pass a valid API key."), "auth"),
        (400, body("Unsupported parameter: 'max_tokens' is not supported with this model."), "unknown"),
        (400, body("max_tokens must be greater than thinking.budget_tokens"), "unknown"),
        (400, body("'messages[0].role' does not support 'developer' with this model."), "unknown"),
        (422, {"detail": [{"msg": "field required"}]}, "unknown"),
        (408, body("slow"), "timeout"),
        (504, body("slow"), "timeout"),
        (500, body("The server had an error"), "overloaded"),
        (502, {}, "overloaded"),
        (503, body("x"), "overloaded"),
        (529, body("Overloaded", type="overloaded_error"), "overloaded"),
        (None, body("Overloaded", type="overloaded_error"), "overloaded"),
        (None, body("Internal server error", type="api_error"), "overloaded"),
        (None, body("x", code=429), "rate_limit"),
        (None, body("x", code="401"), "auth"),
        (None, body("x", code=402), "quota"),
        (None, body("Request timed out"), "timeout"),
        (None, body("something else"), "unknown"),
        (None, {"error": "prompt is too long"}, "context_overflow"),
        (None, [body("You exceeded your current quota", code=429)], "quota"),
    ],
)  # fmt: skip
def test_classes(status: int | None, payload: Any, code: str) -> None:
    error = errors.from_payload(payload, status=status)
    assert error.code == code
    assert error.transient == (code in TRANSIENT)
    assert error.detail
    assert error.hint or code == "unknown"


def google(quota: str, delay: str) -> dict[str, Any]:
    """The error of a quota of Google's, which are all worded alike."""
    message = "You exceeded your current quota, please check your plan and billing details."
    about = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    return body(message, code=429, status="RESOURCE_EXHAUSTED", details=about)


@pytest.mark.parametrize(
    ("quota", "code", "seconds"),
    [
        ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "rate_limit", 34.5),
        ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quota", None),
    ],
)
def test_a_quota_that_fills_up_within_a_minute_is_a_rate(quota: str, code: str, seconds: float | None) -> None:
    error = errors.from_payload(google(quota, "34.5s"), status=429)
    assert (error.code, error.retry_after) == (code, seconds)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 429, None])
@pytest.mark.parametrize(
    "words",
    [
        "Insufficient credits. Add more using the billing page.",
        "Rate limit reached: your credit balance is too low",
        "Unauthorized: all credits exhausted",
        "You can only afford 120 tokens; 4096 were asked for",
        "quota_exceeded",
        "Your plan limit reached its end; authentication is fine",
        "usage limit exceeded",
        "You have reached the limit of messages of this model",
        "You have used up your usage for today",
    ],
)
def test_missing_credit_comes_before_rates_and_keys_whatever_the_status(words: str, status: int | None) -> None:
    assert errors.from_payload(body(words), status=status).code == "quota"
    assert errors.from_payload(body(words, type="authentication_error"), status=status).code == "quota"


@pytest.mark.parametrize(
    "words",
    [
        "connect ECONNREFUSED 127.0.0.1:4290",
        "request 401429404 failed",
        "file not found: notes.txt",
        "host not found",
        "the plan of the author has no limit that could be reached",
    ],
)
def test_numbers_and_common_words_are_no_classes(words: str) -> None:
    assert errors.from_payload(body(words)).code == "unknown"


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Rate limit reached. Please try again in 7.66s. Visit the console.", 7.66),
        ("Rate limit reached, please try again in 433ms.", 0.433),
        ("Rate limit reached, please try again in 1m26.4s.", 86.4),
        ("Rate limit reached, try again in 2h3m1s", 7381.0),
        ("Too many requests: retry after 20 seconds", 20.0),
        ("Too many requests: try again in 2 minutes.", 120.0),
        ("Too many requests: try again in a while", None),
        ("Too many requests", None),
    ],
)
def test_a_wait_that_is_only_said_counts(words: str, seconds: float | None) -> None:
    assert errors.from_payload(body(words), status=429).retry_after == seconds
    given = httpx2.Response(429, json=body(words), headers={"retry-after": "3"})
    assert errors.from_response(given).retry_after == 3, "the header says it best"


def test_an_error_that_does_not_pass_has_no_wait() -> None:
    assert errors.from_payload(body("Bad key, try again in 5s"), status=401).retry_after is None


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        ("<html><head><title>504 Gateway Time-out</title></head><body>x</body></html>", "504 Gateway Time-out"),
        (
            "upstream: <!DOCTYPE html><html><body><h1>Bad</h1> <p>gateway</p></body></html>",
            "upstream: Bad gateway",
        ),
        ("if a < b then use <b>", "if a < b then use <b>"),
    ],
)
def test_a_page_inside_an_error_is_reduced_to_its_words(words: str, detail: str) -> None:
    assert errors.from_payload(body(words), status=504).detail == detail


@pytest.mark.parametrize("status", [200, 401, 403, 404, 429, 500, 502, 520, 524])
def test_a_page_is_one_sentence_with_any_status(status: int) -> None:
    page = "<!DOCTYPE html>\n<html><body><script>alert(1)</script><h1>Sorry</h1></body></html>"
    error = errors.from_body(page, status=status)
    assert error.detail == f"A web page came back instead of an answer (HTTP {status})."
    assert error.transient == (status == 429 or status >= 500)


def test_an_error_that_a_router_passes_on_is_read() -> None:
    raw = (
        '{"error": {"message": "This model\'s maximum context length is 8192 tokens", "type": "BadRequestError"}}'
    )
    error = errors.from_payload(body("Provider returned error", code=400, metadata={"raw": raw}), status=400)
    assert error.code == "context_overflow"
    assert error.detail == "Provider returned error: This model's maximum context length is 8192 tokens"


def test_the_upstream_reason_of_a_router_is_shown() -> None:
    error = errors.from_payload(body("Provider returned error", code=400, metadata={"raw": "prompt is too long"}))
    assert error.code == "context_overflow"
    assert "prompt is too long" in error.detail


def test_an_html_page_becomes_one_sentence() -> None:
    page = (
        "<html><head><title>502 Bad\nGateway</title><style>p {}</style></head><body><h1>nginx</h1></body></html>"
    )
    error = errors.from_body(page, status=502)
    assert (error.code, error.detail) == (
        "overloaded",
        "A web page came back instead of an answer (HTTP 502, 502 Bad Gateway).",
    )


@pytest.mark.parametrize(("text", "detail"), [("  upstream\n gone ", "upstream gone"), ("", "answered HTTP 503")])
def test_plain_text_and_nothing(text: str, detail: str) -> None:
    error = errors.from_body(text, status=503)
    assert error.code == "overloaded"
    assert detail in error.detail


@pytest.mark.parametrize(
    "leak",
    [
        "Incorrect API key provided: sk-proj-abcdef1234567890",
        "Authorization: Bearer abcdef1234567890",
        "key gsk_abcdef1234567890 expired",
        "AIzaabcdef1234567890 is not valid",
        "GET https://x.example/v1?key=abcdef1234567890&b=1",
        '{"api_key": "abcdef1234567890"}',
        "http://user:abcdef1234567890@proxy refused",
        "token " + "abcdef1234567890" * 4,
        "x " * 140 + "sk-abcdef1234567890" * 3,
    ],
)
def test_nothing_that_looks_like_a_key_is_shown(leak: str) -> None:
    detail = errors.from_payload(body(leak), status=400).detail
    assert "abcdef12" not in detail
    assert len(detail) <= 300


def test_the_key_in_use_is_not_shown_whatever_it_looks_like() -> None:
    assert "hunter22" not in errors.from_payload(body("no user hunter22"), status=401, secret="hunter22").detail


def test_words_that_are_no_keys_stay() -> None:
    message = (
        "The model `meta-llama/llama-4-maverick-17b-128e` has no risk-assessment tool; request req_011CVjxiYz."
    )
    assert errors.tidy(message) == message


def headers(**values: str) -> httpx2.Headers:
    return httpx2.Headers({name.replace("_", "-"): value for name, value in values.items()})


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, None),
        ({"retry_after": "20"}, 20),
        ({"retry_after": "0"}, 0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after_ms": "250", "retry_after": "1"}, 0.25),
        ({"retry_after": "-3"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
    ],
)
def test_retry_after(given: dict[str, str], seconds: float | None) -> None:
    assert errors.retry_after(headers(**given)) == seconds


def test_retry_after_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    seconds = errors.retry_after(headers(retry_after=date))
    assert seconds is not None
    assert 90 < seconds <= 100


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (httpx2.ConnectTimeout("x"), "timeout"),
        (httpx2.ReadTimeout("x"), "timeout"),
        (httpx2.ConnectError("refused"), "network"),
        (httpx2.ReadError("reset"), "network"),
        (httpx2.RemoteProtocolError("cut"), "network"),
        (httpx2.UnsupportedProtocol("no scheme"), "not_configured"),
        (RuntimeError("who knows"), "unknown"),
    ],
)
def test_exceptions(error: Exception, code: str) -> None:
    assert errors.from_exception(error).code == code
    wrapped = RuntimeError("Connection error.")
    wrapped.__cause__ = error
    assert errors.from_exception(wrapped).code == code
