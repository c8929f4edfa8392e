"""Secrets: written, never shown, given to the code at once; keys that rotate."""

from __future__ import annotations

import logging
import time
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import transaction

from accounts.models import AuditEntry
from functions import configuration, directory, secrets, services
from functions.configuration import SecretUnreadable, place_of
from functions.models import Function, Secret
from nimbus_project.core import crypto
from nimbus_project.core.crypto import Keyring, Undecryptable
from tests.integration.plane import Api, in_threads, living_workers, make_function, refusal, wait_until

pytestmark = pytest.mark.usefixtures("transactional_db", "keys")

VALUE = "correct-horse-battery-staple"
TELL = "import os\ndef main(event):\n    return {name: os.environ.get(name) for name in event}\n"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's keys are as they were afterwards."""
    monkeypatch.setattr(crypto, "_keyring", crypto.keyring())


def use_keys(monkeypatch: pytest.MonkeyPatch, *given: str) -> None:
    monkeypatch.setattr(crypto, "_keyring", Keyring(",".join(given), Path("/nonexistent")))


def new_key() -> str:
    return Fernet.generate_key().decode()


# -- written, never shown


def test_set_replace_list_delete(api: Api) -> None:
    api.create()
    made = api.put("/functions/hello/secrets/TOKEN", {"value": VALUE})
    assert (made.status_code, set(made.json())) == (201, {"name", "created_at", "updated_at"})
    again = api.put("/functions/hello/secrets/TOKEN", {"value": "other"})
    assert again.status_code == 200
    assert again.json()["updated_at"] > made.json()["updated_at"]
    api.put("/functions/hello/secrets/A_KEY", {"value": ""})
    shown = api.get("/functions/hello/secrets").json()
    assert [one["name"] for one in shown["secrets"]] == ["A_KEY", "TOKEN"]
    assert (shown["total"], shown["offset"], shown["limit"]) == (2, 0, 20)
    assert api("DELETE", "/functions/hello/secrets/TOKEN").status_code == 204
    refusal(api("DELETE", "/functions/hello/secrets/TOKEN"), 404, "secret_not_found")
    refusal(api.get("/functions/hello/secrets/A_KEY"), 405)


def test_the_value_is_nowhere_to_be_read(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api.create()
    answers = [
        api.put("/functions/hello/secrets/TOKEN", {"value": VALUE}),
        api.get("/functions/hello"),
        api.get("/functions/hello/secrets"),
        api.get("/functions/hello/export"),
        api.post("/functions/export"),
        api.put("/functions/hello/secrets/NIMBUS_X", {"value": VALUE}),
        api.put("/functions/hello/secrets/BIG", {"value": VALUE * 1000}),
        api.put("/functions/hello/secrets/TOKEN", {"value": VALUE, "more": VALUE}),
        api("DELETE", "/functions/hello/secrets/TOKEN"),
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200, 400, 400, 400, 204]
    for answer in answers:
        assert VALUE.encode() not in answer.content
    assert VALUE not in caplog.text
    for entry in AuditEntry.objects.all():
        assert VALUE not in f"{entry.before} {entry.after} {entry.object_name}"
    assert AuditEntry.objects.filter(action="secret.create", object_name="hello/TOKEN").exists()
    assert AuditEntry.objects.filter(action="secret.delete", object_name="hello/TOKEN").exists()


def test_at_rest_it_is_encrypted_and_bound_to_its_place() -> None:
    one, two = make_function("one"), make_function("two")
    secret, _ = secrets.secret_set("one", "TOKEN", VALUE)
    stored = bytes(Secret.objects.get(pk=secret.pk).ciphertext)
    assert VALUE.encode() not in stored
    assert configuration.secret_values(one.pk) == {"TOKEN": VALUE}
    Secret.objects.create(function=two, name="TOKEN", ciphertext=stored)
    with pytest.raises(SecretUnreadable, match="TOKEN"):
        configuration.secret_values(two.pk)


@pytest.mark.parametrize("name", ["1X", "A-B", "A%20B", "NIMBUS_X", "nimbus_x", "X" * 129, "Ä", "A%00B"])
def test_names_that_no_variable_has_are_refused(api: Api, name: str) -> None:
    api.create()
    refusal(api.put(f"/functions/hello/secrets/{name}", {"value": "x"}), 400)


@pytest.mark.parametrize("body", [{}, {"value": 7}, {"value": None}, {"value": "a\0b"}, {"value": "x" * 16_385}, []])
def test_bad_values_are_refused(api: Api, body: Any) -> None:
    api.create()
    refusal(api.put("/functions/hello/secrets/TOKEN", body), 400)
    assert not Secret.objects.exists()


def test_bounds_hold_for_two_at_once() -> None:
    make_function("hello")
    results = in_threads(20, lambda n: secrets.secret_set("hello", f"S{n}", "x" * 16_000))
    assert sum(isinstance(one, tuple) for one in results) == 4
    with_many = make_function("many")
    for number in range(secrets.MAX_SECRETS):
        secrets.secret_set("many", f"S{number}", "x")
    with pytest.raises(Exception, match="at most 64"):
        secrets.secret_set("many", "ONE_MORE", "x")
    secrets.secret_set("many", "S0", "y")
    assert configuration.secret_values(with_many.pk)["S0"] == "y"


# -- given to the code


@pytest.fixture
def ready(worker: None) -> None:
    wait_until(living_workers, "the worker's heartbeat")


def told(api: Api, *names: str, query: str = "", function: str = "tell") -> dict[str, Any]:
    answer = api.post(f"/functions/{function}/invoke{query}", list(names))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()["body"]
    return body


def test_a_change_is_live_for_the_very_next_call(api: Api, ready: None) -> None:
    api.create("tell", code=TELL, env_vars={"TOKEN": "plain", "OTHER": "o"})
    assert told(api, "TOKEN", "OTHER") == {"TOKEN": "plain", "OTHER": "o"}
    for number in range(20):
        api.put("/functions/tell/secrets/TOKEN", {"value": f"{VALUE}{number}"})
        assert told(api, "TOKEN", "OTHER") == {"TOKEN": f"{VALUE}{number}", "OTHER": "o"}
    api("DELETE", "/functions/tell/secrets/TOKEN")
    assert told(api, "TOKEN") == {"TOKEN": "plain"}
    assert api.get("/functions/tell").json()["version"] == 1


def test_a_change_elsewhere_is_live_within_a_second(api: Api, ready: None) -> None:
    """By another process: here, without this one's directory being told but by the message."""
    api.create("tell", code=TELL)
    assert told(api, "TOKEN") == {"TOKEN": None}
    began = time.monotonic()
    secrets.secret_set("tell", "TOKEN", VALUE)
    wait_until(lambda: told(api, "TOKEN") == {"TOKEN": VALUE}, "the new secret", within_sec=1.0)
    assert time.monotonic() - began < 1.0


def test_a_queued_call_has_the_secret_too(api: Api, ready: None) -> None:
    api.create("tell", code=TELL)
    told(api, "TOKEN")
    api.put("/functions/tell/secrets/TOKEN", {"value": VALUE})
    accepted = api.post("/functions/tell/async", ["TOKEN"]).json()["invocation_id"]

    def ended() -> dict[str, Any] | None:
        row: dict[str, Any] = api.get(f"/invocations/{accepted}").json()
        return row if row["status"] == "success" else None

    assert wait_until(ended, "the run")["output"] == {"TOKEN": VALUE}


def test_a_secret_that_no_key_opens_is_the_platforms_fault(api: Api, ready: None) -> None:
    made = api.create("tell", code=TELL)
    stored = Keyring(new_key(), Path("/nonexistent")).encrypt(VALUE, place_of(made["id"], "TOKEN"))
    # As every change of a secret does: the worker may have read the function ahead, while it had none.
    with transaction.atomic():
        Secret.objects.create(function_id=made["id"], name="TOKEN", ciphertext=stored)
        configuration.advance(UUID(made["id"]))
        directory.changed(Function.objects.get(pk=made["id"]))
    answer = api.post("/functions/tell/invoke", ["TOKEN"])
    assert answer.status_code == 503, answer.text
    assert "TOKEN can't be decrypted" in answer.json()["error"]


# -- keys


def test_the_newest_key_encrypts_and_all_decrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = new_key(), new_key()
    function = make_function()
    use_keys(monkeypatch, old)
    secrets.secret_set("hello", "A", VALUE)
    use_keys(monkeypatch, new, old)
    secrets.secret_set("hello", "B", VALUE)
    assert configuration.secret_values(function.pk) == {"A": VALUE, "B": VALUE}
    use_keys(monkeypatch, new)
    with pytest.raises(SecretUnreadable, match="The secret A"):
        configuration.secret_values(function.pk)


def test_rotation_makes_older_keys_needless(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = new_key(), new_key()
    function = make_function()
    use_keys(monkeypatch, old)
    for name in ("A", "B"):
        secrets.secret_set("hello", name, VALUE)
    before = list(Secret.objects.values_list("updated_at", flat=True))
    generation = Function.objects.get().generation
    use_keys(monkeypatch, new, old)
    output = StringIO()
    call_command("rotatesecrets", stdout=output)
    assert "2 secrets" in output.getvalue()
    use_keys(monkeypatch, new)
    assert configuration.secret_values(function.pk) == {"A": VALUE, "B": VALUE}
    assert list(Secret.objects.values_list("updated_at", flat=True)) == before
    assert Function.objects.get().generation == generation


def test_rotation_names_what_no_key_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    make_function()
    use_keys(monkeypatch, new_key())
    secrets.secret_set("hello", "A", VALUE)
    use_keys(monkeypatch, new_key())
    with pytest.raises(CommandError, match="hello/A"):
        call_command("rotatesecrets", stdout=StringIO())


def test_a_new_key_in_the_file_is_seen_by_processes_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secrets.key"
    here, there = Keyring("", path), Keyring("", path)
    old = here.encrypt(VALUE, "p")
    there.add_key()
    assert len(path.read_text().split()) == 2
    assert here.decrypt(there.encrypt("new", "p"), "p") == "new"
    assert there.decrypt(old, "p") == VALUE
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    with pytest.raises(ValueError, match="NIMBUS_SECRETS_KEY"):
        Keyring(new_key(), path).add_key()


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    rings = in_threads(16, lambda _: Keyring("", tmp_path / "secrets.key"))
    tokens = [ring.encrypt(VALUE, "p") for ring in rings if isinstance(ring, Keyring)]
    assert len(tokens) == 16
    assert all(ring.decrypt(token, "p") == VALUE for ring in rings if isinstance(ring, Keyring) for token in tokens)
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.key"]


@pytest.mark.parametrize("bad", ["short", "x" * 44, "é" * 44])
def test_a_bad_key_is_refused_with_a_sentence(bad: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Keyring(bad, tmp_path / "secrets.key")


def test_a_token_of_another_place_is_refused(tmp_path: Path) -> None:
    ring = Keyring(new_key(), tmp_path / "unused")
    with pytest.raises(Undecryptable, match="another place"):
        ring.decrypt(ring.encrypt(VALUE, "here"), "there")
    with pytest.raises(Undecryptable):
        ring.decrypt(b"garbage", "here")


def test_deleting_a_function_deletes_its_secrets() -> None:
    make_function()
    secrets.secret_set("hello", "A", VALUE)
    services.function_delete("hello")
    assert not Secret.objects.exists()
