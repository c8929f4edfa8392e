"""Every address under Django. Calls and live logs are answered before it (asgi.py)."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from nimbus_project import views
from triggers.api.webhooks import WebhookCallApi

admin.site.site_header = "Nimbus"
admin.site.site_title = "Nimbus"

urlpatterns = [
    path("api/v1/", include("accounts.urls")),
    path("api/v1/", include("functions.urls")),
    path("api/v1/", include("invocations.urls")),
    path("api/v1/", include("workflows.urls")),
    path("api/v1/", include("triggers.urls")),
    path("webhook/<str:key>", WebhookCallApi.as_view(), name="webhook"),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("health", views.health, name="health"),
    path("health/live", views.live, name="health-live"),
    path("health/ready", views.ready, name="health-ready"),
    path("metrics", views.metrics, name="metrics"),
    path("login", LoginView.as_view(template_name="accounts/login.html"), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    re_path(r"^(?!admin/|static/).*$", views.not_found, name="not-found"),
]

handler400 = "nimbus_project.views.bad_request"
handler403 = "nimbus_project.views.forbidden"
handler404 = "nimbus_project.views.not_found"
handler500 = "nimbus_project.views.failed"
