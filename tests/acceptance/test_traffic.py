"""Where calls go: splits, sessions, rollouts and rollbacks on the platform as it runs, under load."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.acceptance.two_webs import TwoWebs, second_web
from tests.acceptance.wires import at_once, rate_of
from tests.platform import Platform
from tests.services import wait_until

pytestmark = pytest.mark.timeout(300)


def source(number: int) -> str:
    return f"def main(event, context):\n    return {number}\n"


FLAKY = """
def main(event, context):
    if event["n"] % 10 in (1, 4, 7):
        raise RuntimeError("three in ten")
    return 2
"""


@pytest.fixture(scope="module")
def webs(platform: Platform) -> Iterator[TwoWebs]:
    """One for the whole file: its functions are many, its processes few."""
    with second_web(platform) as webs:
        yield webs


def told(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n    {text}")


def test_a_split_of_90_to_10_over_2000_calls(webs: TwoWebs, capsys: pytest.CaptureFixture[str]) -> None:
    webs.create("split", source(1), source(2))
    webs.alias("split", (1, 90), (2, 10))
    answers = asyncio.run(at_once(webs.bases, [("/functions/split/invoke?alias=prod", {})] * 2000, 12))
    assert [answer for answer in answers if answer.status != 200] == []
    assert len(answers) == 2000
    share = sum(answer.version == 2 for answer in answers)
    told(capsys, f"split: {share} of 2,000 on the tenth; 200 ± {4 * (2000 * 0.1 * 0.9) ** 0.5:.0f} is allowed")
    assert abs(share - 200) < 4 * (2000 * 0.1 * 0.9) ** 0.5


def test_sessions_never_flip_while_the_weights_stand(webs: TwoWebs) -> None:
    webs.create("sticky", source(1), source(2))
    webs.alias("sticky", (1, 60), (2, 40))
    names = [f"session {n}" for n in range(50)]
    jobs = [("/functions/sticky/invoke?alias=prod", {"X-Nimbus-Session": name}) for name in names * 11]

    def sides() -> dict[str, int | None]:
        seen: dict[str, set[int | None]] = defaultdict(set)
        for (_, headers), answer in zip(jobs, asyncio.run(at_once(webs.bases, jobs, 12)), strict=True):
            assert answer.status == 200, answer.text
            seen[headers["X-Nimbus-Session"]].add(answer.version)
        assert {len(versions) for versions in seen.values()} == {1}
        return {name: versions.pop() for name, versions in seen.items()}

    before = sides()
    assert set(before.values()) == {1, 2}
    webs.alias("sticky", (1, 40), (2, 60))
    wait_until(lambda: _weights_seen(webs, "sticky") == [(40, 60)] * 2, what="both web processes know")
    after = sides()
    assert all(after[name] == 2 for name, version in before.items() if version == 2)
    assert before != after


def _weights_seen(webs: TwoWebs, name: str) -> list[tuple[int, ...]]:
    shapes = [client.get(f"/functions/{name}/aliases/prod").json() for client in (webs.first, webs.second)]
    return [tuple(side["weight"] for side in shape["routing_config"]["weights"]) for shape in shapes]


def test_a_change_of_an_alias_is_seen_by_the_other_web_process_within_a_second(
    webs: TwoWebs, capsys: pytest.CaptureFixture[str]
) -> None:
    webs.create("moved", source(1), source(2))
    webs.alias("moved", (1, 100))
    path = "/functions/moved/invoke?alias=prod"

    def version_there() -> int:
        return int(webs.second.post(path, json={}).json()["version"])

    wait_until(lambda: version_there() == 1, what="the second web process knows the alias")
    taken: list[float] = []
    for turn in range(20):
        target = 2 - turn % 2
        webs.alias("moved", (target, 100))
        changed = time.monotonic()
        wait_until(lambda target=target: version_there() == target, 5, "the change is seen")  # type: ignore[misc]
        taken.append(time.monotonic() - changed)
        # Once seen, it stays seen.
        assert {version_there() for _ in range(3)} == {target}
    told(capsys, f"alias seen elsewhere: median {1e3 * statistics.median(taken):.0f} ms, worst {1e3 * max(taken):.0f}")
    assert max(taken) < 1.0


def test_a_version_that_fails_goes_back_by_itself_and_the_old_one_loses_nothing(
    webs: TwoWebs, capsys: pytest.CaptureFixture[str]
) -> None:
    webs.create("risky", source(1), FLAKY)
    webs.alias("risky", (1, 100))
    plan = {"version": 2, "steps": [10, 30, 60, 100], "interval_sec": 2, "max_error_rate": 0.1, "min_samples": 20}
    began = time.monotonic()
    assert webs.first.post("/functions/risky/aliases/prod/rollout", json=plan).status_code == 201
    returned_at: list[float] = []

    def back_for_two_seconds(_: float) -> bool:
        if not returned_at and webs.rollout("risky")["status"] != "running":
            returned_at.append(time.monotonic())
        return bool(returned_at) and time.monotonic() - returned_at[0] > 2

    answers = webs.load("/functions/risky/invoke?alias=prod", 100, back_for_two_seconds)
    rollout = webs.rollout("risky")
    assert rollout["status"] == "returned", rollout
    assert "failed" in rollout["reason"] and rollout["history"][-1]["measured"]["new"]["runs"] >= 20
    assert _weights_seen(webs, "risky") == [(100,)] * 2
    assert rate_of(answers) > 95
    by_version = {version: [a for a in answers if a.version == version] for version in (1, 2)}
    assert len(by_version[1]) + len(by_version[2]) == len(answers), [a.text for a in answers if a.version is None]
    assert {answer.status for answer in by_version[1]} == {200}
    assert {answer.status for answer in by_version[2]} == {200, 500}
    late = [answer for answer in answers if answer.began > returned_at[0] + 1]
    assert {answer.version for answer in late} == {1}
    told(
        capsys,
        f"rollout: back after {returned_at[0] - began:.1f} s in step {rollout['step']}; version 2 had "
        f"{len(by_version[2])} of {len(answers)} calls; version 1 lost none of {len(by_version[1])}",
    )


def test_a_rollout_goes_on_after_worker_and_beat_were_killed(webs: TwoWebs) -> None:
    webs.create("lasting", source(1), source(2))
    webs.alias("lasting", (1, 100))
    plan = {"version": 2, "steps": [50, 100], "interval_sec": 1, "max_error_rate": 0.1, "min_samples": 10}
    assert webs.first.post("/functions/lasting/aliases/prod/rollout", json=plan).status_code == 201
    for part in (webs.platform.worker, webs.platform.beat):
        part.kill9()
        part.start()

    def called_until_complete() -> bool:
        for _ in range(20):
            webs.first.post("/functions/lasting/invoke?alias=prod", json={})
        return bool(webs.rollout("lasting")["status"] == "completed")

    wait_until(called_until_complete, 60, "the rollout is complete")
    assert _weights_seen(webs, "lasting") == [(100,)] * 2
    actions = [line["action"] for line in webs.rollout("lasting")["history"]]
    assert actions == ["started", "advanced", "completed"]


def test_rollback_under_a_load_of_100_calls_a_second(webs: TwoWebs, capsys: pytest.CaptureFixture[str]) -> None:
    webs.create("back", source(1), source(2))
    replied: list[float] = []

    def roll_back_in_the_middle(seconds: float) -> bool:
        if seconds > 3 and not replied:
            answer = webs.first.post("/functions/back/versions/1/rollback")
            replied.append(time.monotonic())
            assert answer.status_code == 200 and answer.json()["version"] == 3
        return seconds > 8

    answers = webs.load("/functions/back/invoke", 100, roll_back_in_the_middle)
    # The claim is about this load: it must have been there, on both sides of the reply.
    assert rate_of(answers) > 95
    assert [answer.text for answer in answers if answer.status != 200] == []
    # Version 3 has the code of version 1: what came back says which one really ran.
    assert {(answer.version, answer.body) for answer in answers} == {(2, 2), (3, 1)}
    old = [answer for answer in answers if answer.version == 2]
    late = [answer for answer in answers if answer.began > replied[0] + 1]
    assert {answer.version for answer in late} == {3}
    assert len(old) > 250 and len(late) > 350
    stale = max(answer.began for answer in old) - replied[0]
    slowest = max(answer.ended - answer.began for answer in answers)
    told(
        capsys,
        f"rollback: {len(answers)} calls at {rate_of(answers):.0f}/s, none failed; the old version's last call began "
        f"{1e3 * stale:+.0f} ms after the reply; slowest call {1e3 * slowest:.0f} ms",
    )
