"""Personal keys: issuing, scopes, revoking, recognising."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from django.utils import timezone

from common.auth import Caller, caller_of_key
from common.db import transact
from common.errors import Busy, Forbidden, Invalid, NotAuthenticated, NotFound
from common.ids import new_id
from linking import keys
from linking.keys import authenticate_key, issue_key, issue_key_as, revoke_key
from linking.models import PersonalKey

pytestmark = pytest.mark.django_db


def test_an_issued_key_stands_for_its_user_and_scopes(user):
    key, secret = issue_key(user=user, label="script", scopes=["approve", "chat", "chat"])
    assert secret.startswith("hf_")
    assert len(secret) == 46
    assert authenticate_key(secret) == (user, frozenset({"chat", "approve"}), key.pk)
    assert key.scopes == ["chat", "approve"]


def test_only_the_hash_of_the_secret_is_stored(user):
    key, secret = issue_key(user=user)
    stored = PersonalKey.objects.values_list().get(pk=key.pk)
    assert secret not in map(str, stored)
    assert hashlib.sha256(secret.encode()).hexdigest() in stored
    assert secret.startswith(key.prefix)
    assert len(key.prefix) < 10


@pytest.mark.parametrize("scopes", [["chat", "everything"], [], [""]])
def test_unknown_or_missing_scopes_are_refused(user, scopes):
    with pytest.raises(Invalid):
        issue_key(user=user, scopes=scopes)
    assert not PersonalKey.objects.exists()


def test_operator_is_for_staff_only(user, make_user):
    with pytest.raises(Forbidden):
        issue_key(user=user, scopes=["operator"])
    _, secret = issue_key(user=make_user(is_staff=True), scopes=["operator"])
    assert caller_of_key(secret).may("operator")


def test_an_operator_key_of_somebody_who_left_the_staff_is_no_operator(make_user):
    staff = make_user(is_staff=True)
    _, secret = issue_key(user=staff, scopes=["chat", "operator"])
    staff.is_staff = False
    staff.save(update_fields=["is_staff"])
    caller = caller_of_key(secret)
    assert not caller.may("operator")
    assert caller.may("chat")


def test_a_key_cannot_make_one_that_may_do_more(user):
    chat_only = Caller(user=user, scopes=frozenset({"chat"}), key_id=new_id())
    with pytest.raises(Forbidden):
        issue_key_as(caller=chat_only, scopes=["chat", "approve"])
    assert issue_key_as(caller=chat_only)[0].scopes == ["chat"]
    assert issue_key_as(caller=Caller(user=user))[0].scopes == ["chat", "approve"]


def test_a_revoked_key_is_nobody(user):
    key, secret = issue_key(user=user)
    revoke_key(user=user, key_id=key.pk)
    assert authenticate_key(secret) is None
    with pytest.raises(NotFound):
        revoke_key(user=user, key_id=key.pk)


def test_somebody_elses_key_cannot_be_revoked(user, other_user):
    key, secret = issue_key(user=user)
    with pytest.raises(NotFound):
        revoke_key(user=other_user, key_id=key.pk)
    assert authenticate_key(secret) is not None


def test_a_deactivated_users_key_is_nobody(user):
    _, secret = issue_key(user=user)
    user.is_active = False
    user.save(update_fields=["is_active"])
    assert authenticate_key(secret) is None


@pytest.mark.parametrize("secret", ["", "hf_", "hf_wrong", "hfb_" + "x" * 43, "hf_" + "x" * 5000, "hf_\udcff"])
def test_what_is_no_key_is_nobody(user, secret):
    issue_key(user=user)
    assert authenticate_key(secret) is None
    with pytest.raises(NotAuthenticated):
        caller_of_key(secret)


def test_a_key_costs_one_query_and_notes_its_use_once_a_minute(user, django_assert_num_queries):
    key, secret = issue_key(user=user)
    authenticate_key(secret)
    key.refresh_from_db()
    first = key.last_used_at
    assert first is not None
    with django_assert_num_queries(1):  # the key with its user
        authenticate_key(secret)
    PersonalKey.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    authenticate_key(secret)
    key.refresh_from_db()
    assert key.last_used_at >= first


def test_a_busy_database_does_not_fail_a_request_that_only_notes_a_use(user, monkeypatch):
    _, secret = issue_key(user=user)

    @transact
    def busy(key_id):
        raise Busy

    monkeypatch.setattr(keys, "_write_last_used", busy)
    assert authenticate_key(secret) is not None
