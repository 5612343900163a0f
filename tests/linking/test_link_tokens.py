"""Link tokens: issued, looked at, confirmed once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from common.errors import Conflict, Gone, Invalid, NotFound
from linking.bots import switch_bot
from linking.link_tokens import (
    Target,
    TokenStatus,
    confirm_link_token,
    issue_link_token,
    look_at_link_token,
    status_of_token,
)
from linking.links import link_of, unlink
from linking.models import LinkToken, ServerLink, UserLink
from tests.linking.conftest import PRIVATE, SERVER, SERVER_ID, USER_ID, wrong

pytestmark = pytest.mark.django_db


def confirm(user, issued, kind="server", code=None):
    return confirm_link_token(user=user, token=issued.token, kind=kind, code=issued.code if code is None else code)


def test_a_confirmed_token_is_a_link(bot, user, issue):
    issued = issue()
    link = confirm(user, issued)
    assert isinstance(link, ServerLink)
    link.refresh_from_db()
    assert (link.bot, link.owner, link.platform_id, link.platform_name) == (
        bot,
        user,
        SERVER_ID,
        "Kite Builders",
    )
    assert (link.asked_by, link.asked_by_name, link.allows_personal) == (USER_ID, "ada_k", False)
    assert link_of(bot=bot, kind="server", platform_id=SERVER_ID) == link


def test_kinds_are_independent(bot, user, issue):
    confirm(user, issue())
    assert link_of(bot=bot, kind="user", platform_id=USER_ID) is None
    assert link_of(bot=bot, kind="user", platform_id=SERVER_ID) is None
    confirm(user, issue(PRIVATE), kind="user")
    assert link_of(bot=bot, kind="user", platform_id=USER_ID).speaks_for_owner(USER_ID)
    assert link_of(bot=bot, kind="server", platform_id=USER_ID) is None


def test_an_empty_identity_speaks_for_nobody(bot, user, issue):
    link = confirm(user, issue(Target(kind="server", platform_id="s")))
    assert not link.speaks_for_owner("")
    assert not link.speaks_for_owner("s")


def test_neither_token_nor_code_is_stored(issue):
    issued = issue()
    stored = str(LinkToken.objects.values_list().get())
    assert issued.token not in stored
    assert f"'{issued.code}'" not in stored
    assert (len(issued.token), len(issued.code)) == (43, 6)


def test_a_token_lasts_half_an_hour(issue, settings):
    assert abs((issue().expires_at - timezone.now()).total_seconds() - 1800) < 5
    settings.LINK_TOKEN_SECONDS = 60
    assert abs((issue().expires_at - timezone.now()).total_seconds() - 60) < 5


def test_a_used_token_is_over(bot, user, other_user, issue):
    issued = issue()
    confirm(user, issued)
    for person in (user, other_user):
        with pytest.raises(Gone, match="used already"):
            confirm(person, issued)
    with pytest.raises(Gone):
        look_at_link_token(issued.token)
    assert status_of_token(bot=bot, token=issued.token) is TokenStatus.LINKED
    assert ServerLink.objects.count() == 1


def test_an_expired_token_is_over(bot, user, issue):
    issued = issue()
    LinkToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for act in (lambda: look_at_link_token(issued.token), lambda: confirm(user, issued)):
        with pytest.raises(Gone):
            act()
    assert status_of_token(bot=bot, token=issued.token) is TokenStatus.EXPIRED
    assert not ServerLink.objects.exists()


def test_only_the_newest_token_of_a_target_can_be_used(bot, user, issue):
    old, private = issue(), issue(PRIVATE)
    new = issue()
    with pytest.raises(Gone, match="newer"):
        confirm(user, old)
    assert status_of_token(bot=bot, token=old.token) is TokenStatus.EXPIRED
    assert status_of_token(bot=bot, token=new.token) is TokenStatus.PENDING
    assert status_of_token(bot=bot, token=private.token) is TokenStatus.PENDING
    confirm(user, new)
    assert status_of_token(bot=bot, token=old.token) is TokenStatus.EXPIRED


def test_tokens_of_another_bot_live_on(bot, make_bot, issue, user):
    other, _ = make_bot("other")
    theirs = issue_link_token(bot=other, target=SERVER)
    mine = issue()
    confirm(user, theirs)
    assert link_of(bot=bot, kind="server", platform_id=SERVER_ID) is None
    confirm(user, mine)
    assert ServerLink.objects.count() == 2


def test_a_wrong_kind_burns_nothing(bot, user, issue):
    issued = issue()
    for _ in range(10):
        with pytest.raises(Invalid) as refused:
            confirm(user, issued, kind="user")
        assert refused.value.error_code == "wrong_kind"
    assert LinkToken.objects.get().wrong_codes == 0
    assert not UserLink.objects.exists()
    confirm(user, issued)


def test_the_fifth_wrong_code_burns_the_token(bot, user, issue):
    issued = issue()
    for _ in range(5):
        with pytest.raises(Invalid) as refused:
            confirm(user, issued, code=wrong(issued.code))
        assert refused.value.error_code == "invalid"
    for code in (issued.code, wrong(issued.code)):
        with pytest.raises(Gone):
            confirm(user, issued, code=code)
    assert LinkToken.objects.get().wrong_codes == 5
    assert status_of_token(bot=bot, token=issued.token) is TokenStatus.EXPIRED
    assert not ServerLink.objects.exists()


def test_a_right_code_after_four_wrong_ones_links(user, issue):
    issued = issue()
    for left in (4, 3, 2, 1):
        with pytest.raises(Invalid, match=f"left: {left}"):
            confirm(user, issued, code=wrong(issued.code))
    confirm(user, issued)


def test_a_code_belongs_to_its_token(user, issue):
    first, second = issue(), issue(PRIVATE)
    if first.code == second.code:
        return  # once in a million
    with pytest.raises(Invalid):
        confirm(user, second, kind="user", code=first.code)


def test_what_is_linked_gets_no_token_and_no_second_owner(bot, user, other_user, issue):
    pending = issue()
    token = LinkToken.objects.get()
    ServerLink.objects.create(bot=bot, platform_id=SERVER_ID, owner=user)
    for act in (issue, lambda: look_at_link_token(pending.token), lambda: confirm(other_user, pending)):
        with pytest.raises(Conflict) as refused:
            act()
        assert refused.value.error_code == "already_linked"
    token.refresh_from_db()
    assert token.used_at is None
    with pytest.raises(IntegrityError), transaction.atomic():
        ServerLink.objects.create(bot=bot, platform_id=SERVER_ID, owner=other_user)


def test_a_link_made_meanwhile_leaves_the_token_unused(bot, user, other_user, issue, monkeypatch):
    """The unique constraint is the net; what the token's UPDATE did goes with the rest of the transaction."""
    issued = issue()
    seen = []
    monkeypatch.setattr("linking.link_tokens.is_linked", lambda **_: bool(seen) or seen.append(1))
    ServerLink.objects.create(bot=bot, platform_id=SERVER_ID, owner=user)
    with pytest.raises(Conflict):
        confirm(other_user, issued)
    assert LinkToken.objects.get().used_at is None


def test_after_unlinking_the_token_is_no_link_any_more_and_another_can_be_made(bot, user, other_user, issue):
    issued = issue()
    unlink(user=user, link_id=confirm(user, issued).pk)
    assert status_of_token(bot=bot, token=issued.token) is TokenStatus.EXPIRED
    with pytest.raises(Gone):
        confirm(user, issued)
    confirm(other_user, issue())
    assert status_of_token(bot=bot, token=issued.token) is TokenStatus.EXPIRED
    assert link_of(bot=bot, kind="server", platform_id=SERVER_ID).owner == other_user


def test_tokens_of_a_bot_that_is_off_cannot_be_confirmed(bot, user, issue):
    issued = issue()
    switch_bot(bot_id=bot.pk, on=False)
    with pytest.raises(Gone, match="switched off"):
        confirm(user, issued)
    switch_bot(bot_id=bot.pk, on=True)
    confirm(user, issued)


def test_a_bot_learns_nothing_of_other_bots_tokens(bot, make_bot, issue):
    other, _ = make_bot("other")
    issued = issue()
    for asked in (issued.token, "unknown"):
        with pytest.raises(NotFound):
            status_of_token(bot=other, token=asked)


def test_links_of_a_deactivated_owner_count_for_nothing(bot, user, issue):
    confirm(user, issue())
    user.is_active = False
    user.save(update_fields=["is_active"])
    assert link_of(bot=bot, kind="server", platform_id=SERVER_ID) is None
    with pytest.raises(Conflict):
        issue()


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("a\u202egpj\u202c\n\x00b", "a gpj b"),
        ("x" * 300, "x" * 200),
        ("\u200b\u2066 \u200d", ""),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
        ("a\u2028b\ue000", "a b"),
    ],
    ids=["turned", "long", "invisible", "joined", "lines"],
)
def test_names_are_one_line_that_hides_nothing(issue, told, shown):
    issue(Target(kind="server", platform_id="s", platform_name=told, platform_user_name=told))
    row = LinkToken.objects.get()
    assert (row.platform_name, row.platform_user_name) == (shown, shown)


def test_dead_tokens_are_forgotten_after_a_week(bot, issue):
    issue(PRIVATE)
    LinkToken.objects.update(expires_at=timezone.now() - timedelta(days=8))
    issue()
    assert [row.kind for row in LinkToken.objects.all()] == ["server"]


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "group"},
        {"wrong_codes": 6},
        {"used_at": timezone.now()},
        {"link_id": "019a9d60-1f0a-7b44-8c11-5d2e3f4a5b6c"},
    ],
    ids=["kind", "codes", "used without link", "link unused"],
)
def test_the_database_refuses_what_cannot_be(issue, values):
    issue()
    with pytest.raises(IntegrityError), transaction.atomic():
        LinkToken.objects.update(**values)
