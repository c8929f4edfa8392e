"""CORS of custom routes as a real browser keeps it: what a page of another site may call and read, what it may not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Page

from tests.acceptance.caller import Caller
from tests.browser import open_site
from tests.platform import Platform, PlatformOptions
from tests.services import wait_until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.parametrize(
        "platform", [PlatformOptions(database="sqlite", beat=False)], indirect=True, scope="module"
    ),
]

CODE = """
def main(event):
    if "fail" in event["query"]:
        raise ValueError("as asked")
    told = {name: event["headers"].get(name, "") for name in ("x-colour", "cookie")}
    headers = {"X-Rate": "7", "X-Secret": "8", "Access-Control-Expose-Headers": "X-Rate"}
    return {"statusCode": 200, "headers": headers, "cookies": ["seen=ada; Path=/"],
            "body": {**told, "method": event["httpMethod"], "body": event["body"]}}
"""

SITE = """<!doctype html>
<title>Another site</title>
<style>body { font: 16px sans-serif } td { border: 1px solid #999; padding: 4px 8px }</style>
<h1>A page of another site</h1>
<table></table>
<script>
async function call(url, options) {
    let came;
    try {
        const answer = await fetch(url, options);
        came = {status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.json()};
    } catch (error) {
        came = {refused: String(error)};
    }
    const row = document.querySelector("table").insertRow();
    for (const text of [options.method || "GET", new URL(url).pathname, JSON.stringify(came)])
        row.insertCell().textContent = text;
    return came;
}
</script>
"""


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    with open_site(SITE) as port:
        yield port


@dataclass
class Visitor:
    """A visitor of a page of the other site."""

    page: Page
    api: str
    said: list[str] = field(default_factory=list)
    """What the browser wrote to its console."""

    def goes_to(self, origin: str) -> None:
        self.page.goto(origin)

    def calls(self, path: str, **options: Any) -> dict[str, Any]:
        """What the page's script got: status, headers and body; or `refused`."""
        self.said.clear()
        came: dict[str, Any] = self.page.evaluate("([url, options]) => call(url, options)", [self.api + path, options])
        return came

    def is_refused(self, path: str, why: str, **options: Any) -> None:
        assert self.calls(path, **options) == {"refused": "TypeError: Failed to fetch"}
        assert any(why in one for one in self.said), self.said


@pytest.fixture
def visitor(page: Page, platform: Platform, site: int) -> Visitor:
    """On the page whose origin the routes allow."""
    made = Visitor(page, platform.url)

    def note(message: ConsoleMessage) -> None:
        made.said.append(message.text)

    page.on("console", note)
    made.goes_to(f"http://127.0.0.1:{site}")
    return made


@pytest.fixture(scope="module")
def routed(platform: Platform, site: int) -> Iterator[Caller]:
    """With routes of one code: two for that origin, one for all, one without CORS."""
    strict = {
        "allow_origins": [f"http://127.0.0.1:{site}"],
        "allow_methods": ["GET", "PUT"],
        "allow_headers": ["content-type", "x-colour"],
        "allow_credentials": True,
    }
    caller = Caller(platform)
    caller.create("strict", CODE, http_path="/strict", cors=strict)
    caller.create("guarded", CODE, http_path="/guarded", cors=strict)
    caller.create("open", CODE, http_path="/open", cors={"allow_origins": ["*"]})
    caller.create("closed", CODE, http_path="/closed")
    yield caller
    caller.close()


def ran(caller: Caller, name: str, times: int) -> None:
    """So often and no more: runs are written down a moment later."""
    wait_until(lambda: len(caller.all_of(name)) >= times, 30, f"{times} runs of {name}")
    assert caller.statuses(name) == {"success": times}


ADA = {"method": "PUT", "body": '"hi"', "headers": {"content-type": "application/json", "x-colour": "blue"}}
UNREADABLE = "No 'Access-Control-Allow-Origin' header is present"


def test_what_a_route_allows_a_page_can_do(visitor: Visitor, routed: Caller) -> None:
    """A method and a header that need a preflight, a cookie; and of the answer it reads what is exposed."""
    first = visitor.calls("/strict", credentials="include", **ADA)
    assert first["status"] == 200
    assert first["body"] == {"x-colour": "blue", "cookie": "", "method": "PUT", "body": '"hi"'}
    assert first["headers"]["x-rate"] == "7" and "x-secret" not in first["headers"]
    assert visitor.calls("/strict", credentials="include")["body"]["cookie"] == "seen=ada"
    assert visitor.calls("/strict", credentials="omit")["body"]["cookie"] == ""
    ran(routed, "strict", 3)


def test_a_page_can_read_why_its_call_failed(visitor: Visitor, routed: Caller) -> None:
    failed = visitor.calls("/strict?fail=1", credentials="include")
    assert (failed["status"], failed["body"]["code"]) == (502, "function_failed")
    routed.http.patch("/functions/open", json={"http_auth": "key"})
    refused = visitor.calls("/open", headers={"x-api-key": "nmb_wrong"})
    assert (refused["status"], refused["body"]["code"]) == (401, "invalid_key")
    routed.http.patch("/functions/open", json={"http_auth": "none"})


def test_what_a_route_does_not_allow_never_runs(visitor: Visitor, routed: Caller, site: int) -> None:
    visitor.is_refused("/guarded", "Method DELETE is not allowed by Access-Control-Allow-Methods", method="DELETE")
    visitor.is_refused("/guarded", "Request header field x-other is not allowed", headers={"x-other": "1"})
    visitor.is_refused("/closed", UNREADABLE, **ADA)
    visitor.is_refused("/closed", UNREADABLE, method="POST", body="simple: without a preflight")
    visitor.goes_to(f"http://localhost:{site}")
    visitor.is_refused("/guarded", UNREADABLE, **ADA)
    visitor.is_refused("/guarded", UNREADABLE, method="POST", body="simple: without a preflight")
    # What changes nothing runs for every page, as it would for an image's address; no page reads what came of it.
    visitor.is_refused("/guarded", UNREADABLE)
    visitor.is_refused("/closed", UNREADABLE)
    ran(routed, "guarded", 1)
    ran(routed, "closed", 1)


def test_a_route_for_all_is_for_no_cookies(visitor: Visitor, routed: Caller, site: int) -> None:
    for origin in (f"http://127.0.0.1:{site}", f"http://localhost:{site}"):
        visitor.goes_to(origin)
        assert visitor.calls("/open", **ADA)["body"]["x-colour"] == "blue"
        visitor.is_refused("/open", "must not be the wildcard '*'", credentials="include", **ADA)
    ran(routed, "open", 2)
