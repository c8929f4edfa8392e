"""Every example is deployed on the real platform and called; every template makes a function that runs."""

from __future__ import annotations

from typing import Any

import pytest

from functions.dependencies import dependencies_of
from functions.templates import Example, examples, templates
from tests.acceptance.caller import Caller
from tests.platform import PlatformOptions
from tests.projects import as_archive, built, deploy, result

LANGUAGES = {"python3.11", "nodejs20", "go1.24", "rust", "c"}
IMAGES = ("go1.24", "wasm", "builder-python", "builder-node", "builder-go", "builder-wasm")

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.parametrize(
        "platform",
        [PlatformOptions(driver="docker", images=IMAGES, index=True)],
        ids=["docker"],
        indirect=True,
        scope="module",
    ),
]


def language(example: Example) -> str:
    return str(example.settings.get("language") or example.settings["runtime"])


def check(expected: Any, answer: Any) -> None:
    """Everything expected is in the answer; an answer may have more."""
    if isinstance(expected, dict):
        assert isinstance(answer, dict), answer
        for name, value in expected.items():
            assert name in answer, answer
            check(value, answer[name])
    else:
        assert answer == expected


@pytest.mark.parametrize("name", list(examples()))
def test_an_example_does_what_it_says(caller: Caller, name: str) -> None:
    example = examples()[name]
    source = {"code": example.code} if example.is_template else {"archive": as_archive(example.files)}
    deploy(caller, name, **example.settings, **source)
    check(example.expected, result(caller, name, example.event))
    # A warm call answers the same.
    check(example.expected, result(caller, name, example.event))


@pytest.mark.parametrize("name", [example.name for example in templates()])
def test_a_template_makes_a_function_that_runs(caller: Caller, name: str) -> None:
    caller.http.delete(f"/functions/from-{name}")
    answer = caller.http.post("/functions/from-template", json={"template": name, "name": f"from-{name}"})
    assert answer.status_code == 201, answer.text
    built(caller, f"from-{name}")
    check(examples()[name].expected, result(caller, f"from-{name}", examples()[name].event))


def test_there_are_two_for_each_language(caller: Caller) -> None:
    found = [language(example) for example in examples().values()]
    assert {one: found.count(one) >= 2 for one in set(found)} == dict.fromkeys(LANGUAGES, True)
    resolved = [e for e in examples().values() if dependencies_of(str(e.settings["runtime"]), e.files)]
    assert {language(example) for example in resolved} == {"python3.11", "nodejs20"}


def test_templates_are_listed_with_what_a_person_needs(caller: Caller) -> None:
    answer = caller.http.get("/templates", params={"limit": 100}).json()
    assert answer["total"] == len(answer["templates"]) == len(templates())
    first = caller.http.get("/templates", params={"limit": 1, "offset": 1}).json()
    assert [one["name"] for one in first["templates"]] == [answer["templates"][1]["name"]]
    for one in answer["templates"]:
        assert {"title", "description", "runtime", "handler", "code", "event", "file_name"} <= set(one)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"template": "thumbnail", "name": "x"}, 404, "no template"),  # a project: nothing to start from
        ({"template": "../examples/hello-c", "name": "x"}, 404, "no template"),
        ({"template": "hello-c"}, 400, "name"),
        ({"template": "hello-c", "name": "1x"}, 400, "name"),
        ({"template": "hello-c", "name": "x", "code": "int main(void){}"}, 400, "no such field"),
        ({"template": "hello-c", "name": "x", "memory_mb": 1}, 400, "128"),
    ],
)
def test_wrong_requests_for_templates(caller: Caller, body: dict[str, Any], status: int, said: str) -> None:
    answer = caller.http.post("/functions/from-template", json=body)
    assert answer.status_code == status
    assert said in answer.text


def test_what_is_given_besides_wins(caller: Caller) -> None:
    caller.http.delete("/functions/tuned")
    body = {"template": "hello-python", "name": "tuned", "memory_mb": 192, "tags": ["a"], "description": "mine"}
    made = caller.http.post("/functions/from-template", json=body).json()
    assert (made["memory_mb"], made["tags"], made["description"]) == (192, ["a"], "mine")
