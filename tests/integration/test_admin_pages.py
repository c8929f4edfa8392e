"""Django's admin: every model has its pages, history can't be changed, actions do what they say."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from tests.integration.accounts import make_key
from tests.integration.plane import make_function
from tests.services import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

OURS = ("accounts", "functions", "invocations", "workflows", "triggers")
CHANGEABLE = {"Function", "Quota", "User"}


@pytest.fixture
def page(redis_server: RedisServer) -> Client:
    from accounts import services

    services.user_create(name="root", role="admin", password="correct horse battery")
    client = Client()
    assert client.login(username="root", password="correct horse battery")
    return client


def test_every_model_is_registered() -> None:
    models = [model for label in OURS for model in apps.get_app_config(label).get_models()]
    assert len(models) > 18
    assert [m.__name__ for m in models if m not in admin.site._registry] == []


def test_every_list_and_every_row_opens(page: Client) -> None:
    _one_of_everything()
    opened = 0
    for model in admin.site._registry:
        label = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        if model._meta.app_label not in (*OURS, "auth"):
            continue
        assert page.get(reverse(f"{label}_changelist"), {"q": "a"}).status_code == 200, label
        assert page.get(reverse(f"{label}_changelist")).status_code == 200, label
        row = model._default_manager.first()
        if row is not None:
            answer = page.get(reverse(f"{label}_change", args=[row.pk]))
            assert answer.status_code == 200, label
            opened += 1
    assert opened > 15


def test_lists_are_useful() -> None:
    for model, shown in admin.site._registry.items():
        if model._meta.app_label in OURS:
            assert len(shown.list_display) > 1, model
            assert shown.search_fields, model


def test_history_can_be_read_only(page: Client) -> None:
    from django.test import RequestFactory

    request = RequestFactory().get("/admin/")
    for model, shown in admin.site._registry.items():
        if model._meta.app_label in OURS and model.__name__ not in CHANGEABLE:
            assert not shown.has_change_permission(request), model
            assert not shown.has_add_permission(request), model
            assert not shown.has_delete_permission(request), model


def test_no_secret_is_on_a_page(page: Client) -> None:
    from accounts.models import ApiKey
    from functions.models import FunctionVersion, Secret
    from triggers.models import Webhook

    key = make_key("dev", "developer")
    function = make_function("f", env_vars={"PIN": "one-two-three"})
    secret = Secret.objects.create(function=function, name="S", ciphertext=b"cipher-text-bytes")
    hook = Webhook.objects.create(function=function, key_sha256="5" * 64, secrets_ciphertext=b"cipher-text-bytes")
    function.webhook_ciphertext = b"cipher-text-bytes"
    function.save()
    rows: list[Any] = [ApiKey.objects.get(prefix=key.split("_")[1]), secret, FunctionVersion.objects.get()]
    rows += [hook, function]
    for row in rows:
        label = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
        text = page.get(reverse(label, args=[row.pk])).content.decode()
        for hidden in (key.split("_")[2], rows[0].secret_sha256, "cipher-text-bytes", "one-two-three", "5" * 64):
            assert hidden not in text, label


def test_taking_offline_and_putting_online(page: Client) -> None:
    function = make_function("f")
    address = reverse("admin:functions_function_changelist")
    for action, status in (("take_offline", "offline"), ("put_online", "active")):
        page.post(address, {"action": action, "_selected_action": [str(function.pk)]})
        function.refresh_from_db()
        assert function.status == status


def test_revoking_a_key(page: Client) -> None:
    from accounts.models import ApiKey, AuditEntry

    prefix = make_key("dev", "developer").split("_")[1]
    row = ApiKey.objects.get(prefix=prefix)
    data = {"action": "revoke", "_selected_action": [str(row.pk)]}
    page.post(reverse("admin:accounts_apikey_changelist"), data)
    row.refresh_from_db()
    assert row.revoked_at is not None
    assert AuditEntry.objects.filter(action="key.revoke", object_id=str(row.pk)).exists()


def test_changing_a_function_goes_through_the_service(page: Client) -> None:
    from accounts.models import AuditEntry
    from accounts.selectors import user_get

    function = make_function("f")
    make_key("dev", "developer")
    address = reverse("admin:functions_function_change", args=[function.pk])
    form = page.get(address).context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    data = {name: value for name, value in values.items() if value is not None and value is not False}
    data |= {f"{prefix}-{kind}_FORMS": "0" for prefix in _inlines(page, address) for kind in ("TOTAL", "INITIAL")}
    data |= {"description": "by hand", "owner": str(user_get("dev").pk), "shared": "on"}
    answer = page.post(address, data)
    assert answer.status_code == 302, answer.context["errors"]
    function.refresh_from_db()
    assert (function.description, function.owner_id, function.shared) == ("by hand", user_get("dev").pk, True)
    assert {"function.give", "function.update"} <= set(AuditEntry.objects.values_list("action", flat=True))


def test_pausing_and_resuming_a_schedule(page: Client) -> None:
    from triggers.models import Schedule

    row = Schedule.objects.create(function=make_function("f"), name="s", cron_expression="* * * * *")
    address = reverse("admin:triggers_schedule_changelist")
    for action, enabled in (("pause", False), ("resume", True)):
        page.post(address, {"action": action, "_selected_action": [str(row.pk)]})
        row.refresh_from_db()
        assert (row.enabled, row.next_fire_at is not None) == (enabled, enabled)


def test_stopping_an_execution(page: Client) -> None:
    from tests.integration import executions

    row = executions.start({"Wait": {"Type": "Wait", "Seconds": 60, "End": True}})
    data = {"action": "stop", "_selected_action": [str(row.pk)]}
    for told in (b"", b"has ended already"):
        assert told in page.post(reverse("admin:workflows_execution_changelist"), data, follow=True).content
        row.refresh_from_db()
        assert row.status == "cancelled"


def test_a_cron_expression_typed_by_hand_is_checked(page: Client) -> None:
    address = reverse("admin:functions_function_change", args=[make_function("f").pk])
    answer = page.post(address, {"cron_expression": "* * *", "cron_timezone": "Mars/Olympus"})
    errors = answer.context["adminform"].form.errors
    assert "fields" in str(errors["cron_expression"]) and "Mars" in str(errors["cron_timezone"])


def test_a_function_has_the_bounds_of_the_api_here_too(page: Client) -> None:
    function = make_function("f")
    address = reverse("admin:functions_function_change", args=[function.pk])
    form = page.get(address).context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    data = {name: value for name, value in values.items() if value is not None and value is not False}
    data |= {f"{prefix}-{kind}_FORMS": "0" for prefix in _inlines(page, address) for kind in ("TOTAL", "INITIAL")}
    for field, value in (("max_retries", "11"), ("max_concurrency", "10001"), ("max_event_age_sec", "59")):
        answer = page.post(address, data | {field: value})
        assert answer.status_code == 200 and list(answer.context["adminform"].form.errors) == [field]
    assert page.post(address, data | {"max_retries": "3"}).status_code == 302
    function.refresh_from_db()
    assert function.max_retries == 3


def test_a_new_user_is_a_viewer_until_said_otherwise(page: Client) -> None:
    from accounts.selectors import role_of, user_get

    data = {"username": "new", "password1": "Quite-a-long-one-7", "password2": "Quite-a-long-one-7"}
    assert page.post(reverse("admin:auth_user_add"), data | {"usable_password": "true"}).status_code == 302
    user = user_get("new")
    assert role_of(user) == "viewer" and not user.is_staff
    address = reverse("admin:auth_user_change", args=[user.pk])
    form = page.get(address).context["adminform"].form
    values = {name: form[name].value() or "" for name in form.fields if name != "password"}
    values |= {"is_active": "on", "member-TOTAL_FORMS": "1", "member-INITIAL_FORMS": "1", "member-0-role": "admin"}
    values |= {"member-0-id": str(user.member.pk), "member-0-user": str(user.pk)}
    values |= {f"{p}-{kind}_FORMS": "0" for p in ("quota", "api_keys") for kind in ("TOTAL", "INITIAL")}
    assert page.post(address, values).status_code == 302
    assert role_of(user_get("new")) == "admin" and user_get("new").is_staff


def test_a_new_password_is_logged_without_it(page: Client) -> None:
    from accounts.models import AuditEntry
    from accounts.selectors import user_get

    make_key("dev", "developer")
    data = {"password1": "Quite-a-long-one-7", "password2": "Quite-a-long-one-7", "usable_password": "true"}
    answer = page.post(reverse("admin:auth_user_password_change", args=[user_get("dev").pk]), data)
    assert answer.status_code == 302
    entry = AuditEntry.objects.filter(action="user.update").get()
    assert (entry.object_name, entry.after) == ("dev", {"password": "***"})


def test_a_user_without_the_role_does_not_get_in(page: Client) -> None:
    from accounts import services

    services.user_create(name="dev", role="developer", password="correct horse battery")
    client = Client()
    assert client.login(username="dev", password="correct horse battery")
    assert client.get("/admin/").status_code == 302


def _inlines(page: Client, address: str) -> list[str]:
    return [formset.formset.prefix for formset in page.get(address).context["inline_admin_formsets"]]


def _one_of_everything() -> None:
    from django.utils import timezone

    from accounts.models import Quota
    from functions import models
    from functions.models import Function
    from invocations.models import IdempotencyKey, InvocationLog, Report
    from nimbus_project.core.ids import new_id
    from tests.integration import executions
    from tests.integration.plane import make_dead_letter, make_row
    from triggers.models import Schedule, ScheduleFire, Webhook, WebhookDelivery

    now = timezone.now()
    make_key("dev", "developer")
    function: Function = make_function("f", tags=["t"])
    alias = models.Alias.objects.create(function=function, name="prod", weights=[{"version": 1, "weight": 100}])
    models.Rollout.objects.create(alias=alias, version=1, interval_sec=5, step_began_at=now)
    models.Secret.objects.create(function=function, name="S", ciphertext=b"x")
    environment = models.Environment.objects.create(name="dev")
    models.FunctionEnvironment.objects.create(function=function, environment=environment)
    layer = models.Layer.objects.create(name="l")
    models.LayerVersion.objects.create(layer=layer, version=1, sha256="0" * 64, size_bytes=1, stored_as="x")
    models.Artifact.objects.create(key="0" * 64, sha256="0" * 64, kind="tree", size_bytes=1, stored_as="x")
    models.BuildTask.objects.create(function=function, version=1)
    models.FunctionRoute.objects.create(function=function, pattern="/x", method="GET")
    Webhook.objects.create(function=function, key_sha256="0" * 64)
    WebhookDelivery.objects.create(function_id=function.pk, http_status=200, request_id="r", received_at=now)
    Quota.objects.create(max_functions=3)
    make_dead_letter(function_id=function.pk)
    Report.objects.create(
        invocation_id=new_id(), function_id=function.pk, function_name="f", destination={"url": "x"}, created_at=now
    )
    row = make_row(now, function_id=function.pk)
    InvocationLog.objects.create(
        invocation_id=row.pk, function_id=function.pk, lines=b'[[1,"stdout","a"]]', created_at=now
    )
    schedule = Schedule.objects.create(function=function, name="s", cron_expression="* * * * *")
    ScheduleFire.objects.create(
        schedule_id=schedule.pk, function_id=function.pk, fire_time=now, status="fired", created_at=now
    )
    IdempotencyKey.objects.create(
        function_id=function.pk, key="k", body_sha256="0" * 64, invocation_id=new_id(), created_at=now
    )
    executions.advance(executions.start({"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}, {"a": "<b>"}))
