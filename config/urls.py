"""Where everything is."""

from csp.constants import UNSAFE_INLINE
from csp.decorators import csp_update
from django.contrib import admin
from django.urls import include, path, re_path
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

import linking.urls
from config.errors import api_not_found
from config.health import healthz, readyz
from config.metrics import metrics
from copilot.operators.diagnostics_page import diagnostics_page

# JSON unless YAML is asked for: every YAML reader reads it too.
_schema = SpectacularAPIView.as_view(
    renderer_classes=[OpenApiJsonRenderer2, OpenApiJsonRenderer, OpenApiYamlRenderer, OpenApiYamlRenderer2]
)
# The page's own style sheet is inline; its scripts are not.
_docs = csp_update({"style-src": [UNSAFE_INLINE]})(SpectacularSwaggerSplitView.as_view(url_name="schema"))

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("api/v1/schema", _schema, name="schema"),
    path("api/v1/docs", _docs, name="docs"),
    path("api/v1/", include(linking.urls.api_urlpatterns)),
    path("api/v1/", include("approvals.api.push_urls")),
    path("api/v1/", include("chat.api.urls")),
    path("api/v1/", include("chat.ui.urls")),
    path("api/v1/", include("approvals.api.urls")),
    path("api/v1/", include("copilot.operators.api.urls")),
    re_path(r"^api(/.*)?$", api_not_found),
    path("admin/diagnostics/", admin.site.admin_view(diagnostics_page), name="diagnostics"),
    path("admin/usage/", include("copilot.operators.usage_urls")),
    path("admin/", admin.site.urls),
    path("", include("approvals.views_push")),
    path("", include("linking.urls")),
    path("", include("approvals.urls")),
    path("", include("chat.urls")),
]

handler400 = "config.errors.bad_request"
handler403 = "config.errors.forbidden"
handler404 = "config.errors.not_found"
handler500 = "config.errors.server_error"
