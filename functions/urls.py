"""Below /api/v1/."""

from __future__ import annotations

from django.urls import path

from functions.api import functions as api
from functions.api import tasks

urlpatterns = [
    path("tasks/<str:reference>", tasks.TaskApi.as_view(), name="task"),
    path("functions", api.FunctionsApi.as_view(), name="functions"),
    path("functions/<str:reference>", api.FunctionApi.as_view(), name="function"),
    path("functions/<str:reference>/offline", api.FunctionOfflineApi.as_view(), name="function-offline"),
    path("functions/<str:reference>/online", api.FunctionOnlineApi.as_view(), name="function-online"),
]
