"""The specs of a worker: kept until news comes, never older than what a call knows of."""

from __future__ import annotations

from collections.abc import Callable

from functions.spec import FunctionSpec
from tests.fakes import make_spec
from workers import specs
from workers.specs import Specs


class Source:
    """The database: what is read, and what happens while it is being read."""

    def __init__(self) -> None:
        self.generation = 0
        self.reads: list[tuple[str, int, str]] = []
        self.told: list[FunctionSpec] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.specs = Specs(self._read, self.told.append)

    def _read(self, function: str, version: int, environment: str) -> FunctionSpec | None:
        self.reads.append((function, version, environment))
        found = make_spec(function, version, environment=environment, generation=self.generation)
        self.meanwhile()
        return None if function == "gone" else found


def test_read_once() -> None:
    source = Source()
    first = source.specs.get("f", 1)
    assert source.specs.get("f", 1) is first
    assert len(source.reads) == 1
    assert source.told == [first]


def test_versions_and_environments_apart() -> None:
    source = Source()
    keys = {spec.key for args in (("f", 1, ""), ("f", 2, ""), ("f", 1, "dev")) if (spec := source.specs.get(*args))}
    assert len(keys) == len(source.reads) == 3


def test_what_is_gone_is_asked_for_again() -> None:
    source = Source()
    assert source.specs.get("gone", 1) is None
    assert source.specs.get("gone", 1) is None
    assert (len(source.reads), source.told) == (2, [])


def test_a_call_that_knows_of_a_later_generation_gets_it() -> None:
    source = Source()
    source.specs.get("f", 1)
    source.generation = 2
    found = source.specs.get("f", 1, generation=2)
    assert found is not None and found.generation == 2
    again = source.specs.get("f", 1, generation=1)
    assert again is found


def test_news_of_a_function_drops_its_specs_only() -> None:
    source = Source()
    for args in (("f", 1, ""), ("f", 1, "dev"), ("g", 1, "")):
        source.specs.get(*args)
    source.specs.forget("f")
    for args in (("f", 1, ""), ("f", 1, "dev"), ("g", 1, "")):
        source.specs.get(*args)
    assert len(source.reads) == 5


def test_when_news_may_have_been_missed_all_are_dropped() -> None:
    source = Source()
    source.specs.get("f", 1)
    source.specs.forget_all()
    source.specs.get("f", 1)
    assert len(source.reads) == 2


def test_what_changed_while_it_was_being_read_is_not_kept() -> None:
    source = Source()

    def change() -> None:
        source.generation = 1
        source.specs.forget("f")

    source.meanwhile = change
    before = source.specs.get("f", 1)
    assert before is not None and before.generation == 0
    source.meanwhile = lambda: None
    after = source.specs.get("f", 1)
    assert after is not None and after.generation == 1


def test_the_least_recently_used_goes_first() -> None:
    source = Source()
    for number in range(specs.KEPT):
        source.specs.get("f", number)
    source.specs.get("f", 0)
    source.specs.get("f", specs.KEPT)
    source.reads.clear()
    source.specs.get("f", 0)
    source.specs.get("f", 1)
    assert source.reads == [("f", 1, "")]
