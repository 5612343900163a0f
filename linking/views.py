"""Pages on which people log in and out."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from common.auth import csrf_problem
from linking.login import LinkState, look_at_link, use_link


class PasswordLoginView(LoginView):
    """Log in with a password."""

    template_name = "login.html"
    redirect_authenticated_user = True


class PostOnlyLogoutView(LogoutView):
    """Log out; POST only, as a link on another site must not log anybody out."""


@method_decorator(csrf_exempt, name="dispatch")
class LoginLinkView(View):
    """A one-time login link: GET asks, POST logs in.

    Neither refusals nor CSRF failures of this page are logged, since Django's log lines name the path and the
    path holds the token. CSRF is therefore checked here rather than by the middleware.
    """

    http_method_names = ["get", "head", "post"]

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        """Answer without leaving the token in caches, referrers or logs."""
        response = super().dispatch(request, *args, **kwargs)
        add_never_cache_headers(response)
        # "no-referrer" would make browsers send "Origin: null" with the form, which the CSRF check refuses.
        # This one names the host alone, never the path.
        response["Referrer-Policy"] = "strict-origin"
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response

    def http_method_not_allowed(
        self, request: HttpRequest, *args: object, **kwargs: object
    ) -> HttpResponseNotAllowed:
        """Refuse quietly: the base class logs the path."""
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])

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
