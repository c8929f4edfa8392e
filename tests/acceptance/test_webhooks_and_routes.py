"""Webhooks and custom routes on a real platform: what the document shows, many at once, and no call lost to a kill."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.acceptance import documents
from tests.acceptance.caller import Caller
from tests.platform import Platform
from tests.services import wait_until

pytestmark = pytest.mark.timeout(180)

SECRET = "correct-horse"
ECHO = "def main(event):\n    return event\n"


def test_the_commands_of_the_document_run(platform: Platform, tmp_path: Path) -> None:
    said = documents.run("triggers/webhooks-and-routes.md", platform, tmp_path, "openssl")
    assert '{"got":{"action":"closed"},"from":"issues"}' in said.replace(", ", ",").replace(": ", ":")
    for status in ("401", "403", "405"):
        assert f"\n{status}\n" in said
    assert "Hello Ada" in said
    assert "set-cookie: seen=ada" in said.lower()
    assert "access-control-allow-origin: https://app.example.org" in said.lower()
    row = platform.client.get("/api/v1/functions/hook/webhook/deliveries").json()["deliveries"][0]
    wait_until(
        lambda: platform.client.get(f"/api/v1/invocations/{row['invocation_id']}").json()["status"] == "success",
        30,
        "the delivery made again",
    )
    wanted = {
        'nimbus_webhook_requests_total{function="hook",outcome="answered"} 2.0',
        'nimbus_webhook_requests_total{function="hook",outcome="signature_refused"} 1.0',
    }
    # They are counted when they are stored.
    wait_until(lambda: wanted <= set(platform.client.get("/metrics").text.splitlines()), 30, "the metric")


def signed(body: bytes) -> dict[str, str]:
    at = int(time.time())
    made = hmac.new(SECRET.encode(), b"%d.%b" % (at, body), hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={at},v1={made}", "Content-Type": "application/json"}


def webhook(caller: Caller, name: str, **settings: object) -> str:
    """The path of the webhook of a new function."""
    caller.create(name, ECHO)
    assert caller.http.put(f"/functions/{name}/webhook", json=settings).status_code == 200
    return urlsplit(caller.http.post(f"/functions/{name}/webhook/enable").json()["webhook_url"]).path


def test_fifty_senders_and_visitors_at_once(caller: Caller, platform: Platform) -> None:
    path = webhook(caller, "hook", signature={"scheme": "stripe", "secret": SECRET})
    caller.create("page", ECHO, http_path="/page/{number}")

    def call(number: int) -> tuple[int, int, bool]:
        if number % 2:
            answer = platform.client.get(f"/page/{number}")
            return number, answer.status_code, answer.json().get("pathParameters") == {"number": str(number)}
        body = json.dumps({"number": number}).encode()
        answer = platform.client.post(path, content=body, headers=signed(body))
        return number, answer.status_code, answer.json().get("body") == {"number": number}

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(call, range(200)))
    assert [each for each in answers if each[1:] != (200, True)] == []
    assert caller.statuses("hook") == {"success": 100}
    assert caller.statuses("page") == {"success": 100}


def test_a_huge_body_is_refused_while_it_is_sent(caller: Caller, platform: Platform) -> None:
    """By the server as it stands: it does not wait for the end of what it will not take."""
    path = webhook(caller, "hook", signature={"scheme": "stripe", "secret": SECRET})
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=30)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders(b"x" * 1000)
    try:
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (413, "too_large")
    finally:
        connection.close()
    assert caller.all_of("hook") == []


def test_lines_that_a_function_makes_up_split_no_answer(caller: Caller, platform: Platform) -> None:
    """On the wire: nothing of a value becomes a header, or an answer, of its own."""
    evil = "a\r\nX-Injected: 1\r\n\r\nHTTP/1.1 200 OK"
    headers = {"X-A": evil, "X-B": "b"}
    code = f"def main(event):\n    return {{'statusCode': 200, 'body': 'ok', 'headers': {headers!r}}}\n"
    caller.create("page", code, http_path="/page")
    with socket.create_connection(("127.0.0.1", platform.port), 30) as raw:
        raw.sendall(b"GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while chunk := raw.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and received.count(b"HTTP/1.1") == 1
    assert b"x-b: b" in head.lower() and b"x-injected" not in received.lower() and b"x-a" not in head.lower()
    assert body == b"ok"


def test_what_an_async_webhook_accepted_survives_the_platform(caller: Caller, platform: Platform) -> None:
    path = webhook(caller, "hook", mode="async")
    accepted = [platform.client.post(path, json={"number": number}).json()["invocation_id"] for number in range(20)]
    platform.worker.kill9()
    platform.web.kill9()
    platform.start_web()
    platform.start_worker()
    bodies = sorted(caller.ended(one, 60)["output"]["body"]["number"] for one in accepted)
    assert bodies == list(range(20))
    # Its address and its settings are those of before.
    assert platform.client.post(path, json={}).status_code == 202
