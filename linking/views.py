"""Pages on which people log in and out."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from common.auth import csrf_problem
from linking.login import LinkState, look_at_link, use_link
from linking.token_page import TokenPage


class PasswordLoginView(LoginView):
    """Log in with a password."""

    template_name = "login.html"
    redirect_authenticated_user = True


class PostOnlyLogoutView(LogoutView):
    """Log out; POST only, as a link on another site must not log anybody out."""


class LoginLinkView(TokenPage):
    """A one-time login link: GET asks, POST logs in."""

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Show whom the link logs in, with a button; nothing is used up yet."""
        state, user = look_at_link(token)
        if user is None:
            return _refusal(request, state)
        return render(request, "login_confirm.html", {"username": user.get_username(), "token": token})

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """Use the link up and log its user in, in a fresh session."""
        if csrf_problem(request):
            return render(request, "linking/login_refused.html", {"state": "csrf"}, status=403)
        user = use_link(token)
        if user is None:
            return _refusal(request, look_at_link(token)[0])
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        return redirect(settings.LOGIN_REDIRECT_URL)


def _refusal(request: HttpRequest, state: LinkState) -> HttpResponse:
    status = 404 if state is LinkState.UNKNOWN else 410
    return render(request, "linking/login_refused.html", {"state": state.value}, status=status)
