"""Where the admin's pages of usage are."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from copilot.operators.usage_page import usage_file, usage_page

urlpatterns = [
    path("", admin.site.admin_view(usage_page), name="operator-usage"),
    path("<slug:table>.csv", admin.site.admin_view(usage_file), name="operator-usage-file"),
]
