"""A finished run as text and back: a line of the journal, which is a line of PostgreSQL's COPY for the table of
invocations (PostgreSQL documentation, COPY, "Text Format").

So what the worker has written goes into the database as it is: COPY takes a tenth of the time of the ORM's insert, in
the process that answers callers. Other databases, and lines that COPY refuses, go by the ORM.

What a run has printed is a line of its own, of the table of logs, marked by `LOG`.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeVar

import orjson
from django.db.models import BinaryField, BooleanField, Field, JSONField, Model

from invocations.answer import billed_ms
from invocations.models import Invocation
from invocations.record import RunRecord

_ESCAPED: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_PLAIN: Final = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}
_UNESCAPE: Final = re.compile(r"\\[\\tnr]")
_NULL: Final = "\\N"
LOG: Final = "L\t"
_LOG_MARK: Final = b"\n" + LOG.encode()

M = TypeVar("M", bound=Model)


_COPIED: Final = [
    "id",
    "request_id",
    "function_id",
    "function_name",
    "runtime",
    "version",
    "owner_id",
    "caller_id",
    "alias_used",
    "environment",
    "trigger_type",
    "session_key",
    "status",
    "fault",
    "input",
    "output",
    "omitted_input_bytes",
    "omitted_output_bytes",
    "error",
    "error_type",
    "stack_trace",
    "start_kind",
    "attempt",
    "worker_id",
    "created_at",
    "started_at",
    "completed_at",
    "duration_ms",
    "queue_ms",
    "billed_time_ms",
    "memory_used_mb",
]


def lines_of(run: RunRecord, most: int = sys.maxsize) -> bytes:
    """Of the journal. Of an event or a result of more than `most` bytes only the size is kept. Raises ValueError for
    text that is no Unicode."""
    r, word = run, _word
    event, no_event = (r.input.hex(), _NULL) if len(r.input) <= most else ("", str(len(r.input)))
    output, no_output = _NULL, _NULL
    if r.output is not None and len(r.output) <= most:
        output = f"\\\\x{r.output.hex()}"
    elif r.output is not None:
        no_output = str(len(r.output))
    whose = _whose(r.function_id, r.function_name, r.runtime, r.version, r.owner_id, r.caller_id)
    return (
        f"{r.id}\t{_text(r.request_id)}\t{whose}\t{word(r.alias)}\t{word(r.environment)}\t{word(r.trigger_type)}\t"
        f"{_text(r.session_key)}\t{word(r.status)}\t{word(r.fault)}\t\\\\x{event}\t{output}\t{no_event}\t{no_output}\t"
        f"{_text(r.error)}\t{_text(r.error_type)}\t{_json(r.stack_trace)}\t{word(r.start_kind)}\t1\t{word(r.worker_id)}\t"
        f"{_stamp(r.created_ms)}\t{_stamp(r.started_ms)}\t{_stamp(r.completed_ms)}\t{_numbers(r)}"
        f"{_REST}\n{_log_line(r) if r.logs else ''}"
    ).encode()


@lru_cache(maxsize=4096)
def _whose(
    function_id: str, function_name: str, runtime: str, version: int, owner_id: int | None, caller_id: int | None
) -> str:
    """What calls of one function by one user have in common."""
    words, numbers = (function_id, function_name, runtime), (version, owner_id, caller_id)
    return "\t".join((*map(_text, words), *map(_number, numbers)))


def _numbers(run: RunRecord) -> str:
    """The last columns of a line. By orjson, which writes a float in a tenth of the time that `str` takes."""
    billed = billed_ms(run.duration_ms) if run.started_ms is not None else 0
    told = orjson.dumps((run.duration_ms, run.queue_ms, billed, run.memory_used_mb)).decode()
    return told[1:-1].replace(",", "\t").replace("null", _NULL)


def _log_line(run: RunRecord) -> str:
    lines = orjson.dumps(run.logs).hex()
    return f"{LOG}{run.id}\t{_word(run.function_id)}\t\\\\x{lines}\t{_stamp(run.completed_ms)}\n"


def split(lines: bytes) -> tuple[bytes, bytes]:
    """Lines of a journal -> those of runs, those of logs without their mark."""
    if _LOG_MARK not in lines and not lines.startswith(_LOG_MARK[1:]):
        return lines, b""
    runs, logs = [], []
    for line in lines.splitlines(keepends=True):
        if line.startswith(_LOG_MARK[1:]):
            logs.append(line[len(_LOG_MARK) - 1 :])
        else:
            runs.append(line)
    return b"".join(runs), b"".join(logs)


def copy(model: type[Model], columns: str) -> str:
    """The statement for lines with these columns."""
    return f"COPY {model._meta.db_table} ({columns}) FROM STDIN"


def parse(model: type[M], columns: str, line: bytes) -> M:
    """A line of COPY as a row for the ORM. Raises ValueError, ValidationError for what is none."""
    names = columns.split(",")
    fields = {field.column: field for field in model._meta.concrete_fields}
    values = line.decode().removesuffix("\n").split("\t")
    if len(values) != len(names):
        raise ValueError("not as many values as columns")
    told = {fields[name].attname: _value(fields[name], text) for name, text in zip(names, values, strict=True)}
    return model(**told)


def _value(field: Field[Any, Any], text: str) -> Any:
    if text == _NULL:
        return None
    plain = _UNESCAPE.sub(lambda match: _PLAIN[match[0]], text)
    if isinstance(field, BinaryField):
        return bytes.fromhex(plain.removeprefix("\\x"))
    if isinstance(field, JSONField):
        return orjson.loads(plain)
    if isinstance(field, BooleanField):
        return plain == "t"
    return field.to_python(plain)


def _stamp(unix_ms: float | None) -> str:
    if unix_ms is None:
        return _NULL
    second, micros = divmod(round(unix_ms * 1000), 1_000_000)
    return _second(second) % micros


@lru_cache(maxsize=64)
def _second(unix_sec: int) -> str:
    """With a place for the microseconds."""
    return f"{datetime.fromtimestamp(unix_sec, UTC):%Y-%m-%d %H:%M:%S}.%06d+00"


def _text(value: str) -> str:
    # Most text has nothing to escape, and a look is cheaper than a translation.
    return value if value.isprintable() and "\\" not in value else value.translate(_ESCAPED)


@lru_cache(maxsize=1024)
def _word(value: str) -> str:
    """Few different ones come again and again. Also of an enum, which costs microseconds wherever it is formatted."""
    return _text(str(value))


def _number(value: int | None) -> str:
    return _NULL if value is None else str(value)


def _json(value: Any) -> str:
    return _text(orjson.dumps(value).decode()) if value else str(value)


def _default(field: Field[Any, Any]) -> str:
    value = field.get_default()
    if isinstance(field, JSONField):
        return _text(orjson.dumps(value).decode())
    if isinstance(value, bool):
        return "t" if value else "f"
    return _NULL if value is None else _text(str(value))


def _columns() -> tuple[str, str]:
    """Those of a line, and how what a record says nothing of ends it: with the model's defaults."""
    fields = {field.attname: field for field in Invocation._meta.concrete_fields}
    rest = [field for name, field in fields.items() if name not in _COPIED]
    columns = [str(fields[name].column) for name in _COPIED] + [str(field.column) for field in rest]
    return ",".join(columns), "".join(f"\t{_default(field)}" for field in rest)


COLUMNS, _REST = _columns()
LOG_COLUMNS: Final = "invocation_id,function_id,lines,created_at"
HEADING: Final = f"{COLUMNS}\n".encode()
