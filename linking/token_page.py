"""Pages whose address is a secret: nothing may keep it, or say it on."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.utils.cache import add_never_cache_headers
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt


@method_decorator(csrf_exempt, name="dispatch")
class TokenPage(View):
    """A page of a link that works once.

    Neither refusals nor CSRF failures of these pages are logged, since Django's log lines name the path and the
    path holds the token. CSRF is therefore to be checked by the page rather than by the middleware.
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
