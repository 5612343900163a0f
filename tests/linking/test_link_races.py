"""Two at once: over one token, over one target, over the last try."""

from __future__ import annotations

from collections import Counter

import pytest
from django.test import Client

from common.errors import Busy, Gone, Invalid, RateLimited
from linking import bot_rate, link_tokens
from linking.link_tokens import Target, confirm_link_token, issue_link_token
from linking.links import unlink
from linking.models import LinkToken, ServerLink
from linking.models.tokens import LinkTokenQuerySet
from tests.linking.conftest import wrong
from tests.turns.racing import guarded, race

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 100


@pytest.fixture
def no_guard(monkeypatch):
    """Return a function that lets any token be used, whatever has become of it."""
    return lambda: monkeypatch.setattr(LinkTokenQuerySet, "pending", lambda self, now: self.all())


@pytest.fixture
def meanwhile(monkeypatch):
    """Return a function that has something happen between looking at a token and using it, once."""

    def arrange(act):
        compare, todo = link_tokens.constant_time_compare, [act]

        def compared(*values):
            if todo:
                todo.pop()()
            return compare(*values)

        monkeypatch.setattr(link_tokens, "constant_time_compare", compared)

    return arrange


def confirm(user, issued, code=None):
    return confirm_link_token(user=user, token=issued.token, kind="server", code=code or issued.code)


def clients(*users):
    made = [Client() for _ in users]
    for client, user in zip(made, users, strict=True):
        client.force_login(user)
    return made


def test_two_people_confirm_at_once(bot, user, other_user):
    """One links, the other is told that the token was used, and no token is used without a link."""
    both = clients(user, other_user)
    outcomes = Counter()
    for number in range(ROUNDS):
        issued = issue_link_token(bot=bot, target=Target(kind="server", platform_id=f"s{number}"))
        body = {"kind": "server", "code": issued.code}

        def confirm_by(client, path=f"/api/v1/link-tokens/{issued.token}/confirm", body=body):
            return client.post(path, body, content_type="application/json").status_code

        outcomes[tuple(sorted(race(*(lambda each=each: confirm_by(each) for each in both))))] += 1
    assert outcomes == {(200, 410): ROUNDS}
    links = set(ServerLink.objects.values_list("pk", flat=True))
    assert len(links) == ROUNDS
    assert set(LinkToken.objects.values_list("link_id", flat=True)) == links


def test_one_person_confirms_twice_at_once(bot, user):
    for number in range(10):
        issued = issue_link_token(bot=bot, target=Target(kind="server", platform_id=f"s{number}"))
        outcomes = race(lambda issued=issued: confirm(user, issued), lambda issued=issued: confirm(user, issued))
        assert sorted(type(each).__name__ for each in outcomes) == ["Gone", "ServerLink"]
    assert ServerLink.objects.count() == 10


@guarded
def test_a_token_used_meanwhile_makes_no_second_link(bot, user, other_user, issue, no_guard, meanwhile, guarded):
    issued = issue()
    meanwhile(lambda: unlink(user=other_user, link_id=confirm(other_user, issued).pk))
    if not guarded:
        no_guard()
        assert confirm(user, issued).owner == user
        return
    with pytest.raises(Gone):
        confirm(user, issued)
    assert not ServerLink.objects.exists()


@guarded
def test_a_token_replaced_meanwhile_makes_no_link(user, issue, no_guard, meanwhile, guarded):
    issued = issue()
    meanwhile(issue)
    if not guarded:
        no_guard()
        with pytest.raises(Busy):  # by the constraint, the net below the guard
            confirm(user, issued)
        return
    with pytest.raises(Gone):
        confirm(user, issued)
    assert not ServerLink.objects.exists()


@guarded
def test_the_last_tries_are_counted_one_by_one(user, issue, no_guard, meanwhile, guarded):
    issued = issue()

    def waste():
        for _ in range(5):
            with pytest.raises(Invalid):
                confirm(user, issued, wrong(issued.code))

    meanwhile(waste)
    if not guarded:
        no_guard()
        assert confirm(user, issued).owner == user
        return
    with pytest.raises(Gone):
        confirm(user, issued)


def test_many_wrong_codes_at_once_are_five_at_most(user, issue):
    issued = issue()
    outcomes = race(*[lambda: confirm(user, issued, wrong(issued.code))] * 8)
    assert Counter(type(each) for each in outcomes) == {Invalid: 5, Gone: 3}
    assert LinkToken.objects.get().wrong_codes == 5


def test_two_tokens_asked_for_at_once_leave_one_that_can_be_used(bot, user, issue):
    for _ in range(10):
        outcomes = race(issue, issue)
        assert all(isinstance(each, link_tokens.Issued) for each in outcomes), outcomes
        assert LinkToken.objects.open().count() == 1


@guarded
def test_the_last_call_of_a_minute_is_one_bots_one_call(bot, settings, monkeypatch, guarded):
    settings.BOT_RATE = 1
    if not guarded:
        monkeypatch.setattr(bot_rate, "_count", lambda rate: lambda bot_id: 1)
    outcomes = race(*[lambda: bot_rate.count_call(bot.pk)] * 3)
    refused = [each for each in outcomes if isinstance(each, RateLimited)]
    assert len(refused) == (2 if guarded else 0)
