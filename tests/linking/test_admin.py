"""Keys in the admin."""

from __future__ import annotations

import pytest
from django.test import Client

from linking.keys import issue_key

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
