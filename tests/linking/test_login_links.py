"""One-time login links."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.contrib.auth import SESSION_KEY
from django.db import connections
from django.test import Client
from django.utils import timezone

from linking.login import LinkState, issue_login_link, look_at_link, use_link
from linking.models import LoginToken

pytestmark = pytest.mark.django_db


def token_of(path: str) -> str:
    return path.strip("/").split("/")[-1]


def test_the_token_itself_is_not_stored(user):
    token = token_of(issue_login_link(user=user))
    assert token not in map(str, LoginToken.objects.values_list().get())


def test_opening_the_link_uses_nothing_up_and_confirming_logs_in(client, user):
    path = issue_login_link(user=user)
    for _ in range(3):
        page = client.get(path)
        assert page.status_code == 200
        assert user.username in page.content.decode()
    assert SESSION_KEY not in client.session
    done = client.post(path)
    assert done.status_code == 302
    assert done["Location"] == "/"
    assert client.session[SESSION_KEY] == str(user.pk)


def test_confirming_replaces_the_session(client, user):
    session = client.session
    session["left by"] = "somebody else"
    session.save()
    before = session.session_key
    client.post(issue_login_link(user=user))
    assert client.session.session_key != before


def test_a_used_link_says_so_and_logs_nobody_in(client, user):
    path = issue_login_link(user=user)
    client.post(path)
    stranger = Client()
    for answer in (stranger.get(path), stranger.post(path)):
        assert answer.status_code == 410
        assert "used already" in answer.content.decode()
        assert "manage.py up" in answer.content.decode()
    assert SESSION_KEY not in stranger.session


def test_an_expired_link_says_so_and_logs_nobody_in(client, user):
    path = issue_login_link(user=user)
    LoginToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for answer in (client.get(path), client.post(path)):
        assert answer.status_code == 410
        assert "expired" in answer.content.decode()
    assert SESSION_KEY not in client.session
    assert LoginToken.objects.get().used_at is None


def test_a_link_lives_a_quarter_of_an_hour(user):
    issue_login_link(user=user)
    row = LoginToken.objects.get()
    assert row.expires_at - row.created_at == timedelta(minutes=15)


def test_an_unknown_link_is_not_found(client, db):
    for answer in (client.get("/login/nothing-like-it/"), client.post("/login/nothing-like-it/")):
        assert answer.status_code == 404


def test_a_deactivated_user_is_not_logged_in(client, user):
    path = issue_login_link(user=user)
    user.is_active = False
    user.save(update_fields=["is_active"])
    assert client.post(path).status_code == 404
    assert look_at_link(token_of(path)) == (LinkState.UNKNOWN, None)


def test_confirming_needs_the_pages_own_form(user):
    strict = Client(enforce_csrf_checks=True)
    path = issue_login_link(user=user)
    assert strict.post(path).status_code == 403
    assert LoginToken.objects.get().used_at is None
    strict.get(path)
    token = strict.cookies["holdfast_csrf"].value
    assert strict.post(path, {"csrfmiddlewaretoken": token}).status_code == 302


def test_the_token_stays_out_of_referrers_caches_and_logs(client, user, caplog):
    caplog.set_level("DEBUG")
    path = issue_login_link(user=user)
    strict = Client(enforce_csrf_checks=True)
    answers = [client.get(path), strict.post(path), client.post(path), client.get(path), client.put(path)]
    assert [answer.status_code for answer in answers] == [200, 403, 302, 410, 405]
    for answer in answers:
        assert answer["Referrer-Policy"] == "strict-origin"
        assert "no-store" in answer["Cache-Control"]
    assert token_of(path) not in caplog.text
    assert not [record for record in caplog.records if token_of(path) in str(record.__dict__)]


def use_link_unguarded(token: str) -> object:
    """What ``use_link`` must not be: look, then write."""
    row = LoginToken.objects.get()
    if row.used_at is not None:
        return None
    meet.wait()
    row.used_at = timezone.now()
    row.save(update_fields=["used_at"])
    return row.user


def use_link_guarded(token: str) -> object:
    meet.wait()
    return use_link(token)


meet = threading.Barrier(2, timeout=10)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("use", "winners"), [(use_link_unguarded, 2), (use_link_guarded, 1)])
def test_of_two_who_confirm_at_once_one_is_logged_in(user, use, winners):
    """The unguarded way is the control: it shows that the two really meet."""
    token = token_of(issue_login_link(user=user))
    won: list[object] = []

    def confirm() -> None:
        try:
            if use(token) is not None:
                won.append(use)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=confirm) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(won) == winners


def test_password_login_and_logout(client, make_user):
    make_user(username="lin", password="correct horse")
    assert client.get("/login/").status_code == 200
    assert client.post("/login/", {"username": "lin", "password": "wrong"}).status_code == 200
    assert SESSION_KEY not in client.session
    answer = client.post("/login/", {"username": "lin", "password": "correct horse"})
    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/")["Location"] == "/login/"
    assert SESSION_KEY not in client.session


def test_login_does_not_redirect_to_another_site(client, make_user):
    make_user(username="lin", password="correct horse")
    form = {"username": "lin", "password": "correct horse", "next": "https://evil.example/"}
    assert client.post("/login/", form)["Location"] == "/"
