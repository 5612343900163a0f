"""The page on which a link is confirmed, the list of one's links, and the notices."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from linking import notices
from linking.link_tokens import Target, confirm_link_token, issue_link_token
from linking.models import LinkToken, ServerLink, UserLink
from tests.linking.conftest import PRIVATE, SERVER, SERVER_ID, USER_ID, wrong

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(user):
    client = Client()
    client.force_login(user)
    return client


def text(answer):
    """What a page says, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def confirmed(user, issued, kind="server"):
    return confirm_link_token(user=user, token=issued.token, kind=kind, code=issued.code)


def test_the_page_says_what_is_linked_to_whom_and_what_that_allows(page, issue):
    issued = issue()
    shown = page.get(f"/link/{issued.token}")
    said = text(shown)
    assert shown.status_code == 200
    for words in (
        "Kite Builders",
        "discord",
        "concierge",
        "ada_k",
        SERVER_ID,
        USER_ID,
        "ada",
        "What this allows",
        "counted",
    ):
        assert words in said
    assert issued.code not in said
    assert LinkToken.objects.get().used_at is None


def test_private_messages_are_linked_in_other_words(page, issue):
    said = text(page.get(f"/link/{issue(PRIVATE).token}"))
    assert "Link your private messages?" in said
    assert "in your name" in said


def test_a_person_whom_another_id_asks_for_is_named_too(page, issue):
    """Whoever confirms sees each identity that the link would let speak for them."""
    target = Target(kind="user", platform_id="dm-17", platform_name="Direct", platform_user_id="u-5")
    facts = page.get(f"/link/{issue(target).token}").content.decode().split("<dl")[1].split("</dl>")[0]
    for words in ("dm-17", "Direct", "u-5"):
        assert words in facts


def test_names_are_shown_as_text(page, issue):
    issued = issue(Target(kind="server", platform_id="s", platform_name="<script>alert(1)</script>"))
    html = page.get(f"/link/{issued.token}").content.decode()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html


def test_the_page_keeps_its_address_to_itself(page, client, issue):
    issued = issue()
    for answer in (page.get(f"/link/{issued.token}"), client.get(f"/link/{issued.token}")):
        assert "no-store" in answer["Cache-Control"]
        assert answer["Referrer-Policy"] == "strict-origin"
    policy = page.get(f"/link/{issued.token}")["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


def test_who_is_not_logged_in_is_asked_to_log_in_and_comes_back(client, issue):
    issued = issue()
    for answer in (
        client.get(f"/link/{issued.token}"),
        client.post(f"/link/{issued.token}", {"code": issued.code}),
    ):
        assert (answer.status_code, answer["Location"]) == (302, f"/login/?next=/link/{issued.token}")
    assert not ServerLink.objects.exists()


def test_the_code_links_and_leads_to_the_list(page, user, issue):
    issued = issue()
    spaced = f" {issued.code[:3]} {issued.code[3:]} "
    answer = page.post(f"/link/{issued.token}", {"code": spaced}, follow=True)
    assert answer.redirect_chain == [("/links/", 302)]
    assert "Linked: Kite Builders." in text(answer)
    assert ServerLink.objects.get().owner == user


def test_a_wrong_code_is_told_and_the_page_asks_again(page, issue):
    issued = issue()
    answer = page.post(f"/link/{issued.token}", {"code": " "})
    assert (answer.status_code, LinkToken.objects.get().wrong_codes) == (400, 0)
    answer = page.post(f"/link/{issued.token}", {"code": wrong(issued.code)})
    assert answer.status_code == 400
    assert "The code is wrong" in text(answer)
    assert 'aria-invalid="true"' in answer.content.decode()
    for _ in range(4):
        answer = page.post(f"/link/{issued.token}", {"code": wrong(issued.code)})
    assert page.post(f"/link/{issued.token}", {"code": issued.code}).status_code == 410
    assert not ServerLink.objects.exists()


def test_the_form_needs_its_token(user, issue):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    issued = issue()
    refused = strict.post(f"/link/{issued.token}", {"code": issued.code})
    assert (refused.status_code, "Please confirm again" in text(refused)) == (403, True)
    assert not ServerLink.objects.exists()
    html = strict.get(f"/link/{issued.token}").content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', html)[1]
    done = strict.post(f"/link/{issued.token}", {"code": issued.code, "csrfmiddlewaretoken": token})
    assert done.status_code == 302
    assert ServerLink.objects.exists()


def test_each_refusal_has_its_page(page, bot, user, other_user, issue):
    unknown = page.get("/link/unknown")
    assert (unknown.status_code, "not known" in text(unknown)) == (404, True)
    issued = issue()
    LinkToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for answer in (page.get(f"/link/{issued.token}"), page.post(f"/link/{issued.token}", {"code": issued.code})):
        assert (answer.status_code, "This link is over" in text(answer)) == (410, True)
    pending = issue()
    ServerLink.objects.create(bot=bot, platform_id=SERVER_ID, owner=other_user)
    taken = page.get(f"/link/{pending.token}")
    assert (taken.status_code, "Linked already" in text(taken)) == (409, True)
    assert page.put(f"/link/{pending.token}").status_code == 405


# --- the list -------------------------------------------------------------------------------------


def test_the_list_shows_ones_own_links_and_unlinks(page, user, other_user, bot, issue):
    link = confirmed(user, issue())
    confirmed(user, issue(PRIVATE), "user")
    foreign = ServerLink.objects.create(bot=bot, platform_id="x", platform_name="Elsewhere", owner=other_user)
    said = text(page.get("/links/"))
    for words in ("Kite Builders", "Server", "Private messages", "discord", "concierge", "by nobody else"):
        assert words in said
    assert "Elsewhere" not in said
    assert page.post(f"/links/{foreign.pk}/unlink/").status_code == 404
    assert "Unlinked." in text(page.post(f"/links/{link.pk}/unlink/", follow=True))
    assert list(ServerLink.objects.all()) == [foreign]
    assert UserLink.objects.exists()
    assert page.post(f"/links/{link.pk}/unlink/").status_code == 404


def test_without_links_the_list_says_how_to_get_one(page):
    assert "Nothing is linked." in text(page.get("/links/"))


def test_the_owner_can_let_strangers_use_what_is_theirs(page, user, other_user, issue):
    link = confirmed(user, issue())
    stranger = Client()
    stranger.force_login(other_user)
    assert stranger.post(f"/links/{link.pk}/personal/", {"allowed": "yes"}).status_code == 404
    for said, allowed in (("yes", True), ("no", False)):
        page.post(f"/links/{link.pk}/personal/", {"allowed": said})
        assert ServerLink.objects.get().allows_personal is allowed


@pytest.mark.parametrize("path", ["unlink", "seen", "personal"])
def test_nothing_changes_by_following_a_link(page, client, user, issue, path):
    link = confirmed(user, issue())
    assert page.get(f"/links/{link.pk}/{path}/").status_code == 405
    assert client.post(f"/links/{link.pk}/{path}/")["Location"].startswith("/login/")
    assert ServerLink.objects.get() == link


def test_the_list_costs_the_same_however_long_it_is(page, bot, user, django_assert_num_queries):
    for number in range(5):
        ServerLink.objects.create(bot=bot, platform_id=f"s{number}", owner=user)
    # login session, user; how much waits, sessions; links of both kinds
    with django_assert_num_queries(6):
        page.get("/links/")


# --- the notice -----------------------------------------------------------------------------------


def test_a_new_link_is_told_on_every_page_until_it_is_put_away(page, user, other_user, issue):
    link = confirmed(user, issue())
    home = text(page.get("/"))
    assert "Kite Builders on discord was linked to your account." in home
    stranger = Client()
    stranger.force_login(other_user)
    assert "Kite Builders" not in text(stranger.get("/"))
    assert stranger.post(f"/links/{link.pk}/seen/").status_code == 404
    assert page.post(f"/links/{link.pk}/seen/", {"next": "/approvals/"})["Location"] == "/approvals/"
    assert "Kite Builders" not in text(page.get("/"))


@pytest.mark.parametrize(
    "back",
    ["", "https://evil.example/", "//evil.example", "javascript:alert(1)", "\\\\evil", "nowhere", "link", "home"],
)
def test_putting_a_notice_away_leads_to_no_other_site(page, user, issue, back):
    link = confirmed(user, issue())
    assert page.post(f"/links/{link.pk}/seen/", {"next": back})["Location"] == "/links/"


def test_of_several_new_links_the_newest_is_told(page, user, issue):
    confirmed(user, issue())
    assert "more new links" not in text(page.get("/"))
    confirmed(user, issue(PRIVATE), "user")
    home = text(page.get("/"))
    assert "ada_k on discord" in home
    assert "Kite Builders" not in home
    assert "There are more new links" in home


def test_a_new_link_can_be_removed_where_it_is_told(page, user, issue):
    link = confirmed(user, issue())
    assert f'action="/links/{link.pk}/unlink/"' in page.get("/").content.decode()


@pytest.fixture
def post_office(settings):
    settings.EMAIL_ENABLED = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.BASE_URL = "https://copilot.example.org"
    mail.outbox = []


@pytest.mark.django_db(transaction=True)
def test_the_owner_is_mailed_how_to_unlink(user, bot, post_office):
    user.email = "ada@example.org"
    user.save()
    confirmed(user, issue_link_token(bot=bot, target=SERVER))
    assert notices.drain(10)
    [sent] = mail.outbox
    assert sent.to == ["ada@example.org"]
    assert sent.subject == "Linked to your account: Kite Builders on discord"
    for words in ("account ada", "ada_k asked the bot concierge", "https://copilot.example.org/links/"):
        assert words in sent.body
    assert SERVER_ID not in sent.body + sent.subject
    assert USER_ID not in sent.body


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("reason", ["no address", "mail off", "gone again"])
def test_who_cannot_be_mailed_is_not(user, bot, post_office, settings, reason):
    user.email = "" if reason == "no address" else "ada@example.org"
    user.save()
    settings.EMAIL_ENABLED = reason != "mail off"
    link = confirmed(user, issue_link_token(bot=bot, target=PRIVATE), "user")
    assert notices.drain(10)
    assert len(mail.outbox) == (reason == "gone again")
    if reason == "gone again":
        mail.outbox.clear()
        UserLink.objects.all().delete()
        notices.tell_owner(link.pk, link.kind)
        assert notices.drain(10)
        assert mail.outbox == []


@pytest.mark.django_db(transaction=True)
def test_a_mail_server_that_fails_breaks_nothing(user, bot, post_office, settings, monkeypatch, caplog):
    def refuse(self):
        raise OSError("ada@example.org refused")

    monkeypatch.setattr("django.core.mail.EmailMessage.send", refuse)
    user.email = "ada@example.org"
    user.save()
    link = confirmed(user, issue_link_token(bot=bot, target=SERVER))
    assert notices.drain(10)
    assert ServerLink.objects.get() == link
    assert "ada@example.org" not in caplog.text
