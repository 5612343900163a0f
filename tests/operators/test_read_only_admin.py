"""Tables that the server writes are there to be looked at: nobody adds, changes or deletes their rows by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib import admin
from django.test import Client, RequestFactory

from common.admin import ReadOnly
from copilot.models import User

pytestmark = pytest.mark.django_db

#: What people write, and what they may do with it in the admin.
WRITTEN_BY_PEOPLE = {
    "auth.group": {"add", "change", "delete"},
    "copilot.user": {"add", "change", "delete"},
    "copilot.preset": {"add", "change", "delete"},
    # To be removed, as their owners can.
    "linking.serverlink": {"delete"},
    "linking.userlink": {"delete"},
}
TABLES = sorted(admin.site._registry, key=lambda model: model._meta.label_lower)


@pytest.mark.parametrize("model", TABLES, ids=lambda model: model._meta.label_lower)
def test_rows_of_the_server_are_only_looked_at(make_user: Callable[..., User], model: type) -> None:
    request = RequestFactory().get("/admin/")
    request.user = make_user(is_staff=True, is_superuser=True)
    table = admin.site._registry[model]
    may = {
        "add": table.has_add_permission(request),
        "change": table.has_change_permission(request),
        "delete": table.has_delete_permission(request),
    }
    allowed = WRITTEN_BY_PEOPLE.get(model._meta.label_lower, set())  # type: ignore[attr-defined]
    assert {what for what, allows in may.items() if allows} == allowed
    assert table.has_view_permission(request)
    if not allowed:
        assert all(issubclass(inline, ReadOnly) for inline in table.inlines)


@pytest.mark.parametrize("model", TABLES, ids=lambda model: model._meta.label_lower)
def test_every_list_opens(make_user: Callable[..., User], model: type) -> None:
    client = Client()
    client.force_login(make_user(is_staff=True, is_superuser=True))
    label = model._meta.label_lower.replace(".", "/")  # type: ignore[attr-defined]
    page = client.get(f"/admin/{label}/")
    assert page.status_code == 200
    if label.replace("/", ".") not in WRITTEN_BY_PEOPLE:
        assert "delete_selected" not in page.content.decode()
