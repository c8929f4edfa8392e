"""Below /api/v1/."""

from __future__ import annotations

from django.urls import path

from functions.api import (
    aliases,
    bulk,
    compile,
    environments,
    layers,
    rollouts,
    secrets,
    tasks,
    templates,
    transfer,
    versions,
)
from functions.api import functions as api

urlpatterns = [
    path("tasks/<str:reference>", tasks.TaskApi.as_view(), name="task"),
    path("compile", compile.CompileApi.as_view(), name="compile"),
    path("functions", api.FunctionsApi.as_view(), name="functions"),
    path("functions/bulk-delete", bulk.BulkDeleteApi.as_view(), name="functions-bulk-delete"),
    path("functions/bulk-update", bulk.BulkUpdateApi.as_view(), name="functions-bulk-update"),
    path("functions/export", transfer.FunctionsExportApi.as_view(), name="functions-export"),
    path("functions/from-template", templates.FromTemplateApi.as_view(), name="functions-from-template"),
    path("templates", templates.TemplatesApi.as_view(), name="templates"),
    path("functions/import", transfer.FunctionsImportApi.as_view(), name="functions-import"),
    path("functions/<str:reference>/export", transfer.FunctionExportApi.as_view(), name="function-export"),
    path("functions/<str:reference>/clone", api.FunctionCloneApi.as_view(), name="function-clone"),
    path("functions/<str:reference>/recompile", api.FunctionRecompileApi.as_view(), name="function-recompile"),
    path("functions/<str:reference>/pin", api.FunctionPinApi.as_view(), name="function-pin"),
    path("layers", layers.LayersApi.as_view(), name="layers"),
    path("layers/<str:reference>", layers.LayerApi.as_view(), name="layer"),
    path("layers/<str:reference>/versions", layers.LayerVersionsApi.as_view(), name="layer-versions"),
    path("functions/<str:reference>/layers", layers.FunctionLayersApi.as_view(), name="function-layers"),
    path("environments", environments.EnvironmentsApi.as_view(), name="environments"),
    path("environments/<str:reference>", environments.EnvironmentApi.as_view(), name="environment"),
    path("functions/<str:reference>/secrets", secrets.SecretsApi.as_view(), name="function-secrets"),
    path("functions/<str:reference>/secrets/<str:name>", secrets.SecretApi.as_view(), name="function-secret"),
    path(
        "functions/<str:reference>/environments/<str:environment>",
        environments.FunctionEnvironmentApi.as_view(),
        name="function-environment",
    ),
    path("functions/<str:reference>", api.FunctionApi.as_view(), name="function"),
    path("functions/<str:reference>/offline", api.FunctionOfflineApi.as_view(), name="function-offline"),
    path("functions/<str:reference>/online", api.FunctionOnlineApi.as_view(), name="function-online"),
    path("functions/<str:reference>/versions", versions.VersionsApi.as_view(), name="versions"),
    path("functions/<str:reference>/versions/<int:number>", versions.VersionApi.as_view(), name="version"),
    path("functions/<str:reference>/versions/<int:number>/diff", versions.DiffApi.as_view(), name="version-diff"),
    path(
        "functions/<str:reference>/versions/<int:number>/rollback",
        versions.RollbackApi.as_view(),
        name="version-rollback",
    ),
    path("functions/<str:reference>/aliases", aliases.AliasesApi.as_view(), name="aliases"),
    path("functions/<str:reference>/aliases/<str:alias>", aliases.AliasApi.as_view(), name="alias"),
    path("functions/<str:reference>/aliases/<str:alias>/rollout", rollouts.RolloutApi.as_view(), name="rollout"),
    path(
        "functions/<str:reference>/aliases/<str:alias>/rollout/pause",
        rollouts.RolloutPauseApi.as_view(),
        name="rollout-pause",
    ),
    path(
        "functions/<str:reference>/aliases/<str:alias>/rollout/resume",
        rollouts.RolloutResumeApi.as_view(),
        name="rollout-resume",
    ),
    path(
        "functions/<str:reference>/aliases/<str:alias>/rollout/abort",
        rollouts.RolloutAbortApi.as_view(),
        name="rollout-abort",
    ),
    path("functions/<str:reference>/rollouts", rollouts.RolloutsApi.as_view(), name="rollouts"),
]
