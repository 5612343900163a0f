"""``manage.py issue_key``."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from copilot.models import User
from copilot.operators.permission import may_operate
from linking.keys import authenticate_key
from linking.models import PersonalKey

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("issue_key", *arguments, stdout=out)
    return out.getvalue()


def test_the_key_is_alone_on_the_last_line_and_works():
    secret = run("ada", "--label", "script").splitlines()[-1]
    found = authenticate_key(secret)
    assert found is not None
    assert found[0].username == "ada"
    assert found[1] == {"chat", "approve"}
    assert not found[0].has_usable_password()
    assert not found[0].is_staff
    assert PersonalKey.objects.get().label == "script"


def test_an_existing_user_is_kept(user):
    run("ada")
    assert User.objects.get().has_usable_password()


def test_operator_makes_staff_that_may_operate_turns(user):
    secret = run("ada", "--scopes", "chat, operator").splitlines()[-1]
    user = User.objects.get(pk=user.pk)
    assert user.is_staff
    assert may_operate(user)
    assert not user.is_superuser
    assert authenticate_key(secret)[1] == {"chat", "operator"}


@pytest.mark.parametrize(
    "arguments", [("ada", "--scopes", "chat,root"), ("ada", "--scopes", ","), ("a b",), ("",), ("x" * 151,)]
)
def test_a_refusal_is_one_line_and_leaves_nothing(arguments):
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    assert "\n" not in str(refused.value)
    assert not User.objects.exists()


def test_a_deactivated_user_gets_no_key(make_user):
    make_user(username="ada", is_active=False)
    with pytest.raises(CommandError, match="deactivated"):
        run("ada")
    assert not PersonalKey.objects.exists()
