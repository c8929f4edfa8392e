"""The OpenAPI schema says all of it: no warning when it is made, an example for each body, and each example true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from django.core.management import call_command

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def schema() -> Schema:
    from drf_spectacular.generators import SchemaGenerator

    made: Schema = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    return made


def _operations(schema: Schema) -> Iterator[Schema]:
    for path in schema["paths"].values():
        yield from (
            operation for operation in path.values() if isinstance(operation, dict) and "responses" in operation
        )


def _json_bodies(operation: Schema) -> Iterator[tuple[str, Schema]]:
    """What is sent and what comes back, with a name for a message."""
    asked = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if asked is not None:
        yield "request", asked
    for code, answer in operation["responses"].items():
        media = answer.get("content", {}).get("application/json")
        if media is not None:
            yield code, media


def _plain(node: Any) -> Any:
    """OpenAPI 3.0's `nullable` in the words of JSON Schema."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    plain = {key: _plain(value) for key, value in node.items()}
    return {"anyOf": [{"type": "null"}, plain]} if plain.pop("nullable", False) is True else plain


def test_it_is_made_without_a_warning(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("spectacular", "--fail-on-warn", "--validate", file=str(tmp_path / "schema.yaml"))
    assert capsys.readouterr().err == ""


def test_every_operation_says_what_it_does(schema: Schema) -> None:
    silent = [op["operationId"] for op in _operations(schema) if not (op.get("summary") or op.get("description"))]
    assert silent == []


def test_every_body_has_an_example_that_keeps_to_its_schema(schema: Schema) -> None:
    components = _plain(schema["components"])
    missing, wrong, checked = [], [], 0
    for operation in _operations(schema):
        for name, media in _json_bodies(operation):
            examples = [one["value"] for one in media.get("examples", {}).values()]
            examples += [media["example"]] if "example" in media else []
            if not examples and not name.startswith(("4", "5")):
                missing.append((operation["operationId"], name))
            rule = {"allOf": [_plain(media.get("schema", {}))], "components": components}
            for example in examples:
                checked += 1
                errors = jsonschema.Draft7Validator(rule).iter_errors(example)
                wrong += [(operation["operationId"], name, error.message) for error in errors]
    assert missing == []
    assert wrong == []
    assert checked > 80


def test_every_refusal_is_of_the_one_shape_and_says_when_to_come_back(schema: Schema) -> None:
    for operation in _operations(schema):
        for code in ("400", "401", "403", "429", "503"):
            answer = operation["responses"][code]
            body = answer["content"]["application/json"]["schema"]
            assert body == {"$ref": "#/components/schemas/Error"} or code == "503", operation["operationId"]
            if code in ("429", "503"):
                assert "Retry-After" in answer["headers"], operation["operationId"]
