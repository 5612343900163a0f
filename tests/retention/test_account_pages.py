"""The pages on which people get their data and leave: whose they are, what they ask for, and what they do."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable
from typing import Any
from zipfile import ZipFile

import pytest
from django.test import AsyncClient, Client
from django.urls import reverse

from chat import account
from common.db import db
from copilot.models import OperatorEntry, User
from copilot.retention.decision import begin_deletion
from linking.keys import issue_key
from tests.factories import make_session

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"
PAGES = ("account-data", "account-delete")


@pytest.fixture
def page(client: Client, user: User) -> Client:
    """A browser in which the user is logged in."""
    client.force_login(user)
    return client


def marked(user: User) -> bool:
    return User.objects.get(pk=user.pk).deleting_at is not None


def leave(client: Client, confirm: str) -> Any:
    return client.post(reverse("account-delete"), {"confirm": confirm})


# --- whose they are -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_who_is_not_logged_in_is_asked_to(client: Client, name: str) -> None:
    answer = client.get(reverse(name))
    assert (answer.status_code, answer["Location"]) == (302, f"/login/?next={reverse(name)}")


@pytest.mark.parametrize("name", [*PAGES, "account-download"])
def test_a_post_without_its_token_does_nothing(user: User, name: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.post(reverse(name), {"confirm": PASSWORD}).status_code in (403, 405)
    assert not marked(user)


def test_nothing_is_given_or_done_by_following_an_address(page: Client, user: User) -> None:
    assert page.get(reverse("account-download")).status_code == 405
    assert page.get(reverse("account-delete"), {"confirm": PASSWORD}).status_code == 200
    assert not marked(user)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_kept_by_nobody(page: Client, name: str) -> None:
    assert "no-store" in page.get(reverse(name))["Cache-Control"]


def test_every_page_leads_there_without_another_query(page: Client, django_assert_num_queries: Any) -> None:
    home = page.get("/").content.decode()
    assert f'href="{reverse("account-data")}"' in home
    with django_assert_num_queries(5):  # login, person, sessions, decisions, new links
        page.get(reverse("account-data"))


# --- taking it along ------------------------------------------------------------------------------


@pytest.fixture
async def visitor(user: User, transactional_db: None) -> AsyncClient:
    """A browser in which the user is logged in, in front of the server's loop."""
    client = AsyncClient()
    await client.aforce_login(user)
    return client


@pytest.mark.django_db(transaction=True)
async def test_the_download_is_the_persons_archive(visitor: AsyncClient, user: User, other_user: User) -> None:
    mine = await db(make_session, user, title="Mine")
    await db(make_session, other_user, title="Not mine")
    answer: Any = await visitor.post(reverse("account-download"))
    assert answer.status_code == 200
    body = b"".join([piece async for piece in answer.streaming_content])
    answer.close()
    assert int(answer["Content-Length"]) == len(body)
    assert answer["Content-Type"] == "application/zip"
    assert answer["Content-Disposition"].startswith('attachment; filename="holdfast-ada-')
    assert (answer["X-Content-Type-Options"], "no-store" in answer["Cache-Control"]) == ("nosniff", True)
    archive = ZipFile(io.BytesIO(body))
    assert [json.loads(line)["id"] for line in archive.read("sessions.jsonl").splitlines()] == [str(mine.pk)]


@pytest.mark.django_db(transaction=True)
async def test_a_download_by_who_is_not_logged_in_is_none() -> None:
    answer = await AsyncClient().post(reverse("account-download"))
    assert (answer.status_code, answer["Location"]) == (302, f"/login/?next={reverse('account-data')}")


@pytest.mark.parametrize("scopes", [["approve"], ["chat"], ["chat", "approve"]])
@pytest.mark.django_db(transaction=True)
async def test_no_key_downloads_whatever_its_scopes(user: User, scopes: list[str]) -> None:
    _, secret = await db(lambda: issue_key(user=user, scopes=scopes))
    answer = await AsyncClient().post(reverse("account-download"), headers={"Authorization": f"Bearer {secret}"})
    assert (answer.status_code, answer["Location"]) == (302, f"/login/?next={reverse('account-data')}")


@pytest.mark.django_db(transaction=True)
async def test_an_archive_that_cannot_be_made_is_an_error_and_no_half_of_one(
    visitor: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def fail(user: User, out: Any) -> None:
        opened.append(out)
        raise OSError("no space left")

    monkeypatch.setattr(account, "write_export", fail)
    visitor.raise_request_exception = False
    answer = await visitor.post(reverse("account-download"))
    assert (answer.status_code, [out.closed for out in opened]) == (500, [True])


@pytest.mark.django_db(transaction=True)
async def test_an_archive_whose_person_has_left_is_made_no_further(
    visitor: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = threading.Event(), threading.Event()

    def write(user: User, out: Any) -> None:
        try:
            while out.write(b"more"):
                began.set()
        finally:
            ended.set()

    monkeypatch.setattr(account, "write_export", write)
    asked = asyncio.create_task(visitor.post(reverse("account-download")))
    assert await asyncio.to_thread(began.wait, 10)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await asyncio.to_thread(ended.wait, 10)


# --- leaving --------------------------------------------------------------------------------------


def test_the_right_password_deletes_and_logs_out(page: Client, user: User) -> None:
    answer = leave(page, PASSWORD)
    assert (answer.status_code, answer["Location"]) == (302, reverse("account-deleted"))
    assert marked(user)
    assert not page.cookies["holdfast_session"].value
    assert page.get(reverse("account-deleted")).status_code == 200
    assert page.get("/").status_code == 302
    assert not OperatorEntry.objects.exists(), "it was their own decision"


@pytest.mark.parametrize("confirm", ["", "wrong", "ada", PASSWORD.upper()])
def test_another_word_deletes_nothing_and_says_so(page: Client, user: User, confirm: str) -> None:
    answer = leave(page, confirm)
    assert answer.status_code == 400
    assert "That is not your password. Nothing was deleted." in answer.content.decode()
    assert not marked(user)
    assert page.get("/").status_code == 200


@pytest.mark.parametrize(("confirm", "deleted"), [(" ada ", True), ("ad", False), ("", False), ("grace", False)])
def test_who_has_no_password_types_their_name(page: Client, user: User, confirm: str, deleted: bool) -> None:
    user.set_unusable_password()
    user.save()
    page.force_login(user)
    assert 'type="password"' not in page.get(reverse("account-delete")).content.decode()
    leave(page, confirm)
    assert marked(user) == deleted


def test_a_name_that_is_markup_is_shown_as_text(make_user: Callable[..., User], client: Client) -> None:
    hostile = make_user(username="<b>@+.")
    hostile.set_unusable_password()
    hostile.save()
    client.force_login(hostile)
    html = client.get(reverse("account-delete")).content.decode()
    assert "<b>@" not in html
    assert "&lt;b&gt;@" in html


def test_the_last_superuser_is_told_why_not(client: Client, operator: User) -> None:
    client.force_login(operator)
    answer = leave(client, PASSWORD)
    assert answer.status_code == 409
    assert "root is the last active superuser. Make somebody else one first." in answer.content.decode()
    assert not marked(operator)


def test_other_browsers_are_logged_out_too(page: Client, user: User) -> None:
    elsewhere = Client()
    elsewhere.force_login(user)
    leave(page, PASSWORD)
    assert elsewhere.get("/").status_code == 302


def test_nobody_logs_in_who_is_being_deleted(client: Client, user: User) -> None:
    begin_deletion(user.pk, by=user, operated=False)
    assert not client.login(username=user.username, password=PASSWORD)
