"""Keys, bots and links in the admin."""

from __future__ import annotations

import pytest
from django.test import Client

from linking.bots import authenticate_bot, register_bot
from linking.keys import issue_key
from linking.link_tokens import confirm_link_token
from linking.models import Bot, BotKey, LinkToken, ServerLink
from tests.linking.conftest import PRIVATE

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(make_user):
    client = Client()
    client.force_login(make_user(username="root", is_staff=True, is_superuser=True))
    return client


def test_keys_are_shown_without_anything_secret(admin, user):
    key, secret = issue_key(user=user, label="nightly")
    for path in ("/admin/linking/personalkey/", f"/admin/linking/personalkey/{key.pk}/change/"):
        page = admin.get(path)
        assert page.status_code == 200
        assert "nightly" in page.content.decode()
        assert secret not in page.content.decode()
        assert key.digest not in page.content.decode()


def test_keys_are_neither_added_changed_nor_deleted(admin, user):
    key, _ = issue_key(user=user)
    assert admin.get("/admin/linking/personalkey/add/").status_code == 403
    assert admin.post(f"/admin/linking/personalkey/{key.pk}/change/", {"label": "x"}).status_code == 403
    assert admin.post(f"/admin/linking/personalkey/{key.pk}/delete/").status_code == 403


def test_revoking_is_an_action(admin, user):
    key, _ = issue_key(user=user)
    form = {"action": "revoke", "_selected_action": [str(key.pk)]}
    assert admin.post("/admin/linking/personalkey/", form).status_code == 302
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_the_list_costs_the_same_however_long_it_is(admin, user, django_assert_max_num_queries):
    for _ in range(5):
        issue_key(user=user)
    # session, user, count, the keys with their users, the count of the filter
    with django_assert_max_num_queries(6):
        admin.get("/admin/linking/personalkey/")


@pytest.fixture
def all_rows(user, bot, issue):
    """Return the paths of rows of each kind, and what no page may show."""
    first, second, third = issue(), issue(PRIVATE), register_bot(name="concierge", platform="discord")[1]
    confirm_link_token(user=user, token=first.token, kind="server", code=first.code)
    confirm_link_token(user=user, token=second.token, kind="user", code=second.code)
    rows = [bot, BotKey.objects.first(), ServerLink.objects.get(), LinkToken.objects.first(), user.userlinks.get()]
    digests = [value for row in LinkToken.objects.all() for value in (row.digest, row.code_digest)]
    digests += BotKey.objects.values_list("digest", flat=True)
    return [f"/admin/linking/{row._meta.model_name}/{row.pk}" for row in rows], [
        first.token,
        second.token,
        third,
        *digests,
    ]


def test_rows_are_shown_without_anything_secret_and_cannot_be_edited(admin, all_rows):
    paths, secrets = all_rows
    for path in paths:
        for shown in (path.rsplit("/", 1)[0] + "/", f"{path}/change/"):
            page = admin.get(shown)
            assert page.status_code == 200
            assert [secret for secret in secrets if secret in page.content.decode()] == []
        assert admin.get(path.rsplit("/", 1)[0] + "/add/").status_code == 403
        assert admin.post(f"{path}/change/", {"platform": "x"}).status_code == 403


def test_an_operator_can_remove_links_but_not_the_rest(admin, all_rows):
    for path in all_rows[0]:
        answer = admin.post(f"{path}/delete/", {"post": "yes"})
        assert answer.status_code == (302 if "link/" in path else 403), path
    assert not ServerLink.objects.exists()
    assert Bot.objects.exists()


def test_bots_are_switched_off_and_on_and_their_keys_revoked(admin, make_bot):
    bot, api = make_bot()

    def act(model, action, row):
        form = {"action": action, "_selected_action": [str(row.pk)]}
        return admin.post(f"/admin/linking/{model}/", form, follow=True).content.decode()

    assert "Switched off: 1." in act("bot", "switch_off", bot)
    assert "Switched off: 0." in act("bot", "switch_off", bot)
    assert authenticate_bot(api.secret) is None
    assert "Switched on: 1." in act("bot", "switch_on", bot)
    assert authenticate_bot(api.secret) is not None
    assert "Revoked: 1." in act("botkey", "revoke", BotKey.objects.get())
    assert authenticate_bot(api.secret) is None
