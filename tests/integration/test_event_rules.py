"""Event rules, through the entrance: written, read, changed, refused, each owner's own."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import AuditEntry
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, in_threads, refusal
from triggers import event_rules, patterns
from triggers.models import EventRule

R = "/event-rules"
PATTERN: dict[str, Any] = {"type": ["order.paid"], "data": {"amount": [{"numeric": [">", 100]}]}}
TEMPLATE = {"order": "<$.data.order>", "text": "of <$.source>"}


@pytest.fixture
def plane(api: Api) -> Api:
    api.create()
    return api


def rule(name: str = "on-paid", **changes: Any) -> dict[str, Any]:
    return {"name": name, "pattern": PATTERN, "targets": [{"function": "hello"}]} | changes


def test_a_rule_is_made_read_changed_and_deleted(plane: Api) -> None:
    weights = {"routing_config": {"weights": [{"version": 1, "weight": 100}]}}
    assert plane.post("/functions/hello/aliases", {"name": "prod", **weights}).status_code == 201
    target = {"function": "hello", "alias": "prod", "input_template": TEMPLATE}
    answer = plane.post(R, rule(description="Large ones.", targets=[target, {"function": "hello"}]))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    function_id = plane.get("/functions/hello").json()["id"]
    assert made["targets"] == [
        {"function_id": function_id, "function": "hello", "alias": "prod", "input_template": TEMPLATE},
        {"function_id": function_id, "function": "hello"},
    ]
    assert (made["pattern"], made["enabled"], made["description"]) == (PATTERN, True, "Large ones.")
    for reference in (made["id"], "on-paid", "on-paid/"):
        assert plane.get(f"{R}/{reference}").json() == made
    changed = plane.put(f"{R}/on-paid", {"enabled": False, "description": ""}).json()
    assert (changed["enabled"], changed["pattern"], "description" in changed) == (False, PATTERN, False)
    changed = plane("PATCH", f"{R}/on-paid", json=made | {"name": "renamed"}).json()
    assert (changed["name"], changed["enabled"], changed["targets"]) == ("renamed", True, made["targets"])
    assert plane.get(R).json()["event_rules"] == [changed] and plane.get(R).json()["total"] == 1
    assert plane("DELETE", f"{R}/renamed").status_code == 204
    refusal(plane.get(f"{R}/renamed"), 404, "event_rule_not_found")
    actions = AuditEntry.objects.filter(object_type="event_rule").order_by("at").values_list("action", flat=True)
    assert list(actions) == ["event_rule.create", *["event_rule.update"] * 2, "event_rule.delete"]


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"name": "0x"}, "name", "start with a letter"),
        ({"name": 5}, "name", "string"),
        ({"pattern": None}, "pattern", "null"),
        ({"pattern": {}}, "pattern", "at least one field"),
        ({"pattern": {"data": {"a": [{"numeric": [">", "x"]}]}}}, "pattern", "data.a[0].numeric: "),
        ({"pattern": {"detail-type": ["x"]}}, "pattern", "detail-type: No attribute"),
        ({"pattern": {"$or": [{"type": ["x"]}, {"Type": ["x"]}]}}, "pattern", "$or[1].Type: No attribute"),
        ({"pattern": {"source": {"a": ["x"]}}}, "pattern", "source: An attribute is a plain value"),
        ({"pattern": {"data": ["x" * patterns.MAX_BYTES]}}, "pattern", "bytes long"),
        ({"targets": []}, "targets", "1"),
        ({"targets": "hello"}, "targets", "list"),
        ({"targets": [{"function": "hello"}] * 11}, "targets", "10"),
        ({"targets": [{}]}, "targets.0.function", "required"),
        ({"targets": [{"function": "nothing"}]}, "targets.0.function", "no function"),
        ({"targets": [{"function": "hello"}, {"function": "a\0b"}]}, "targets.1.function", ""),
        ({"targets": [{"function": "hello", "alias": "nope"}]}, "targets.0.alias", "no alias"),
        ({"targets": [{"workflow": "w"}]}, "targets.0.workflow", "no workflow"),
        ({"targets": [{"function": "hello", "delay": 5}]}, "targets.0.delay", "no such field"),
        (
            {"targets": [{"function": "hello"}, {"function": "hello", "input_template": {"a": ["<$..b>"]}}]},
            "targets.1.input_template",
            "a[0]: ",
        ),
        ({"unknown": 1}, "unknown", "no such field"),
    ],
)
def test_what_is_refused_and_where(plane: Api, changes: dict[str, Any], field: str, told: str) -> None:
    body = refusal(plane.post(R, rule(**changes)), 400, "invalid_request")
    assert set(body["details"]) == {field}, body
    assert told in body["details"][field][0]
    assert not EventRule.objects.exists()
    plane.post(R, rule("other"))
    assert set(refusal(plane.put(f"{R}/other", changes), 400)["details"]) == {field}


def test_names_are_taken_once(plane: Api) -> None:
    codes = [one.status_code for one in in_threads(4, lambda _: plane.post(R, rule()))]  # type: ignore[union-attr]
    assert sorted(codes) == [201, 409, 409, 409]
    plane.post(R, rule("other"))
    refusal(plane.put(f"{R}/other", {"name": "on-paid"}), 409, "event_rule_exists")


def test_their_number_is_bounded(plane: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_rules, "MAX_RULES", 3)
    answers = in_threads(6, lambda n: plane.post(R, rule(f"r{n}")))
    assert sorted(one.status_code for one in answers) == [201] * 3 + [400] * 3  # type: ignore[union-attr]


def test_lists_are_paged(plane: Api) -> None:
    for number in range(3):
        plane.post(R, rule(f"r{number}"))
    page = plane.get(f"{R}?offset=1&limit=1").json()
    assert ([one["name"] for one in page["event_rules"]], page["total"]) == (["r1"], 3)
    refusal(plane.get(f"{R}?limit=x"), 400)


def test_each_owner_has_its_own(locked_entrance: Api) -> None:
    ann, ben, root = (
        As(locked_entrance, make_key(n, r)) for n, r in (("ann", "developer"), ("ben", "developer"), ("root", "admin"))
    )
    ann.create("anns")
    ben.create("bens")
    of_ann = rule(targets=[{"function": "anns"}])
    made = ann.post(R, of_ann).json()
    assert set(refusal(ben.post(R, of_ann), 400)["details"]) == {"targets.0.function"}
    assert (
        refusal(ben.post(R, of_ann), 400)["error"]
        == refusal(ben.post(R, rule(targets=[{"function": "nothing"}])), 400)["error"]
    ), "somebody else's is as one that is missing"
    for reference in ("on-paid", made["id"]):
        for method, more in (("GET", {}), ("PUT", {"json": {}}), ("PATCH", {"json": {}}), ("DELETE", {})):
            refusal(ben(method, f"{R}/{reference}", **more), 404, "event_rule_not_found")
    assert ben.get(R).json()["total"] == 0
    assert ben.post(R, rule(targets=[{"function": "bens"}])).status_code == 201, "names are each owner's own"
    assert root.get(R).json()["total"] == 2
    refusal(root.get(f"{R}/on-paid"), 409, "ambiguous_name")
    assert root.get(f"{R}/{made['id']}").status_code == 200
    assert root.post(R, rule(targets=[{"function": "anns"}])).status_code == 201
    assert root.get(f"{R}/on-paid").json()["id"] != made["id"], "one's own first"


def test_a_user_who_owns_a_rule_is_not_deleted(locked_entrance: Api) -> None:
    ann, root = As(locked_entrance, make_key("ann", "developer")), As(locked_entrance, make_key("root", "admin"))
    ann.create("anns")
    ann.post(R, rule(targets=[{"function": "anns"}]))
    ann("DELETE", "/functions/anns")
    assert "event rules" in refusal(root("DELETE", "/users/ann"), 409)["error"]


def test_trying_a_pattern(plane: Api) -> None:
    event = {"type": "order.paid", "source": "/shop", "data": {"amount": 99, "order": 7}}
    answer = plane.post(f"{R}/test", {"pattern": PATTERN, "event": event})
    assert answer.json() == {
        "matched": False,
        "mismatches": [{"path": "data.amount", "wanted": [{"numeric": [">", 100]}], "found": [99]}],
    }
    event["data"]["amount"] = 101
    answer = plane.post(f"{R}/test", {"pattern": PATTERN, "event": event, "input_template": TEMPLATE})
    assert answer.json() == {"matched": True, "mismatches": [], "input": {"order": 7, "text": "of /shop"}}
    for wrong, field in (
        ({"pattern": {"a": 5}}, "pattern"),
        ({"event": 5}, "event"),
        ({"input_template": "<$..>"}, "input_template"),
    ):
        told = refusal(plane.post(f"{R}/test", {"pattern": PATTERN, "event": event} | wrong), 400)
        assert set(told["details"]) == {field}
    many = {"a": list(range(patterns.MAX_STEPS))}
    refusal(plane.post(f"{R}/test", {"pattern": {"a": [-1]}, "event": many}), 400)
    big = {"pattern": {"a": [1]}, "event": {"a": 1, "b": "x" * 200_000}, "input_template": ["<$.b>"] * 50}
    refusal(plane.post(f"{R}/test", big), 400)


@pytest.mark.parametrize("depth", [300, 1000])
def test_what_is_nested_deeply_is_refused_and_no_error_of_ours(plane: Api, depth: int) -> None:
    """JSON is read 1,024 deep and written 254 deep; Python's own writer ends somewhere else."""
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    rules = b'{"name": "r", "pattern": %s, "targets": [{"function": "hello", "input_template": %s}]}'
    for path, body in (
        (R, rules % (deep, b"{}")),
        (R, rules % (b'{"type": ["x"]}', deep)),
        (f"{R}/test", b'{"pattern": {"type": ["x"]}, "event": {"type": "x"}, "input_template": %s}' % deep),
        (f"{R}/test", b'{"pattern": %s, "event": {}}' % deep),
        ("/schedules", b'{"function": "hello", "cron_expression": "0 0 * * *", "payload": %s}' % deep),
    ):
        refusal(plane("POST", path, content=body, headers={"content-type": "application/json"}), 400)
