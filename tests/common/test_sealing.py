"""What is sealed can be read with the server's keys and with nothing else."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from common.sealing import SealBroken, derived_key, digest_of_arguments, seal, unseal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=JSON)
def test_what_is_sealed_comes_back_exactly(value: Any) -> None:
    opened = unseal(seal(value))
    assert opened == value
    assert list(opened) == list(value) if isinstance(value, dict) else True


def test_nothing_is_an_empty_text() -> None:
    assert seal(None) == ""
    assert unseal("") is None


def test_a_sealed_value_does_not_show_what_it_is() -> None:
    assert "hunter" not in seal({"password": "hunter22"})
    assert seal("same") != seal("same")


def test_it_opens_with_an_earlier_key(settings: Settings) -> None:
    sealed = seal("exact")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a new secret" * 5, [settings.SECRET_KEY]
    assert unseal(sealed) == "exact"


def test_it_does_not_open_without_its_key(settings: Settings) -> None:
    sealed = seal("exact")
    settings.SECRET_KEY = "a new secret" * 5
    with pytest.raises(SealBroken):
        unseal(sealed)


@pytest.mark.parametrize("text", ["x", "gAAAAA", "ünlesbar", "e30="])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(SealBroken):
        unseal(text)


def test_a_changed_value_does_not_open() -> None:
    sealed = seal("exact")
    with pytest.raises(SealBroken):
        unseal(sealed[:30] + ("A" if sealed[30] != "A" else "B") + sealed[31:])


def test_keys_of_different_purposes_have_nothing_in_common() -> None:
    assert derived_key("secret", "sealing") != derived_key("secret", "placeholders")


def test_equal_arguments_have_equal_digests_whatever_their_order() -> None:
    assert digest_of_arguments({"a": 1, "b": [{"c": "ü", "d": None}]}) == digest_of_arguments(
        {"b": [{"d": None, "c": "ü"}], "a": 1}
    )


@pytest.mark.parametrize("other", [{"a": "1"}, {"a": 2}, {"a": [1]}, {"b": 1}, {}, None, {"a": True}])
def test_other_arguments_have_another_digest(other: Any) -> None:
    assert digest_of_arguments({"a": 1}) != digest_of_arguments(other)


def test_the_digest_is_that_of_canonical_json() -> None:
    canonical = '{"a":1,"b":"ü"}'
    assert digest_of_arguments({"b": "ü", "a": 1}) == hashlib.sha256(canonical.encode()).hexdigest()
