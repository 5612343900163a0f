"""Secrets are hidden wherever they occur, ordinary text is left alone, and the hidden can be put back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from common.known_secrets import known_secrets
from common.redaction import UnknownPlaceholder, placeholder_of, redact_json, redact_text, restore
from common.redaction_names import is_secret_name
from common.redaction_rules import RULES, Rule

SECRET = "Zx8Qm2Lr5Tn7Vb1Wc4Yd"
LOOKALIKE = "⟦hidden:0123abcd⟧"

ORDINARY = [
    "The token is in the post; a secret is something that nobody tells.",
    "password: ",
    "Password: must be at least eight characters long.",
    "The password: required. The token: optional.",
    "max_tokens=4096, token_count: 12, prompt_tokens: 10240, tokens: 5000000000000000",
    "secretary: Alice, keyboard: qwertz123, monkey=banana1, turkey: 12 kg",
    "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "turn 0198f1c2-7a3b-7c4d-8e5f-0123456789ab failed",
    "![dot](data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9aw)",
    "password = get_password(user)",
    "token = request.headers['x-token']",
    "api_key = os.environ['OPENAI_API_KEY']",
    "password: str, token: string, secret: Optional[str], auth: http2.Auth",
    "login(username=username, password=password, token=new_token)",
    "PWD=/workspace OLDPWD=/tmp",
    "PWD=/home/bob/work OLDPWD=/home/bob private_key: /etc/ssl/private/server.key",
    "export TOKEN=$GITHUB_TOKEN PASSWORD=${DB_PASSWORD} API_KEY={{ api_key }}",
    "api_key=your-api-key-here, token=<token>, password=********",
    "public_key: AAAAB3NzaC1yc2EAAAADAQABAAABgQ, primary_key=12345678, cache_key = user42",
    "http://localhost:8080/a, https://example.com:443/@bob, mailto:bob@example.com, ssh://git@example.com:22/x",
    "Basic knowledge, the Bearer certificates, basic authentication",
    "Das Passwort: siehe oben. Le mot de passe : voir plus haut.",
    "next_page_token: CAESBgoEdGVzdA",
]

SECRETS = [
    f"password={SECRET}",
    f"PASSWORD: {SECRET}",
    f'"password": "{SECRET}"',
    f"'api-key' => '{SECRET}'",
    f'{{\\"client_secret\\": \\"{SECRET}\\"}}',
    f"export DB_PASSWORD={SECRET}; run",
    f"curl 'https://x.example/?access_token={SECRET}&page=2'",
    f"API key: {SECRET}",
    f"**Password:** `{SECRET}`",
    f"AccountKey={SECRET};EndpointSuffix=x",
    f"Authorization: Bearer {SECRET}",
    f"authorization: token {SECRET}",
    f"x-api-key: {SECRET}",
    f"redis://:{SECRET}@redis:6379/0",
    f"postgresql+psycopg://app:{SECRET}@db/app",
    f"passphrase = {SECRET}",
    f"my_token := {SECRET}",
    f"aws_secret_access_key = {SECRET}",
    f"clientSecret: {SECRET},",
    f"first line\nsecret_key: {SECRET}\nlast line",
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_finds_its_secrets_and_leaves_others_alone(rule: Rule) -> None:
    text, secret = rule.example
    assert redact_text(text) == text.replace(secret, placeholder_of(secret))
    assert redact_text(rule.other) == rule.other


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize("text", SECRETS)
def test_a_value_beside_the_name_of_a_secret_is_hidden(text: str) -> None:
    assert redact_text(text) == text.replace(SECRET, placeholder_of(SECRET))


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter",
        "password: hunter22\n",
        "pwd: 12345678",
        "DB_PASSWORD=corvus",
        '["psql", "--password", "corvus"]',
        '{"password": 12345678}',
    ],
)
def test_a_plain_word_can_be_a_password(text: str) -> None:
    assert redact_text(text) != text


@pytest.mark.parametrize("name", [
    "password", "Password2", "passwordConfirmation", "newPassword", "db_password", "PGPASSWORD", "secret",
    "clientSecret", "client-secret", "API_KEY", "apiKey", "x-api-key", "openai_api_key", "access_token", "token",
    "refreshToken", "authorization", "private_key", "aws_secret_access_key", "credentials", "Set-Cookie", "passwd",
])  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", [
    "max_tokens", "token_count", "secretary", "tokenizer", "key", "public_key", "primary_key", "keyboard",
    "author", "next_page_token", "password_hint", "secret_name", "token_type", "monkey", "authority", "passenger",
    "", "42", "maxTokens", "cache_key", "tokens", "authentication", "cookies_accepted",
])  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


def test_json_keeps_its_structure_and_all_that_is_no_secret() -> None:
    value = {
        "password": "a",
        "token": None,
        "secrets": ["b", 1],
        "max_tokens": 5,
        "headers": {"Authorization": "Bearer c", "Accept": "*/*"},
        "env": [{"name": "DB_PASSWORD", "value": "d"}, {"name": "HOME", "value": "/root"}],
        "command": f"curl -u bob -H 'x-api-key: {SECRET}'",
        "api_key": "",
    }
    found = redact_json(value)

    assert found.shown == {
        **value,
        "password": placeholder_of("a"),
        "secrets": [placeholder_of("b"), 1],
        "headers": {"Authorization": placeholder_of("Bearer c"), "Accept": "*/*"},
        "env": [{"name": "DB_PASSWORD", "value": placeholder_of("d")}, {"name": "HOME", "value": "/root"}],
        "command": f"curl -u bob -H 'x-api-key: {placeholder_of(SECRET)}'",
    }
    assert sorted(found.hidden.values()) == sorted(["a", "b", "Bearer c", "d", SECRET])


PIECES = st.sampled_from([
    SECRET, LOOKALIKE, "⟦hidden:", "⟧", "password=", "token: ", '"', "\n", " ", "x", "https://bob:", "@", "ghp_",
    "sk-", "hf_", "Bearer ", "⟦", placeholder_of("a"),
])  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=8).map("".join)
NAMES = st.sampled_from(
    [f"{SECRET}", "token=Zx8Qm2Lr5Tn7Vb", "password", "name", "value", "key", "api_key", "text", LOOKALIKE]
)
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers() | st.just("--password"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@hypothesis_settings(max_examples=300, deadline=None)
@given(value=VALUES)
@example(value=LOOKALIKE)
@example(value={"password": LOOKALIKE})
@example(value=f"password={LOOKALIKE}")
@example(value=f"⟦hidden:{SECRET}⟧")
def test_what_was_hidden_can_be_put_back(value: Any) -> None:
    before = copy.deepcopy(value)
    found = redact_json(value)

    assert restore(found.shown, found.hidden) == before == value


def test_numbers_and_options_beside_the_name_of_a_secret_are_hidden_and_stay_what_they_are() -> None:
    value = {
        "password": 12345678,
        "pin_code": 1234,
        "api_key": 9876543210,
        "max_tokens": 100,
        "token": 7,
        "secret": True,
        "passwd": None,
        "env": [{"name": "DB_PASSWORD", "value": 4711.25}],
        "argv": [
            "mysql",
            "--password",
            "hunter",
            "--token",
            "--verbose",
            "--max-tokens",
            "9",
            "--api-key=x1y2z3w4",
        ],
        "secrets": ["-dash"],
    }
    found = redact_json(value)

    assert restore(found.shown, found.hidden) == value
    assert found.shown == {
        **value,
        "password": placeholder_of("12345678"),
        "api_key": placeholder_of("9876543210"),
        "env": [{"name": "DB_PASSWORD", "value": placeholder_of("4711.25")}],
        "argv": [
            *("mysql", "--password", placeholder_of("hunter"), "--token", "--verbose", "--max-tokens", "9"),
            f"--api-key={placeholder_of('x1y2z3w4')}",
        ],
        "secrets": [placeholder_of("-dash")],
    }


def test_a_number_and_its_words_are_told_apart() -> None:
    value = [{"password": "12345678"}, {"password": 12345678}, {"password": 12345678.0}]
    found = redact_json(value)

    restored = restore(found.shown, found.hidden)
    assert [type(each["password"]) for each in restored] == [str, int, float]
    assert restored == value


KEY = "ghp_" + "Zk3v9QmX7rT2bNw8LsY4cHd6JfG1pA5eUoIx"


def test_secrets_in_keys_are_hidden_and_put_back() -> None:
    value = {KEY: {"uses": 3}, f"{KEY}-b": {KEY: 1}, LOOKALIKE: 2, "plain": 4}
    found = redact_json(value)

    assert KEY.removeprefix("ghp_") not in str(found.shown)
    assert list(found.shown)[-1] == "plain"
    assert restore(found.shown, found.hidden) == value


def test_two_keys_that_stand_for_the_same_are_refused() -> None:
    found = redact_json({KEY: 1})
    with pytest.raises(UnknownPlaceholder):
        restore({**found.shown, KEY: 2}, found.hidden)


def test_secrets_whose_placeholders_collide_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.redaction.placeholder_of", lambda secret, again=0: f"⟦hidden:0000000{again}⟧")
    value = [{"password": "a"}, {"password": "b"}, {"password": "a"}]
    found = redact_json(value)

    assert restore(found.shown, found.hidden) == value
    assert len(found.hidden) == 2


def test_a_placeholder_that_stands_for_nothing_is_refused() -> None:
    found = redact_json({"password": "a"})
    with pytest.raises(UnknownPlaceholder):
        restore({"command": LOOKALIKE}, found.hidden)


def test_a_placeholder_depends_on_the_servers_key(settings: Settings) -> None:
    before = placeholder_of(SECRET)
    settings.SECRET_KEY = "another " * 8
    assert placeholder_of(SECRET) != before


@pytest.mark.parametrize("text", [*SECRETS, *(rule.example[0] for rule in RULES)])
def test_what_was_redacted_once_stays_as_it_is(text: str) -> None:
    assert redact_text(redact_text(text)) == redact_text(text)


def test_the_servers_own_secrets_are_hidden_wherever_they_occur(settings: Settings) -> None:
    settings.OPENAI_API_KEY = "a plain looking key"
    settings.COPILOT_PROVIDERS = {"x": {"api_key": "another plain one"}, "y": {}, "z": "odd"}
    settings.REDIS_URL = "redis://:p%40ssw0rd%2F1@redis:6379/0"
    for secret in (
        "a plain looking key",
        "another plain one",
        "p@ssw0rd/1",
        "p%40ssw0rd%2F1",
        settings.SECRET_KEY,
    ):
        assert redact_text(f"it is{secret}, or") == f"it is{placeholder_of(secret)}, or"


def test_what_is_short_or_everybodys_is_no_secret_of_the_server(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OPENAI_API_KEY, settings.ANTHROPIC_API_KEY = "short", ""
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "postgres")
    assert not {"short", "", "postgres"} & set(known_secrets())
