"""Secrets and environments are no part of a version: a sandbox given those of before a change serves none after it."""

from __future__ import annotations

import pytest

from functions.spec import FunctionSpec
from invocations.outcome import StartKind
from tests.fakes import make_spec
from tests.unit.pool_bench import Make, make

__all__ = ["make"]

BEFORE = make_spec("f", generation=1)


@pytest.mark.parametrize(
    "after",
    [make_spec("f", generation=2), make_spec("f", generation=1, environment="dev")],
    ids=["generation", "environment"],
)
def test_a_warm_sandbox_is_of_one_configuration(make: Make, after: FunctionSpec) -> None:
    bench = make()
    mine = bench.leave_warm(BEFORE)
    with bench.lease(after) as lease:
        assert lease.sandbox is not mine
        assert lease.start is not StartKind.WARM


def test_evict_before_spares_the_present(make: Make) -> None:
    bench = make()
    old, dev = bench.leave_warm(BEFORE), bench.leave_warm(make_spec("f", generation=1, environment="dev"))
    new, other = bench.leave_warm(make_spec("f", generation=2)), bench.leave_warm(make_spec("g"))
    assert bench.pool.evict_before("f", 2) == 2
    bench.settle()
    assert (old.alive, dev.alive, new.alive, other.alive) == (False, False, True, True)


def test_evict_before_lets_a_run_end(make: Make) -> None:
    bench = make()
    busy = bench.lease(BEFORE)
    bench.run(busy)
    bench.pool.evict_before("f", 2)
    bench.settle()
    assert busy.sandbox.alive
    busy.release()
    bench.settle()
    assert not busy.sandbox.alive
