"""Keys that are known by the name of their service, what looks like one and is none, texts made to take long."""

from __future__ import annotations

import base64
import random
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from common.redaction import placeholder_of, redact_json, redact_text
from common.redaction_rules import Rule
from common.redaction_stream import StreamRedactor
from common.redaction_vendors import FORMS

ROOT = Path(__file__).resolve().parents[2]
UUID = "3f9a8b7c-6d5e-4f3a-2b1c-0d9e8f7a6b5c"
HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
WORD = "k4qzt7w2m9xb5vc8hj3rn6pd1lfgys0a"


def key_of(name: str) -> str:
    """Make up a key of a service."""
    plain = (WORD * 3)[:90]
    candidates = [UUID, f"su{WORD[:12]}", f"b_{plain[:44]}", f"00{plain[:40]}", f"{HEX[:32]}-us12"]
    candidates += [f"{HEX[:32]}-{HEX[:8]}-{HEX[8:16]}"]
    candidates += [text[:length] for text in (plain, HEX) for length in range(14, 91)]
    return next(text for text in candidates if FORMS[name].fullmatch(text))


@pytest.mark.parametrize("name", sorted(FORMS))
@pytest.mark.parametrize(
    "shape", ["{name}: {key}", '{NAME}_KEY = "{key}"', '("{Name}", "{key}")', "{name} =>\n'{key}'"]
)
def test_the_key_of_a_service_beside_its_name_is_hidden(name: str, shape: str) -> None:
    key = key_of(name)
    text = shape.format(name=name, NAME=name.upper(), Name=name.capitalize(), key=key)
    assert redact_text(text) == text.replace(key, placeholder_of(key))


@pytest.mark.parametrize("name", sorted(FORMS))
def test_the_key_of_a_service_under_its_name_in_json_is_hidden(name: str) -> None:
    key = key_of(name)
    for place in (name, name.upper(), f"{name}_api_key", f"{name.capitalize()}Key"):
        assert redact_json({place: key}).shown == {place: placeholder_of(key)}


@pytest.mark.parametrize("name", ["heroku_app_id", "cameraKit", "sentry_digest", "sha256", "id"])
def test_other_things_in_json_stay(name: str) -> None:
    value = {name: UUID, "b": {name: HEX}, "c": {name: HEX[:40]}}
    assert redact_json(value).shown == value


@pytest.mark.parametrize(
    "text",
    [
        f"heroku: the app {UUID}",
        f"heroku app id: {UUID}",
        f"heroku_app_id = {UUID}",
        f"sentry sha256: {HEX}",
        f"sentry-cli digest: {HEX}",
        f"Linear, commit {HEX[:32]}",
        f"linear checksum = {HEX[:32]}",
        f"cameraKit: {HEX[:40]}",
        f"fastly: {'a' * 32}",
        "twitter: retweetedbyeverybodyinthehouse",
        "discord = some_function_of_a_module_with_a_name",
        f"We post to Twitter, Discord and Etsy, as {UUID} does.",
        "Looker = DashboardElementFactory",
        "airtable: 2026.11.21-rc1",
    ],
)
def test_other_things_beside_the_name_of_a_service_stay(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "text", ['["--password", "hunt"]', "['--password','hunt']", '{\\"a\\": [\\"--password\\", \\"hunt\\"]}']
)
def test_the_argument_after_a_secret_option_is_hidden_in_a_text_too(text: str) -> None:
    assert "hunt" not in redact_text(text)


# --- what has no secret ------------------------------------------------------------------------


def many(seed: int, make: Callable[[random.Random], str], count: int) -> str:
    chance = random.Random(seed)
    return "\n".join(make(chance) for _ in range(count))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(many(1, lambda r: str(uuid.UUID(int=r.getrandbits(128))), 5000), id="uuids"),
        pytest.param(many(2, lambda r: r.randbytes(20).hex(), 5000), id="sha1"),
        pytest.param(many(3, lambda r: f"sha256:{r.randbytes(32).hex()}", 5000), id="sha256"),
        pytest.param(
            many(4, lambda r: f"![x](data:image/png;base64,{base64.b64encode(r.randbytes(30_000)).decode()})", 10),
            id="images",
        ),
        pytest.param(
            many(5, lambda r: f"integrity sha512-{base64.b64encode(r.randbytes(64)).decode()}", 2000), id="lock"
        ),
        pytest.param(many(6, lambda r: f"{r.uniform(-180, 180):.6f},{r.getrandbits(40)}", 5000), id="numbers"),
    ],
)
def test_ids_digests_and_images_are_left_alone(text: str) -> None:
    assert redact_text(text) == text


def test_our_own_code_and_pages_are_left_alone() -> None:
    """Prose, Python, JavaScript and HTML as people write them, about keys and tokens of all sorts."""
    changed = []
    for pattern in (
        "docs/*.md",
        "README.md",
        "chat/**/*.py",
        "copilot/**/*.py",
        "chat/**/*.js",
        "templates/**/*.html",
        "*/templates/**/*.html",
    ):
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            changed += [
                (path.name, line)
                for line, shown in zip(text.split("\n"), redact_text(text).split("\n"), strict=False)
                # A line that shows where a secret belongs is hidden, as it will be when there is one.
                if line != shown and "…" not in line
            ]
    assert changed == []


# --- how long it takes --------------------------------------------------------------------------

LENGTH = 20_000
#: Seconds of a processor. The square of the length takes twice as many at least, the length itself a tenth.
PATIENCE = 0.35
#: What begins something again and again.
REPEATED = [
    *(
        "token=",
        "token: ",
        'token="',
        "api_key=",
        "Bearer",
        "Bearer ",
        "--token ",
        '"--token", ',
        "heroku=",
        "heroku = ",
    ),
    *(
        "sc_a.",
        "eyJ.",
        "eyJ",
        "sk-",
        "hvs.",
        "-----BEGIN PRIVATE KEY-----\n",
        "://a:",
        "⟦hidden:",
        '\\"',
        "=",
        '"',
        " ",
    ),
]


def seconds(text: str) -> float:
    began = time.process_time()
    redact_text(text)
    return time.process_time() - began


def takes_long(text: str) -> bool:
    """Each time: a processor that does something else as well is slow only now and then."""
    return all(seconds(text) > PATIENCE for _ in range(3))


@pytest.mark.parametrize("behind", ["", "(", '"'])
def test_a_text_of_nothing_but_beginnings_takes_its_length_and_not_the_square(behind: str) -> None:
    texts = {part: (part * (LENGTH // len(part)) + behind) for part in REPEATED}
    assert [part for part, text in texts.items() if takes_long(text)] == []


def test_without_remembering_what_was_gone_through_it_takes_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    find = Rule.find
    monkeypatch.setattr(Rule, "find", lambda self, text, anchor, last=None: find(self, text, anchor))
    assert takes_long("heroku=" * (LENGTH // 7))


@pytest.mark.parametrize("part", ["token=", "heroku = ", "Bearer ", "sk-", '"--token", ', "a,b"])
def test_a_stream_forgets_what_it_has_decided_about(part: str) -> None:
    redactor = StreamRedactor()
    for delta in re.findall(".{1,4}", part * 2000):
        redactor.feed(delta)
        assert len(redactor._text) < 2000
