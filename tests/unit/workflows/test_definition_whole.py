"""What is wrong with a definition as a whole: its ways, its names, its size; and that no document does any harm."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.workflows.definitions import END, ORDER, PASS, in_snake_case, parsed, problems_of, problems_with
from workflows import definition
from workflows.definition import DefinitionInvalid
from workflows.problems import MAX_PROBLEMS
from workflows.states import StateType


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        (None, "", "object"),
        ([], "", "object"),
        ("text", "", "object"),
        ({}, "StartAt", "has to be there"),
        ({"StartAt": "A"}, "States", "has to be there"),
        ({"StartAt": "A", "States": {}}, "States", "at least one"),
        ({"StartAt": "A", "States": []}, "States", "object"),
        ({"StartAt": "Z", "States": {"A": END}}, "StartAt", "'Z'"),
        ({"StartAt": 5, "States": {"A": END}}, "StartAt", "string"),
        ({"StartAt": "A", "States": {"A": END}, "Version": "2.0"}, "Version", "1.0"),
        ({"StartAt": "A", "States": {"A": END}, "TimeoutSeconds": 0}, "TimeoutSeconds", "from 1"),
        ({"StartAt": "A", "States": {"A": END}, "QueryLanguage": "JSONata"}, "QueryLanguage", "JSONata"),
        ({"StartAt": "A", "States": {"A": END}, "startAt": "A"}, "startAt", "is 'StartAt' meant?"),
        ({"StartAt": "A", "States": {"A": END}, "Comment": None}, "Comment", "string"),
        ({"StartAt": "n" * 81, "States": {"n" * 81: END}}, "States." + "n" * 81, "80"),
        ({"StartAt": "", "States": {"": END}}, "States.", "1 to 80"),
        ({"StartAt": "a\nb", "States": {"a\nb": END}}, "States.a�b", "printable"),
        ({"StartAt": "A", "States": {"A": END}, "Comment": "\ud800"}, "Comment", "stored"),
        ({"StartAt": "A", "States": {"A\0": END}}, "States", "stored"),
        ({"StartAt": "A", "States": {"A": {**PASS, "Result": [math.nan]}}}, "States.A.Result[0]", "number"),
        ({"StartAt": "A", "States": {"A": {**PASS, "Result": 10**400}}}, "States.A.Result", "number"),
        ({"StartAt": "A", "States": {"A": {**PASS, "Result": {1: 2}}}}, "States.A.Result", "name"),
        ({"StartAt": "A", "States": {"A": {**PASS, "Result": {1}}}}, "States.A.Result", "no JSON"),
    ],
)
def test_what_is_wrong_with_a_document(document: Any, path: str, message: str) -> None:
    found = problems_of(document)
    assert message in found.get(path, ""), found


def test_all_problems_are_told_at_once() -> None:
    found = problems_with(
        {"Type": "Task", "Resource": "a b", "TimeoutSeconds": 0, "Next": "Z"},
        {"Type": "Wait", "Next": "A"},
        TimeoutSeconds=-1,
    )
    assert set(found) == {
        "States.A.Resource",
        "States.A.TimeoutSeconds",
        "States.A.Next",
        "States.B",
        "TimeoutSeconds",
    }


def test_so_many_problems_and_no_more() -> None:
    with pytest.raises(DefinitionInvalid) as invalid:
        definition.parse({"StartAt": "A", "States": {"A": END}, **{f"x{index}": 1 for index in range(100_000)}})
    assert len(invalid.value.problems) == MAX_PROBLEMS
    assert str(invalid.value).startswith("x0: ")


def test_long_words_of_a_definition_are_cut() -> None:
    with pytest.raises(DefinitionInvalid) as invalid:
        definition.parse({"StartAt": "x" * 10_000, "States": {"A": END}, "y" * 10_000: 1})
    for problem in invalid.value.problems:
        assert len(problem.path) < 600
        assert len(problem.message) < 600


def branch(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"StartAt": name, "States": {name: state}}


def parallel(*branches: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"Type": "Parallel", "Branches": list(branches), "End": True, **fields}


def test_names_are_unique_in_the_whole_definition() -> None:
    found = problems_with(parallel(branch("X", PASS), branch("X", PASS)))
    assert "States.A.Branches[0].States.X" in found["States.A.Branches[1].States.X"]
    assert problems_with(parallel(branch("A", PASS)))["States.A.Branches[0].States.A"]


def test_nothing_leads_out_of_a_branch_or_into_one() -> None:
    out = problems_with(parallel(branch("X", {"Type": "Pass", "Next": "B"}), Next="B", End=False), END)
    assert "'B'" in out["States.A.Branches[0].States.X.Next"]
    into = problems_with(parallel(branch("X", PASS), Next="X", End=False))
    assert "'X'" in into["States.A.Next"]


def test_a_branch_has_to_be_reached_and_to_end_too() -> None:
    circle = {"X": {"Type": "Pass", "Next": "Y"}, "Y": {"Type": "Pass", "Next": "X"}, "Z": END}
    found = problems_with(parallel({"StartAt": "X", "States": circle}))
    assert "never ends" in found["States.A.Branches[0]"]
    assert "never reached" in found["States.A.Branches[0].States.Z"]


def test_a_catcher_and_a_choice_lead_somewhere_too() -> None:
    rules = [{"Variable": "$", "IsNull": True, "Next": "C"}]
    parsed(
        {"Type": "Task", "Resource": "f", "Next": "B", "Catch": [{"ErrorEquals": ["E"], "Next": "D"}]},
        {"Type": "Choice", "Choices": rules, "Default": "A"},
        END,
        {"Type": "Fail"},
    )


def nested(levels: int) -> dict[str, Any]:
    state = PASS
    for level in range(levels):
        state = parallel(branch(f"N{level}", state))
    return {"StartAt": "A", "States": {"A": state}}


def test_machines_are_nested_ten_deep_at_most() -> None:
    assert len(definition.parse(nested(10)).states) == 11
    assert any("10 deep" in message for message in problems_of(nested(11)).values())


def test_a_thousand_states_at_most() -> None:
    def chain(count: int) -> dict[str, Any]:
        states = {f"S{index}": {"Type": "Pass", "Next": f"S{index + 1}"} for index in range(count - 1)}
        return {"StartAt": "S0", "States": {**states, f"S{count - 1}": PASS}}

    assert len(definition.parse(chain(1000)).states) == 1000
    assert "1,000" in problems_of(chain(1001))["States"]


@pytest.mark.parametrize("kind", [dict, list])
@pytest.mark.parametrize("place", ["top", "state", "rule"])
def test_no_depth_is_too_deep_to_be_refused(kind: type, place: str) -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"Not": deep} if kind is dict else [deep]
    document: Any = {"StartAt": "A", "States": {"A": {**PASS, "Result": deep}}}
    if place == "top":
        document = deep
    elif place == "rule":
        document["States"] = {"A": {"Type": "Choice", "Choices": [deep]}}
    assert any("nested more than" in message for message in problems_of(document).values())


KNOWN = """
StartAt States Type Next End Resource Parameters Retry Catch ErrorEquals Choices Branches Iterator ItemProcessor
Variable And Or Not StringMatches IsNull Seconds InputPath ResultPath Default Result start_at states type next
branches choices item_processor retry error_equals function_id a.$ b.$ A B Task Map Parallel Choice Wait Pass Fail
task choice States.ALL $ $.a $$.b $..c $[?(@.a)] States.UUID() States.Format('{}',$) work __proto__ constructor JSONata
"""
WORDS = st.sampled_from([*KNOWN.split(), "\ud800", "\0", ""])
SCALARS = (
    WORDS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from([10**400, -(10**400), 2**64])
)
ANY_JSON = st.recursive(
    SCALARS,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), values, max_size=5),
    max_leaves=25,
)


def is_read_or_refused(document: Any) -> None:
    problems: list[tuple[str, str]] = []
    try:
        found = definition.parse(document)
    except DefinitionInvalid as invalid:
        problems = [(one.path, one.message) for one in invalid.problems]
    if not problems:
        assert definition.parse(json.loads(json.dumps(found.document))) == found
        assert all(state.type in StateType for state in found.states.values())
    assert len(problems) <= MAX_PROBLEMS
    assert json.dumps(problems, ensure_ascii=False).encode(), "it can be told"


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(ANY_JSON)
def test_any_document_is_read_or_refused(document: Any) -> None:
    is_read_or_refused(document)
    is_read_or_refused({"StartAt": "A", "States": {"A": document}})


def places(value: Any) -> list[tuple[Any, Any]]:
    """All (container, key) of a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=250)
@given(st.data(), st.booleans())
def test_a_good_document_with_anything_in_any_place(data: st.DataObject, is_older: bool) -> None:
    document = copy.deepcopy(in_snake_case(ORDER) if is_older else ORDER)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(document)))
        if isinstance(container, dict) and data.draw(st.booleans()):
            container[data.draw(WORDS)] = container.pop(key)
        else:
            container[key] = data.draw(ANY_JSON)
    is_read_or_refused(document)
