"""Tools of the tests of accounts: users with keys, an entrance that requires them, a second process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from tests.integration.plane import Api

ROLES = ("admin", "developer", "viewer", "invoker")


def make_key(name: str, role: str, **more: Any) -> str:
    """The text of a key of a user of this name and role, who is made when missing."""
    from accounts import services
    from accounts.errors import UserNotFound
    from accounts.selectors import user_get

    try:
        owner = user_get(name)
    except UserNotFound:
        owner = services.user_create(name=name, role=role)
    return services.api_key_create(owner, name=f"{name}'s", role=role, **more)[1]


@dataclass
class As:
    """The API as somebody."""

    api: Api
    key: str

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"} | more.pop("headers", {})
        return self.api(method, path, headers=headers, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self("GET", path, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> httpx.Response:
        return self("POST", path, **({"json": json} if json is not None else {}), **more)

    def create(self, name: str, **more: Any) -> dict[str, Any]:
        code = "def main(event):\n    return event\n"
        values = {"name": name, "runtime": "python3.11", "handler": "handler.main", "code": code}
        answer = self.post("/functions", values | more)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made
