"""Pages for people: served whole from here, styles and scripts too, on a machine without internet."""

from __future__ import annotations

import re

import pytest

from tests.integration.plane import Api

_ADDRESS = re.compile(r"""(?:src|href)=["']([^"']+\.(?:css|js|png))["']""")


@pytest.mark.parametrize("path", ["/api/docs", "/api/v1/functions", "/admin/login/"])
def test_what_a_page_needs_is_served_here(api: Api, path: str) -> None:
    page = api.get(path, headers={"Accept": "text/html"})
    assert page.status_code == 200
    needed = _ADDRESS.findall(page.text)
    assert needed
    for address in needed:
        assert address.startswith("/"), f"{path} asks another host for {address}"
        assert api.get(address).status_code == 200, address
