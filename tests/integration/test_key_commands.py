"""`manage.py createapikey` and `createmember`."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from accounts.models import ApiKey
from tests.integration.accounts import As
from tests.integration.plane import Api

pytestmark = pytest.mark.django_db(transaction=True)


def run(*args: str, **more: object) -> str:
    out = io.StringIO()
    call_command(*args, stdout=out, stderr=io.StringIO(), **more)
    return out.getvalue().strip()


def test_the_first_key_of_an_installation(locked_entrance: Api) -> None:
    # Those of tests before this one: users and their keys are not emptied between tests.
    ApiKey.objects.all().delete()
    text = run("createapikey", "--user", "root", "--role", "admin", "--name", "first", "--expires-days", "3")
    me = As(locked_entrance, text).get("/me").json()
    assert (me["name"], me["role"]) == ("root", "admin")
    shown = As(locked_entrance, text).get("/apikeys").json()["apikeys"]
    assert [(row["name"], "expires_at" in row) for row in shown] == [("first", True)]


def test_a_key_of_somebody_who_is_there_has_their_role(locked_entrance: Api) -> None:
    run("createmember", "vera", "--role", "viewer", "--no-password")
    assert As(locked_entrance, run("createapikey", "--user", "vera")).get("/me").json()["role"] == "viewer"
    with pytest.raises(CommandError, match="no more than its owner"):
        run("createapikey", "--user", "vera", "--role", "admin")


def test_wrong_wishes(transactional_db: None) -> None:
    from django.contrib.auth.models import User

    with pytest.raises(CommandError, match="no user"):
        run("createapikey", "--user", "nobody")
    with pytest.raises(CommandError, match="1 to 3650"):
        run("createapikey", "--user", "root", "--role", "admin", "--expires-days", "0")
    assert not User.objects.exists()
    run("createmember", "vera", "--role", "viewer", "--no-password")
    with pytest.raises(CommandError, match="exists already"):
        run("createmember", "vera", "--role", "viewer", "--no-password")


def test_djangos_superuser_is_an_admin(transactional_db: None) -> None:
    from django.contrib.auth.models import User

    from accounts.selectors import role_of

    assert role_of(User.objects.create_superuser("root", password="x")) == "admin"
    assert role_of(User.objects.create_user("plain", password="x")) == ""
