"""Browsers that are subscribed at the same moment: nobody has too many, and each belongs to one person."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import UserManager
from django.db import connection

from approvals.models import PushSubscription
from approvals.reach import subscriptions
from approvals.reach.subscriptions import SUBSCRIPTIONS_MAX
from copilot.models import User
from tests.approvals.reaching import Browser, keys_set
from tests.turns import racing
from tests.turns.racing import guarded, meet, race

__all__ = ["keys_set"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("keys_set")]


@pytest.mark.scaled
@guarded
def test_two_at_once_do_not_both_take_the_last_place(
    guarded: bool, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer: its transactions never overlap")
    for number in range(SUBSCRIPTIONS_MAX - 1):
        Browser(f"{number}").subscribe(user)
    if not guarded:
        monkeypatch.setattr(UserManager, "select_for_update", lambda self, **_: self.all(), raising=False)
        monkeypatch.setattr(racing, "PATIENCE", 10)
    meet(monkeypatch, subscriptions, "_newest")
    outcomes = race(*[lambda name=name: Browser(name).subscribe(user) for name in ("one", "two")])
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    count = PushSubscription.objects.count()
    assert count == (SUBSCRIPTIONS_MAX if guarded else SUBSCRIPTIONS_MAX + 1)


def test_two_people_at_one_browser_at_once(user: User, other_user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser("one")
    if connection.vendor == "postgresql":
        meet(monkeypatch, subscriptions, "_known")
    outcomes = race(*[lambda person=person: browser.subscribe(person) for person in (user, other_user)])
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert PushSubscription.objects.count() == 1
