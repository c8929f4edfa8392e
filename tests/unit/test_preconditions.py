"""`If-Match` of a function."""

from __future__ import annotations

import pytest

from functions.preconditions import etag, expected_from
from nimbus_project.core.errors import InvalidRequest, PreconditionFailed


@pytest.mark.parametrize("header", [None, "", "*", ' "3" ', "3", '"2", "3"', '"other", "3"', etag(3)])
def test_these_match_version_3(header: str | None) -> None:
    expected_from(header).check(3)


@pytest.mark.parametrize("header", ['"2"', "2", '"1", "2"', 'W/"3"', '"other"', '"03x"', '""'])
def test_these_do_not(header: str) -> None:
    with pytest.raises(PreconditionFailed, match="at version 3 now"):
        expected_from(header).check(3)


@pytest.mark.parametrize("header", ["three", '"3', "3;4", ",", '"3",,', "-3", "1e3", "9" * 5000])
def test_these_are_no_tags(header: str) -> None:
    with pytest.raises(InvalidRequest):
        expected_from(header)
