"""What the intrinsic functions do (§ "List of Intrinsic Functions"; AWS: "Intrinsic functions for JSONPath states").

Each takes the source of randomness and its arguments' values, and raises ValueError with a sentence for what it can't
do. Sizes are bounded as in AWS: arrays that are made have 1,000 elements, what is encoded or hashed 10,000 characters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import random
import re
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Never

from workflows.scope import check_size

Source = Callable[[], random.Random]
"""Of randomness, asked for only where it is needed."""

MAX_ELEMENTS: Final = 1000
MAX_ENCODED_CHARS: Final = 10_000
MAX_INTEGER: Final = 2**53 - 1

_PLACE: Final = re.compile(r"\\(?P<escaped>[{}'\\])|(?P<place>\{\})")
_PLACE_IN_DATA: Final = re.compile(r"\\(?P<escaped>[{}])|(?P<place>\{\})")


@dataclass(frozen=True, slots=True)
class Arity:
    least: int
    most: int = sys.maxsize

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.least} argument{'' if self.least == 1 else 's'}"
        return (
            f"{self.least} or more arguments" if self.most == sys.maxsize else f"{self.least} to {self.most} arguments"
        )


@dataclass(frozen=True, slots=True)
class Function:
    call: Callable[..., Any]
    arity: Arity


def formatted(first: Any, *others: Any, template: str | None) -> str:
    """`template`: the first argument as it is written, where it is written; its escapes are then the language's."""
    if not isinstance(first, str):
        raise ValueError("its first argument has to be a string")
    text = first if template is None else template
    values = iter([_natural(one) for one in others])
    pattern = _PLACE_IN_DATA if template is None else _PLACE
    places = sum(found["place"] is not None for found in pattern.finditer(text))
    if places != len(others):
        raise ValueError(f"its template has {places} places for {len(others)} values")
    return pattern.sub(lambda found: found["escaped"] or next(values), text)


def _format(_: Source, *arguments: Any) -> str:
    return formatted(*arguments, template=None)


def _natural(value: Any) -> str:
    if isinstance(value, (dict, list)):
        raise ValueError("arrays and objects can't be put into a text; States.JsonToString makes text of them")
    return value if isinstance(value, str) else _as_json(value)


def _string_to_json(_: Source, text: Any) -> Any:
    value = json.loads(_string(text), parse_constant=_refused, parse_float=_finite)
    _as_json(value).encode()  # half a surrogate pair may be written as an escape, and can't be stored
    return value


def _json_to_string(_: Source, value: Any) -> str:
    return _as_json(value)


def _array(_: Source, *values: Any) -> list[Any]:
    return list(values)


def _array_partition(_: Source, values: Any, size: Any) -> list[list[Any]]:
    elements, step = _list(values), _integer(size)
    if step < 1:
        raise ValueError("the size of a part has to be at least 1")
    if len(elements) > step * MAX_ELEMENTS:
        raise ValueError(f"there would be more than {MAX_ELEMENTS:,} parts")
    return [elements[at : at + step] for at in range(0, len(elements), step)]


def _array_contains(_: Source, values: Any, wanted: Any) -> bool:
    key = _key(wanted)
    return any(_key(one) == key for one in _list(values))


def _array_range(_: Source, first: Any, last: Any, step: Any) -> list[int]:
    start, end, by = _integer(first), _integer(last), _integer(step)
    if by == 0:
        raise ValueError("the step may not be 0")
    numbers = range(start, end + (1 if by > 0 else -1), by)
    if len(numbers) > MAX_ELEMENTS:
        raise ValueError(f"there would be {len(numbers):,} numbers; {MAX_ELEMENTS:,} are allowed")
    return list(numbers)


def _array_get_item(_: Source, values: Any, index: Any) -> Any:
    elements, position = _list(values), _integer(index)
    if not 0 <= position < len(elements):
        raise ValueError(f"the array has {len(elements):,} elements, none at {position}")
    return elements[position]


def _array_length(_: Source, values: Any) -> int:
    return len(_list(values))


def _array_unique(_: Source, values: Any) -> list[Any]:
    first: dict[str, Any] = {}
    for one in _list(values):
        first.setdefault(_key(one), one)
    return list(first.values())


def _base64_encode(_: Source, text: Any) -> str:
    return base64.b64encode(_short(text).encode()).decode()


def _base64_decode(_: Source, text: Any) -> str:
    try:
        return base64.b64decode(_short(text), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("its argument is not Base64 of a text") from None


_ALGORITHMS: Final = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
}


def _hash(_: Source, data: Any, algorithm: Any) -> str:
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise ValueError(f"the algorithm has to be one of {', '.join(_ALGORITHMS)}")
    text = _short(data if isinstance(data, str) else _as_json(data))
    return hashlib.new(_ALGORITHMS[algorithm], text.encode(), usedforsecurity=False).hexdigest()


def _json_merge(_: Source, first: Any, second: Any, deep: Any) -> dict[str, Any]:
    if deep is not False:
        raise ValueError("its third argument has to be false: objects are not merged in depth")
    if not isinstance(first, dict) or not isinstance(second, dict):
        raise ValueError("its first two arguments have to be objects")
    return {**first, **second}


def _math_random(source: Source, first: Any, end: Any, seed: Any = None) -> int:
    """`end` is not among the numbers."""
    start, stop = _integer(first), _integer(end)
    if start >= stop:
        raise ValueError("the end has to be above the start")
    return (source() if seed is None else random.Random(_integer(seed))).randrange(start, stop)


def _math_add(_: Source, first: Any, second: Any) -> int:
    return _integer(first) + _integer(second)


def _string_split(_: Source, text: Any, separators: Any) -> list[str]:
    """At each of the characters; what is empty between two of them is left out, as in AWS."""
    whole, chars = _string(text), _string(separators)
    if not chars:
        return [whole] if whole else []
    return [part for part in re.split(f"[{re.escape(chars)}]", whole) if part]


def _uuid(source: Source) -> str:
    return str(uuid.UUID(int=source().getrandbits(128), version=4))


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a string is wanted")
    return value


def _short(value: Any) -> str:
    text = _string(value)
    if len(text) > MAX_ENCODED_CHARS:
        raise ValueError(f"a string of up to {MAX_ENCODED_CHARS:,} characters is wanted")
    return text


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("an array is wanted")
    return value


def _integer(value: Any) -> int:
    """The nearest, as AWS rounds what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise ValueError("an integer is wanted")
    return value if isinstance(value, int) else math.floor(value + 0.5)


def _key(value: Any) -> str:
    """The same for equal JSON values: 1 is 1.0, the order of names is nothing, true is not 1."""
    return json.dumps(_of_whole_numbers(value), sort_keys=True, separators=(",", ":"))


def _of_whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_of_whole_numbers(one) for one in value]
    if isinstance(value, dict):
        return {key: _of_whole_numbers(one) for key, one in value.items()}
    return value


def _as_json(value: Any) -> str:
    check_size(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _refused(constant: str) -> Never:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _exactly(count: int, call: Callable[..., Any]) -> Function:
    return Function(call, Arity(count, count))


FUNCTIONS: Final[dict[str, Function]] = {
    "States.Format": Function(_format, Arity(1)),
    "States.StringToJson": _exactly(1, _string_to_json),
    "States.JsonToString": _exactly(1, _json_to_string),
    "States.Array": Function(_array, Arity(0)),
    "States.ArrayPartition": _exactly(2, _array_partition),
    "States.ArrayContains": _exactly(2, _array_contains),
    "States.ArrayRange": _exactly(3, _array_range),
    "States.ArrayGetItem": _exactly(2, _array_get_item),
    "States.ArrayLength": _exactly(1, _array_length),
    "States.ArrayUnique": _exactly(1, _array_unique),
    "States.Base64Encode": _exactly(1, _base64_encode),
    "States.Base64Decode": _exactly(1, _base64_decode),
    "States.Hash": _exactly(2, _hash),
    "States.JsonMerge": _exactly(3, _json_merge),
    "States.MathRandom": Function(_math_random, Arity(2, 3)),
    "States.MathAdd": _exactly(2, _math_add),
    "States.StringSplit": _exactly(2, _string_split),
    "States.UUID": _exactly(0, _uuid),
}
