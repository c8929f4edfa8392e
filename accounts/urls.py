"""Below /api/v1/."""

from __future__ import annotations

from django.urls import path

from accounts import api

urlpatterns = [
    path("me", api.MeApi.as_view(), name="me"),
    path("apikeys", api.ApiKeysApi.as_view(), name="apikeys"),
    path("apikeys/<str:reference>", api.ApiKeyApi.as_view(), name="apikey"),
    path("users", api.UsersApi.as_view(), name="users"),
    path("users/<str:reference>", api.UserApi.as_view(), name="user"),
    path("audit", api.AuditApi.as_view(), name="audit"),
]
