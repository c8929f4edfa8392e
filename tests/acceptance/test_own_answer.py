"""Many callers of many functions at once: each gets its own answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.caller import Caller
from tests.platform import PlatformOptions

FUNCTIONS, CALLERS, ROUNDS = 10, 50, 4
CODE = {
    "python3.11": ("handler.main", "def main(event):\n    return {'token': event['token'], 'by': %r}\n"),
    "nodejs20": ("index.main", "exports.main = async (event) => ({token: event.token, by: %r})\n"),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "platform",
    [PlatformOptions(driver=name) for name in ("process", "docker")],
    indirect=True,
    ids=["process", "docker"],
)
def test_fifty_callers_of_ten_functions(caller: Caller) -> None:
    names = [f"echo-{number}" for number in range(FUNCTIONS)]
    for number, name in enumerate(names):
        runtime = "nodejs20" if number % 5 == 4 else "python3.11"
        handler, code = CODE[runtime]
        caller.create(name, code % name, runtime=runtime, handler=handler, memory_mb=128)

    def call(number: int) -> tuple[int, int, object]:
        name = names[number % FUNCTIONS]
        answer = caller.invoke(name, {"token": number})
        expected = {"token": number, "by": name}
        return number, answer.status_code, answer.json().get("body") == expected or answer.text

    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(call, range(CALLERS * ROUNDS)))
    assert [each for each in answers if each[1:] != (200, True)] == []
