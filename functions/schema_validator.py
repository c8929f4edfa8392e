"""JSON Schema within bounds. What a tenant writes runs here in a process that serves everybody, so the validators are
the jsonschema library's, but

* each keyword that is evaluated is paid for, by the size of what it looks at: a schema that doubles its work with each
  level, or an event that is too much for it, ends at a bound;
* regular expressions are RE2's: linear in the text, whatever the pattern;
* a reference stays within the schema; nothing is fetched;
* messages show the head of a value, however large that is.

Loaded by whoever first needs it (`functions/input_schema.py`): the library is large and most functions have no schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonschema.exceptions
import jsonschema.validators
import orjson
import re2
import referencing.jsonschema
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable

MAX_DEPTH = 32
MAX_FAULTS = 20
MAX_MESSAGE = 300

DIALECTS: Mapping[str, Any] = {
    "https://json-schema.org/draft/2020-12/schema": jsonschema.validators.Draft202012Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema.validators.Draft201909Validator,
    "http://json-schema.org/draft-07/schema": jsonschema.validators.Draft7Validator,
}
DEFAULT_DIALECT = next(iter(DIALECTS))

# What depends on how a schema was reached, or looks at everything again: costs without a bound that could be explained.
_REFUSED = frozenset({"unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef"})
_EQUALITY_COST = 500
"""Of comparing with a constant: at most a whole schema."""
_REFERENCE_COST = 4
_ERROR_COST = 10
_REGEX_BYTES = 512 * 1024
"""Of memory for one, with what it remembers between texts."""
_SAMPLES = (b"null", b"0", b'""', b"[]", b"{}")
_SAMPLE_COST = 20_000
_SHOWN = 100

Keyword = Callable[[Any, Any, Any, Any], Any]
Faults = dict[str, list[str]]


class TooCostly(Exception):
    """The check was given up."""


class Unusable(Exception):
    """The schema can't be used: it was not checked, or by another version."""


# -- values whose repr is short: the library puts a value into every message, also into those that nobody reads


class _Object(dict[str, Any]):
    def __repr__(self) -> str:
        return "{…}" if self else "{}"


class _Array(list[Any]):
    def __repr__(self) -> str:
        return "[…]" if self else "[]"


class _Text(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return f"{self[:_SHOWN]!r}…"


def _quiet(value: Any) -> Any:
    """The same value; paid for by its parts."""
    match value:
        case dict():
            _spend(len(value))
            return _Object((_quiet(key), _quiet(item)) for key, item in value.items())
        case list():
            _spend(len(value))
            return _Array(map(_quiet, value))
        case str() if len(value) > _SHOWN:
            return _Text(value)
    return value


# -- what a check may cost

_purse: ContextVar[list[int]] = ContextVar("nimbus_schema_purse")


def _spend(amount: int) -> None:
    purse = _purse.get()
    purse[0] -= amount
    if purse[0] < 0:
        raise TooCostly


def _size(value: Any) -> int:
    return len(value) if isinstance(value, dict | list) else 0


def _paid(keyword: Keyword, more: int = 0) -> Keyword:
    def evaluate(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _spend(1 + more + _size(wanted) + _size(instance))
        for error in keyword(validator, wanted, instance, schema) or ():
            # Also those that an `anyOf` collects and nobody ever sees.
            _spend(_ERROR_COST)
            yield error

    return evaluate


# -- keywords in place of the library's


@lru_cache(maxsize=256)
def _regex(pattern: str) -> Any:
    """Raises re2.error. RE2 spells ECMA's \\u0041 as \\x{0041}."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_BYTES
    return re2.compile(re.sub(r"\\(?:u([0-9A-Fa-f]{4})|.)", _escape, pattern, flags=re.DOTALL), options)


def _escape(found: re.Match[str]) -> str:
    return f"\\x{{{found[1]}}}" if found[1] else found[0]


def _matches(pattern: str, text: str) -> bool:
    _spend(1 + len(text) // 64)
    return _regex(pattern).search(str(text)) is not None


def _pattern(validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "string") and not _matches(wanted, instance):
        yield jsonschema.exceptions.ValidationError(f"{instance!r} does not match {wanted!r}")


def _pattern_properties(validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in wanted.items():
        for name, value in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in named or any(_matches(pattern, name) for pattern in patterns):
            continue
        if wanted is False:
            yield jsonschema.exceptions.ValidationError("There must be no property of this name.", path=[name])
        else:
            yield from validator.descend(value, wanted, path=name)


def _unique_items(validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    """By what the items are spelled as: the library compares each with each."""
    if not (wanted and validator.is_type(instance, "array")):
        return
    seen: set[bytes] = set()
    for index, item in enumerate(instance):
        spelled = orjson.dumps(_plain(item), option=orjson.OPT_SORT_KEYS)
        _spend(1 + len(spelled) // 16)
        if spelled in seen:
            yield jsonschema.exceptions.ValidationError("The same item is there before.", path=[index])
        seen.add(spelled)


def _plain(value: Any) -> Any:
    """1.0 is the number 1."""
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case float() if value.is_integer() and abs(value) < 2**63:
            return int(value)
    return value


def _nothing(*_: Any) -> tuple[()]:
    return ()


@lru_cache(maxsize=len(DIALECTS))
def _bounded(dialect: str) -> Any:
    """The library's validator class of a dialect, with its keywords paid for."""
    library = DIALECTS[dialect]
    own: dict[str, Keyword] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    keywords = {name: _paid(keyword) for name, keyword in {**library.VALIDATORS, **own}.items()}
    for name in ("const", "enum"):
        keywords[name] = _paid(library.VALIDATORS[name], _EQUALITY_COST)
    keywords["$ref"] = _paid(_local(library.VALIDATORS["$ref"]), _REFERENCE_COST)
    keywords |= dict.fromkeys(_REFUSED & keywords.keys(), _nothing)
    return jsonschema.validators.extend(library, keywords)


def _local(keyword: Keyword) -> Keyword:
    def evaluate(validator: Any, wanted: Any, instance: Any, schema: Any) -> Any:
        if not _is_local(wanted):
            raise Unusable("A reference leaves the schema.")
        return keyword(validator, wanted, instance, schema)

    return evaluate


def _is_local(reference: Any) -> bool:
    return isinstance(reference, str) and reference.startswith("#")


# -- an event


@lru_cache(maxsize=256)
def validator_of(schema: bytes) -> Any:
    """Of the JSON of a schema that was checked; remembered."""
    given = orjson.loads(schema)
    dialect = _dialect(given)
    # Without the name of its dialect: the library would take its own class by it.
    given.pop("$schema", None)
    return _bounded(dialect)(given, registry=Registry())


def faults_of(schema: bytes, event: bytes, cost: int) -> Faults:
    """What of the event does not fit: ``{"items.0.price": [messages]}``, the event as a whole under ``body``; at most
    MAX_FAULTS. `schema` is the JSON of one that `problems_of` found nothing against. Raises TooCostly above `cost`
    (about a microsecond each), Unusable."""
    _purse.set([cost])
    try:
        value = _quiet(orjson.loads(event))
        found: Faults = {}
        for error in islice(validator_of(schema).iter_errors(value), MAX_FAULTS):
            found.setdefault(_place(error.absolute_path) or "body", []).append(error.message[:MAX_MESSAGE])
    except RecursionError:
        raise TooCostly from None
    except (Unresolvable, jsonschema.exceptions.UnknownType, re2.error, LookupError, TypeError, ValueError) as error:
        raise Unusable(str(error)[:MAX_MESSAGE]) from error
    return found


def _place(path: Any) -> str:
    return ".".join(str(part)[:_SHOWN] for part in islice(path, MAX_DEPTH))


# -- a schema


def problems_of(schema: Any) -> Faults:
    """Why this can't be a function's input_schema, by place within it, ``""`` for all of it; empty when it can."""
    if not isinstance(schema, dict):
        return {"": ["Must be a JSON Schema: an object."]}
    places: dict[int, str] = {}
    if problem := _odd(schema, "", places):
        return problem
    dialect = _dialect(schema)
    if dialect not in DIALECTS:
        return {"$schema": [f"Must be one of {', '.join(DIALECTS)}."]}
    given = {key: value for key, value in schema.items() if key != "$schema"}
    try:
        return _problems(given, DIALECTS[dialect], places) or _endless(schema)
    except RecursionError:
        return {"": ["Is nested too deep."]}


def _endless(schema: Any) -> Faults:
    """Whether it leads in a circle, or to nowhere, with the least of events."""
    try:
        for event in _SAMPLES:
            faults_of(orjson.dumps(schema), event, _SAMPLE_COST)
    except TooCostly:
        return {"": ["Leads in a circle, or looks at the same value too many times."]}
    except Unusable as error:
        return {"": [f"Can't be used: {error}"]}
    return {}


def _dialect(schema: Mapping[str, Any]) -> str:
    named = schema.get("$schema", DEFAULT_DIALECT)
    return named.rstrip("#") if isinstance(named, str) else ""


def _odd(value: Any, place: str, places: dict[int, str], depth: int = 0) -> Faults:
    """What no schema may have anywhere; fills `places` with where its objects are."""
    if depth > MAX_DEPTH:
        return {"": [f"Is nested deeper than {MAX_DEPTH} levels."]}
    if isinstance(value, str):
        return {place: ["Must not contain a NUL character."]} if "\0" in value else {}
    if not isinstance(value, dict | list):
        return {}
    places[id(value)] = place
    if depth and isinstance(value, dict) and isinstance(value.get("$schema"), str):
        return {place: ["$schema may be given at the top only."]}
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(key, str) and "\0" in key:
            return {place: ["Must not contain a NUL character."]}
        if found := _odd(item, f"{place}.{key}".lstrip("."), places, depth + 1):
            return found
    return {}


def _problems(schema: dict[str, Any], library: Any, places: Mapping[int, str]) -> Faults:
    """The schema itself and whatever it refers to in itself."""
    specification = referencing.jsonschema.specification_with(library.META_SCHEMA["$schema"])
    root: Resource[Any] = specification.create_resource(schema)
    waiting: list[tuple[Resource[Any], Any, bool]] = [(root, Registry().resolver_with_root(root), True)]
    seen: set[int] = set()
    while waiting:
        resource, resolver, is_referred = waiting.pop()
        contents = resource.contents
        if not isinstance(contents, dict) or id(contents) in seen:
            continue
        seen.add(id(contents))
        place = places.get(id(contents), "")
        if is_referred and (problem := _broken(contents, library)):
            return {_joined(place, at): messages for at, messages in problem.items()}
        if problem := _refused(contents):
            return {_joined(place, at): messages for at, messages in problem.items()}
        if (reference := contents.get("$ref")) is not None:
            try:
                target = resolver.lookup(reference)
            except Unresolvable:
                return {_joined(place, "$ref"): [f"There is no {reference[:_SHOWN]} in the schema."]}
            waiting.append((specification.create_resource(target.contents), target.resolver, True))
        waiting += [(sub, resolver.in_subresource(sub), False) for sub in resource.subresources()]
    return {}


def _broken(schema: Any, library: Any) -> Faults:
    """By the dialect's own schema. Formats are not looked at: what a pattern may be is RE2's to say."""
    try:
        library.check_schema(schema, format_checker=jsonschema.FormatChecker(formats=()))
    except jsonschema.exceptions.SchemaError as error:
        return {_place(error.absolute_path): [error.message[:MAX_MESSAGE]]}
    return {}


def _refused(schema: Mapping[str, Any]) -> Faults:
    if used := sorted(_REFUSED & schema.keys()):
        return {used[0]: ["Is not supported here."]}
    if "$ref" in schema and not _is_local(schema["$ref"]):
        return {"$ref": ["Must refer to a place in this schema, such as #/$defs/item: nothing is fetched."]}
    patterns = {"pattern": schema["pattern"]} if isinstance(schema.get("pattern"), str) else {}
    patterns |= {f"patternProperties.{text}": text for text in schema.get("patternProperties", {})}
    for place, pattern in patterns.items():
        try:
            _regex(pattern)
        except re2.error as error:
            why = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
            return {place[:_SHOWN]: [f"Is no regular expression that RE2 takes: {why[:_SHOWN]}."]}
    return {}


def _joined(place: str, more: str) -> str:
    return ".".join(filter(None, (place, more)))
