"""Quotas edited in Django's admin are in force at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import quotas
from accounts.models import AuditEntry, Quota
from accounts.quotas import Limits
from accounts.selectors import user_get
from tests.integration.accounts import make_key
from tests.integration.test_admin_pages import page

__all__ = ["page"]

pytestmark = pytest.mark.django_db(transaction=True)

LIMITS = {"max_functions": 3, "max_memory_mb": 0, "max_invocations_per_day": 7, "max_code_size_kb": 0}
ADD = "admin:accounts_quota_add"


@pytest.fixture(autouse=True)
def no_quotas() -> Iterator[None]:
    quotas.forget_all()
    yield
    Quota.objects.all().delete()
    quotas.forget_all()


def fields(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in LIMITS}


def test_a_row_for_everybody_is_made_once(page: Client) -> None:
    assert quotas.limits_of(None) == Limits()
    assert page.post(reverse(ADD), LIMITS).status_code == 302
    assert quotas.limits_of(None) == quotas.limits_of(1234) == Limits(max_functions=3, max_invocations_per_day=7)
    answer = page.post(reverse(ADD), LIMITS)
    assert answer.status_code == 200 and b"for everybody already" in answer.content
    assert Quota.objects.count() == 1


def test_changes_and_deletion_are_in_force_at_once(page: Client) -> None:
    row = Quota.objects.create(**LIMITS)
    assert quotas.limits_of(None).max_functions == 3
    address = reverse("admin:accounts_quota_change", args=[row.pk])
    assert page.post(address, LIMITS | {"max_functions": 4}).status_code == 302
    assert quotas.limits_of(None).max_functions == 4
    assert page.post(reverse("admin:accounts_quota_delete", args=[row.pk]), {"post": "yes"}).status_code == 302
    assert quotas.limits_of(None) == Limits()
    assert {"quota.update", "quota.delete"} <= set(AuditEntry.objects.values_list("action", flat=True))


def test_on_the_users_own_page(page: Client) -> None:
    make_key("dev", "developer")
    user = user_get("dev")
    assert quotas.limits_of(user.pk) == Limits()
    address = reverse("admin:auth_user_change", args=[user.pk])

    def save(**quota: Any) -> None:
        form = page.get(address).context["adminform"].form
        values = {name: form[name].value() or "" for name in form.fields if name != "password"}
        values |= {"is_active": "on", "member-TOTAL_FORMS": "1", "member-INITIAL_FORMS": "1"}
        values |= {"member-0-role": "developer", "member-0-id": str(user.member.pk), "member-0-user": str(user.pk)}
        values |= {f"api_keys-{kind}_FORMS": "0" for kind in ("TOTAL", "INITIAL")}
        values |= {"quota-TOTAL_FORMS": "1", "quota-0-owner": str(user.pk)}
        values |= {f"quota-{'' if name == 'INITIAL_FORMS' else '0-'}{name}": value for name, value in quota.items()}
        assert page.post(address, values).status_code == 302

    save(INITIAL_FORMS=0, **LIMITS)
    row = Quota.objects.get()
    assert (row.owner_id, fields(row)) == (user.pk, LIMITS)
    assert quotas.limits_of(user.pk).max_functions == 3
    save(INITIAL_FORMS=1, id=row.pk, **LIMITS | {"max_functions": 9})
    assert quotas.limits_of(user.pk).max_functions == 9
    assert AuditEntry.objects.filter(action="quota.update").count() == 2
    save(INITIAL_FORMS=1, id=row.pk, DELETE="on", **LIMITS)
    assert quotas.limits_of(user.pk) == Limits()
