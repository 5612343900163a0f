"""Who is calling: keys and cookies on async views, REST views and sockets."""

from __future__ import annotations

import asyncio
from importlib import import_module

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.http import Http404, JsonResponse
from django.test import AsyncClient, Client
from django.urls import path
from rest_framework.response import Response
from rest_framework.views import APIView

from common.auth import (
    Caller,
    HasScope,
    api_view_async,
    authenticate_scope,
    authenticate_scope_headers,
    check_still_valid,
    has_bearer,
    still_valid,
)
from common.errors import Forbidden, NotAuthenticated, NotFound
from common.ids import new_id

SECRET = "hf_" + "a" * 43
CHAT_SECRET = "hf_" + "c" * 43


@api_view_async(scope="approve", methods=("GET", "POST"))
async def plain(request, *, caller, what=""):
    if what == "missing":
        raise NotFound
    if what == "404":
        raise Http404
    return JsonResponse({"user": caller.user.username, "scopes": caller.scopes and sorted(caller.scopes)})


class Rest(APIView):
    permission_classes = [HasScope]
    scope = "approve"

    def get(self, request):
        return Response({"user": request.auth.user.username, "by_key": request.auth.key_id is not None})

    post = get


urlpatterns = [
    path("plain", plain),
    path("plain/<str:what>", plain),
    path("rest", Rest.as_view()),
]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

#: What the stand-in for the app that keeps the keys answers; secret -> (user, scopes, key id).
known_keys: dict[str, tuple[object, set[str], object]] = {}


def authenticate_key(secret):
    return known_keys.get(secret)


@pytest.fixture(autouse=True)
def _keys(settings, user):
    settings.KEY_AUTHENTICATOR = f"{__name__}.authenticate_key"
    known_keys.clear()
    known_keys[SECRET] = (user, {"chat", "approve"}, new_id())
    known_keys[CHAT_SECRET] = (user, {"chat"}, new_id())


@pytest.fixture(params=["/plain", "/rest"])
def url(request):
    """Each kind of view must answer alike."""
    return request.param


@pytest.fixture
def cookie_client(other_user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(other_user)
    return client


def bearer(secret):
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}"}


def assert_refused(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"]
    if status == 401:
        assert answer["WWW-Authenticate"] == "Bearer"


def test_nobody_is_refused(client, url):
    assert_refused(client.get(url), 401, "not_authenticated")
    assert_refused(client.post(url), 401, "not_authenticated")


def test_a_key_is_let_in_within_its_scopes(client, url):
    assert client.get(url, **bearer(SECRET)).json()["user"] == "ada"
    assert client.post(url, **bearer(SECRET)).status_code == 200
    assert_refused(client.get(url, **bearer(CHAT_SECRET)), 403, "scope")


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "bearer hf_nope", "BEARER x y", "Bearer hfb_" + "b" * 43, "Bearer \xff"]
)
def test_an_invalid_key_never_falls_back_to_the_cookie(cookie_client, url, header):
    assert cookie_client.get(url).status_code == 200
    assert_refused(cookie_client.get(url, HTTP_AUTHORIZATION=header), 401, "not_authenticated")


def test_with_a_key_the_cookie_counts_for_nothing(cookie_client, url):
    assert cookie_client.get(url, **bearer(SECRET)).json()["user"] == "ada"
    assert cookie_client.post(url, **bearer(SECRET)).status_code == 200


def test_another_scheme_leaves_the_cookie_alone(cookie_client, url):
    assert cookie_client.get(url, HTTP_AUTHORIZATION="Basic eDp5").json()["user"] == "grace"


@pytest.mark.parametrize("name", ["key", "api_key", "token"])
def test_a_key_in_the_url_is_refused_even_beside_a_good_one(cookie_client, url, name):
    for secret in (SECRET, "hfb_" + "b" * 43):
        answer = cookie_client.get(f"{url}?{name}={secret}", **bearer(SECRET))
        assert_refused(answer, 401, "not_authenticated")
        assert "URL" in answer.json()["detail"]
    assert cookie_client.get(f"{url}?{name}=something").status_code == 200


def test_a_cookie_needs_its_token_on_unsafe_methods_only(cookie_client, url):
    assert cookie_client.get(url).status_code == 200
    assert_refused(cookie_client.post(url), 403, "csrf")
    cookie_client.cookies["holdfast_csrf"] = "x" * 32
    assert_refused(cookie_client.post(url, HTTP_X_CSRFTOKEN="y" * 32), 403, "csrf")
    assert cookie_client.post(url, HTTP_X_CSRFTOKEN="x" * 32).status_code == 200


def test_a_foreign_origin_is_refused_with_a_cookie(cookie_client, url):
    cookie_client.cookies["holdfast_csrf"] = "x" * 32
    headers = {"HTTP_X_CSRFTOKEN": "x" * 32, "HTTP_ORIGIN": "https://evil.example"}
    assert_refused(cookie_client.post(url, **headers), 403, "csrf")


def test_a_deactivated_user_is_nobody(cookie_client, other_user, url):
    other_user.is_active = False
    other_user.save(update_fields=["is_active"])
    assert_refused(cookie_client.get(url), 401, "not_authenticated")


def test_errors_of_a_plain_view_are_worded(client):
    assert_refused(client.get("/plain/missing", **bearer(SECRET)), 404, "not_found")
    assert_refused(client.get("/plain/404", **bearer(SECRET)), 404, "not_found")
    refused = client.put("/plain", **bearer(SECRET))
    assert (refused.status_code, refused["Allow"]) == (405, "GET, POST")


async def test_a_plain_view_works_on_a_real_event_loop(other_user):
    client = AsyncClient()
    await client.aforce_login(other_user)
    answers = await asyncio.gather(*(client.get("/plain") for _ in range(4)))
    assert [answer.json()["user"] for answer in answers] == ["grace"] * 4


# --- sockets --------------------------------------------------------------------------


def login_cookie(user):
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def cookie_header(value):
    return (b"cookie", f"other=1; {settings.SESSION_COOKIE_NAME}={value}".encode())


async def test_a_socket_is_recognised_by_key_before_cookie(user, other_user):
    cookie = cookie_header(await asyncio.to_thread(login_cookie, other_user))
    key = (b"authorization", f"Bearer {SECRET}".encode())
    assert (await authenticate_scope_headers([cookie])).user == other_user
    assert (await authenticate_scope_headers([cookie, key])).user == user
    assert has_bearer([cookie, key])
    assert not has_bearer([cookie])


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"cookie", b"")],
        [cookie_header("unknownunknownunknownunknown")],
        [cookie_header('"\\000\\000\\000\\000\\000\\000\\000\\000\\000"')],
        [(b"cookie", b"\xff\xfe=;;=")],
        [(b"authorization", b"Bearer nope")],
        [(b"authorization", b"Bearer " + SECRET.encode()), (b"Authorization", b"Bearer x")],
    ],
)
async def test_a_socket_of_nobody_is_refused(headers):
    with pytest.raises(NotAuthenticated):
        await authenticate_scope_headers(headers)


async def test_a_bad_key_on_a_socket_never_falls_back_to_the_cookie(other_user):
    cookie = cookie_header(await asyncio.to_thread(login_cookie, other_user))
    with pytest.raises(NotAuthenticated):
        await authenticate_scope_headers([cookie, (b"authorization", b"Bearer hf_nope")])


async def test_a_key_in_a_sockets_url_is_refused():
    headers = [(b"authorization", f"Bearer {SECRET}".encode())]
    scope = {"headers": headers, "query_string": f"token={SECRET}".encode()}
    with pytest.raises(NotAuthenticated):
        await authenticate_scope(scope)
    assert (await authenticate_scope({**scope, "query_string": b"after=1"})).may("chat")


async def test_a_revoked_key_is_no_longer_valid():
    caller = await authenticate_scope_headers([(b"authorization", f"Bearer {SECRET}".encode())])
    assert await still_valid(caller)
    known_keys.clear()
    assert not await still_valid(caller)


def logs_out(client, user):
    client.logout()


def is_deactivated(client, user):
    user.is_active = False
    user.save(update_fields=["is_active"])


def changes_password(client, user):
    user.set_password("another one entirely")
    user.save(update_fields=["password"])


def is_deleted(client, user):
    user.delete()


def does_nothing(client, user):
    pass


@pytest.mark.parametrize(
    ("event", "valid"),
    [
        (does_nothing, True),
        (logs_out, False),
        (is_deactivated, False),
        (changes_password, False),
        (is_deleted, False),
    ],
)
def test_a_cookies_caller_is_valid_as_long_as_its_session(client, other_user, event, valid):
    client.force_login(other_user)
    cookie = cookie_header(client.cookies[settings.SESSION_COOKIE_NAME].value)
    caller = asyncio.run(authenticate_scope_headers([cookie]))
    assert check_still_valid(caller)
    event(client, other_user)
    assert check_still_valid(caller) is valid


def test_checking_a_session_does_not_change_it(other_user, settings):
    """A secret being rotated makes Django's own check give the session a new key, which no socket can pass on."""
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    old = settings.SECRET_KEY
    store.update(
        {
            SESSION_KEY: str(other_user.pk),
            BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
            HASH_SESSION_KEY: other_user.get_session_auth_hash(),
        }
    )
    store.create()
    store.save()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a new secret" * 5, [old]
    caller = Caller(user=other_user, _session_key=store.session_key)
    assert check_still_valid(caller)
    assert check_still_valid(caller)


# --- the caller -------------------------------------------------------------------------


def test_a_session_may_do_what_its_user_may(user, make_user):
    assert Caller(user=user).may("approve")
    with pytest.raises(Forbidden):
        Caller(user=user).require("operator")
    Caller(user=make_user(is_staff=True)).require("operator")


def test_a_caller_shows_no_secret(user):
    assert SECRET not in repr(Caller(user=user, scopes=frozenset(), _secret=SECRET, _session_key="s3ss10n"))
    assert "s3ss10n" not in repr(Caller(user=user, _session_key="s3ss10n"))
