"""The Python runner: the one program of ours inside a sandbox. Speaks `../PROTOCOL.md`.

Started as ``python -u runner.py`` with NIMBUS_SOCKET (the driver's socket) and NIMBUS_TASK_DIR (where the user's code
goes). Standard library only, one file. What is costly to import waits until it is needed, with its price beside it.
"""

from __future__ import annotations

import io
import json
import os
import resource
import select
import socket
import struct
import sys
import threading
import time
import types
from contextlib import suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO, LOAD, LOADED, INVOKE, LOG, RESULT, FAULT, PING, PONG = range(1, 10)
PREFIX = struct.Struct(">IBI")
CHUNK = 64 * 1024
EXIT_DISCONNECTED = 76
"""Exit code when the connection to the driver is gone, which ends the runner."""
MAX_ERROR_CHARS = 64 * 1024
MAX_STACK_FRAMES = 50
MEMBERS_AT_ONCE = 64
CO_COROUTINE = 0x80
CO_VARARGS = 0x04

encode_json = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode
decode_json = json.loads
encode_head = json.JSONEncoder(separators=(",", ":")).encode
now, monotonic = time.time, time.monotonic


def sound(text: str) -> str:
    """The text with what UTF-8 can't hold (lone surrogates) replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class Fault(Exception):
    """A bad end that has a name of the platform's."""

    def __init__(self, error_type: str, error: str) -> None:
        super().__init__(error)
        self.error_type = error_type


class Link:
    """The connection to the driver. Everything sent holds `lock`; a forked child of the user's never sends."""

    def __init__(self, path: str) -> None:
        self.lock = threading.RLock()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.buffer = bytearray()
        self.forked = False

    def send(self, kind: int, head: str, body: bytes = b"") -> None:
        if self.forked:
            os._exit(0)  # a child that came back out of the handler: it has nothing to say here
        header = head.encode()
        prefix = PREFIX.pack(5 + len(header) + len(body), kind, len(header)) + header
        try:
            with self.lock:
                if len(body) <= CHUNK:
                    self.socket.sendall(prefix + body)
                else:
                    self.socket.sendall(prefix)
                    self.socket.sendall(body)
        except OSError:
            os._exit(EXIT_DISCONNECTED)

    def receive(self) -> tuple[int, dict[str, Any], bytes | memoryview]:
        """Type, header and body of the next frame. Ends the process when there is none."""
        buffer = self.buffer
        while len(buffer) < 4 or len(buffer) < int.from_bytes(buffer[:4], "big") + 4:
            want = int.from_bytes(buffer[:4], "big") + 4 - len(buffer) if len(buffer) >= 4 else CHUNK
            try:
                data = self.socket.recv(min(max(want, CHUNK), 4 * CHUNK))
            except OSError:
                data = b""
            if not data:
                os._exit(EXIT_DISCONNECTED)
            buffer += data
        size, kind, head_size = PREFIX.unpack_from(buffer)
        body_at, end = 9 + head_size, size + 4
        head = decode_json(bytes(buffer[9:body_at])) if head_size else {}
        body = bytes(buffer[body_at:end])
        del buffer[:end]
        return kind, head, body

    def after_fork(self) -> None:
        self.forked = True
        self.lock = threading.RLock()
        self.socket.close()


class Output:
    """What the user writes, by sys.stdout or by descriptor, as LOG frames within the call's budget.

    Between calls nothing may be sent: it is held, within the same bound, for the next call.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.limit = CHUNK
        self.left = CHUNK
        self.full = False
        self.head: str | None = "{"
        self.held: list[tuple[str, bytes, int]] = []
        self.parts = {"stdout": b"", "stderr": b""}
        self.pipes: dict[int, str] = {}
        self.ends: dict[int, int] = {}
        self.now_ready, self.ready = select.poll(), select.poll()
        for fd, name in ((1, "stdout"), (2, "stderr")):
            read, write = os.pipe()
            os.set_blocking(read, False)
            os.dup2(write, fd)
            self.pipes[read] = name
            self.ends[fd] = write
            self.now_ready.register(read, select.POLLIN)
            self.ready.register(read, select.POLLIN)
        self.writers = (Writer(self, "stdout", 1), Writer(self, "stderr", 2))
        sys.stdout, sys.stderr = self.writers
        threading.Thread(target=self.pump, name="nimbus-output", daemon=True).start()

    def pump(self) -> None:
        """Carry what children and C code write while the call goes on."""
        while self.pipes:
            self.ready.poll()
            self.drain()

    def drain(self) -> None:
        """Take all that is in the pipes now. Costs one system call when they are empty."""
        while True:
            with self.link.lock:
                found = self.now_ready.poll(0)
                if not found:
                    return
                for fd, _ in found:
                    self.take(fd)

    def take(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.write(self.pipes[fd], data)
            return
        # End of file or a closed descriptor: the user closed what is ours; there is nothing to read any more.
        self.pipes.pop(fd, None)
        for poll in (self.now_ready, self.ready):
            with suppress(KeyError):
                poll.unregister(fd)

    def write(self, stream: str, data: bytes) -> None:
        """Send whole lines; keep the unfinished rest, which is bounded like the call's output."""
        with self.link.lock:
            if self.full:
                return
            lines, newline, rest = (self.parts[stream] + data).rpartition(b"\n")
            self.parts[stream] = rest
            if newline:
                self.emit(stream, lines + newline)
            if len(rest) > self.left:
                self.parts[stream] = b""
                self.emit(stream, rest)

    def emit(self, stream: str, data: bytes) -> None:
        if self.full or not data:
            return
        if len(data) <= self.left:
            self.left -= len(data)
            self.send(stream, data)
            return
        kept = data[: self.left]
        self.full = True
        self.send(stream, kept if kept.endswith(b"\n") or not kept else kept + b"\n")
        note = f"Nimbus: output cut, more than {self.limit} bytes in one call\n"
        self.send("stderr", note.encode())

    def send(self, stream: str, data: bytes) -> None:
        at_ms = int(now() * 1000)
        if self.head is None:
            self.held.append((stream, data, at_ms))
            return
        for at in range(0, len(data), 1 << 20):
            self.link.send(LOG, f'{self.head}"stream":"{stream}","at_ms":{at_ms}}}', data[at : at + (1 << 20)])

    def begin(self, call_id: str) -> None:
        """A call starts: what was held goes first; then descriptors and streams are ours again."""
        with self.link.lock:
            self.head = f'{{"id":{encode_head(call_id)},'
            held, self.held = self.held, []
            for stream, data, at_ms in held:
                self.link.send(LOG, f'{self.head}"stream":"{stream}","at_ms":{at_ms}}}', data)
        for fd, write in self.ends.items():
            try:
                if not os.path.sameopenfile(fd, write):
                    os.dup2(write, fd)
            except OSError:
                self.reopen(fd, write)
        sys.stdout, sys.stderr = self.writers

    def reopen(self, fd: int, write: int) -> None:
        with suppress(OSError):  # the user closed our end too; sys.stdout and sys.stderr still work
            os.dup2(write, fd)

    def end(self) -> None:
        """A call is over: all it wrote is sent, with unfinished lines. What follows is held."""
        for stream in (sys.stdout, sys.stderr):
            if stream not in self.writers:
                with suppress(Exception):  # the user's own object; its contents are the user's loss
                    stream.flush()
        with self.link.lock:
            self.drain()
            for name, rest in self.parts.items():
                if rest:
                    self.parts[name] = b""
                    self.emit(name, rest)
            self.head, self.left, self.full = None, self.limit, False


class Writer(io.TextIOBase):
    """sys.stdout or sys.stderr: each finished line is a frame of its own, at once."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, output: Output, stream: str, fd: int) -> None:
        self.output = output
        self.stream = stream
        self.fd = fd
        self.name = f"<{stream}>"
        self.buffer = ByteWriter(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.write_bytes(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        output = self.output
        if output.link.forked:
            os.write(self.fd, data)
            return
        if output.full:
            return
        output.drain()
        output.write(self.stream, data)

    def fileno(self) -> int:
        return self.fd

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stays open: closing sys.stdout must not silence the next call."""


class ByteWriter(io.RawIOBase):
    """sys.stdout.buffer."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def write(self, data: Any) -> int:
        self.writer.write_bytes(bytes(data))
        return len(data)

    def fileno(self) -> int:
        return self.writer.fd

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stays open, as its writer does."""


class Context:
    """The handler's second argument: attributes, and `get` for those who like dictionaries."""

    __slots__ = (
        "_deadline",
        "alias",
        "attempt",
        "function_id",
        "function_name",
        "function_version",
        "invocation_id",
        "memory_limit_mb",
        "request_id",
        "timeout_sec",
        "trigger_type",
    )  # fmt: skip

    def __init__(self, load: dict[str, Any], call: dict[str, Any]) -> None:
        self._deadline = monotonic() + call.get("remaining_ms", 0) / 1000
        self.invocation_id = call["id"]
        self.request_id = call.get("request_id", "")
        self.alias = call.get("alias", "")
        self.attempt = call.get("attempt", 1)
        self.trigger_type = call.get("trigger_type", "")
        self.function_name = load.get("function_name", "")
        self.function_version = load.get("function_version", 0)
        self.function_id = load.get("function_id", "")
        self.memory_limit_mb = load.get("memory_mb", 0)
        self.timeout_sec = load.get("timeout_sec", 0)

    def remaining_time_ms(self) -> int:
        """Milliseconds until the call is stopped."""
        return max(0, int((self._deadline - monotonic()) * 1000))

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default) if name in self.__slots__ and name[0] != "_" else default

    def __repr__(self) -> str:
        return f"<context of {self.function_name} version {self.function_version}, request {self.request_id}>"


def load_module(load: dict[str, Any], source: bytes | None, task_dir: str) -> tuple[Any, str]:
    """Write the source if it is not there already, import it, find the handler: the callable and its name.

    Raises whatever the import does.
    """
    module_name, _, name = load["handler"].rpartition(".")
    if not module_name or not name:
        raise Fault("HandlerNotFound", f"The handler {load['handler']!r} is not of the form module.function.")
    path = os.path.join(task_dir, *module_name.split(".")) + ".py"
    if source is not None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(source)
    elif not os.path.isfile(path):
        found = ", ".join(sorted(entry for entry in os.listdir(task_dir) if entry.endswith(".py"))) or "none"
        raise Fault("ModuleNotFound", f"There is no file {module_name}.py in the project. Python files there: {found}.")
    sys.path.insert(0, task_dir)
    loader = SourceFileLoader(module_name, path)
    spec = ModuleSpec(module_name, loader, origin=path)
    spec.has_location = True
    module = types.ModuleType(module_name)
    module.__spec__, module.__loader__, module.__file__ = spec, loader, path
    module.__package__ = spec.parent
    # A user's json.py must not take the place of the standard library's.
    sys.modules.setdefault(module_name, module)
    loader.exec_module(module)
    handler: Any = getattr(module, name, None)
    if callable(handler):
        return handler, name
    own = sorted(n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module_name)
    there = f"It has: {', '.join(own[:20])}." if own else "It defines no functions."
    what = "has no function" if handler is None else "has a value that can't be called"
    raise Fault("HandlerNotFound", f"The module {module_name!r} {what} named {name!r}. {there}")


def wants_context(handler: Any, name: str) -> bool:
    """Whether the handler takes `(event, context)` rather than `(event)`. Raises Fault when it takes neither."""
    if type(handler) is types.FunctionType and not hasattr(handler, "__wrapped__"):
        code = handler.__code__
        most = code.co_argcount
        least = most - len(handler.__defaults__ or ())
        named = code.co_kwonlyargcount - len(handler.__kwdefaults__ or ())
        if not named and least <= 2 and (most >= 2 or code.co_flags & CO_VARARGS):
            return True
        if not named and least <= 1 <= most:
            return False
        raise Fault("HandlerSignature", signature_text(name))
    import inspect  # 8 ms; only for callables that are no plain function

    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return False  # built in C: no way to know before the call
    for count in (2, 1):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return count == 2
    raise Fault("HandlerSignature", signature_text(name))


def signature_text(name: str) -> str:
    return f"The handler {name!r} can't be called with its arguments: write {name}(event) or {name}(event, context)."


def encode_result(result: Any, limit: int) -> bytes:
    """The result as JSON text. Raises Fault."""
    too_large = Fault("ResultTooLarge", f"The result is larger than the {limit} bytes that are allowed.")
    least, seen_all = least_bytes(result, limit)
    if least > limit:
        raise too_large
    try:
        text = encode_json(result) if seen_all else encode_by_parts(result, limit)
    except TypeError as error:
        raise Fault("ResultNotJson", f"The result can't be written as JSON: {error}.") from None
    except ValueError as error:
        circular = "ircular" in str(error)
        why = "it contains itself" if circular else "a float in it is NaN or infinite, which JSON has no way to write"
        raise Fault(
            "ResultNotJson", f"The result (a {type(result).__name__}) can't be written as JSON: {why}."
        ) from None
    except RecursionError:
        raise Fault("ResultNotJson", "The result can't be written as JSON: it is nested too deeply.") from None
    if len(text) <= limit:
        try:
            body = text.encode()
        except UnicodeEncodeError:
            body = sound(text).encode()
        if len(body) <= limit:
            return body
    raise too_large


def encode_by_parts(result: Any, limit: int) -> str:
    """As `encode_json`, but it stops soon after `limit` characters: what can't be sent must not fill the memory."""
    parts, total = [], 0
    for part in json_parts(result, 0):
        parts.append(part)
        total += len(part)
        if total > limit:
            break
    return "".join(parts)


def json_parts(value: Any, depth: int) -> Iterator[str]:
    """The JSON text in pieces: many members go some at a time, few one by one with a look inside."""
    if depth > 3 or not value or type(value) not in (list, dict):
        yield encode_json(value)
        return
    is_list = type(value) is list
    step = 1 if len(value) <= MEMBERS_AT_ONCE else MEMBERS_AT_ONCE
    members = iter(value if is_list else value.items())
    opening = "[" if is_list else "{"
    while some := list(islice(members, step)):
        yield opening
        opening = ","
        if step > 1:
            yield encode_json(some if is_list else dict(some))[1:-1]
        elif is_list:
            yield from json_parts(some[0], depth + 1)
        else:
            yield encode_json({some[0][0]: 0})[1:-2]
            yield from json_parts(some[0][1], depth + 1)
    yield "]" if is_list else "}"


def least_bytes(result: Any, limit: int) -> tuple[int, bool]:
    """A lower bound of the JSON text's length, from a look at the first few values, and whether those were all."""
    total, stack, looks = 0, [result], 200
    while stack and looks and total <= limit:
        looks -= 1
        value = stack.pop()
        kind = type(value)
        if kind is str:
            total += len(value)
        elif kind is list or kind is tuple:
            total += 2 * len(value) - 1
            stack.extend(value[:looks])
        elif kind is dict:
            total += 4 * len(value)
            stack.extend(item for _, item in zip(range(looks), value.values(), strict=False))
    return total, looks > 0 and not stack


def message_of(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "(its message can't be shown)"
    text = sound(text) or type(error).__name__
    if len(text) > MAX_ERROR_CHARS:
        text = f"{text[:MAX_ERROR_CHARS]}… (cut: {len(text)} characters)"
    return text


def stack_of(error: BaseException, task_dir: str) -> list[str]:
    """The user's frames, outermost first; then those of the exception's cause."""
    import linecache  # 3 ms with tokenize; only after a failure

    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < 5:
        seen.add(id(current))
        if current is not error:
            lines.append(f"caused by {type(current).__name__}: {message_of(current)[:500]}")
        frames = []
        trace = current.__traceback__
        while trace is not None:
            path = trace.tb_frame.f_code.co_filename
            if path.startswith(task_dir):
                where = f'File "{path[len(task_dir) :].lstrip("/")}", line {trace.tb_lineno}'
                code = linecache.getline(path, trace.tb_lineno).strip()
                frames.append(sound(f"{where}, in {trace.tb_frame.f_code.co_name}\n    {code[:200]}"))
            trace = trace.tb_next
        if len(frames) > MAX_STACK_FRAMES:
            half = MAX_STACK_FRAMES // 2
            frames[half:-half] = [f"… {len(frames) - MAX_STACK_FRAMES} more frames"]
        lines += frames
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return lines


def reset_peak() -> None:
    """Start a new measurement of peak memory (Linux): the high-water mark falls to what is resident now."""
    try:
        fd = os.open("/proc/self/clear_refs", os.O_WRONLY)
        try:
            os.write(fd, b"5")
        finally:
            os.close(fd)
    except OSError:
        pass  # not Linux, or not allowed: then the peak is the process's whole life's


def peak_mb() -> float:
    """Peak resident memory since `reset_peak`, MiB. As VmHWM in /proc/self/status, for a twentieth of the price."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 2)


class Runner:
    """LOAD once, then one INVOKE after the other."""

    def __init__(self, link: Link, task_dir: str) -> None:
        self.link = link
        self.task_dir = task_dir
        self.output = Output(link)
        self.load: dict[str, Any] = {}
        self.handler: Any = None
        self.with_context = False
        self.loop: Any = None
        self.limit = 0

    def serve(self) -> NoReturn:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        hello = {"protocol": 1, "runtime": f"python{version}", "pid": os.getpid()}
        self.link.send(HELLO, encode_head({**hello, "language_version": sys.version.split()[0]}))
        while True:
            kind, head, body = self.link.receive()
            if kind == INVOKE:
                self.run(head, bytes(body))
            elif kind == PING:
                self.link.send(PONG, encode_head(head), bytes(body))
            elif kind == LOAD:
                self.start(head, bytes(body))
            else:
                os._exit(EXIT_DISCONNECTED)

    def start(self, head: dict[str, Any], artifact: bytes) -> None:
        started = monotonic()
        self.load = head
        self.limit = head["max_result_bytes"]
        self.output.limit = self.output.left = head["max_log_bytes"]
        os.environ.update(head.get("env") or {})
        if "TZ" in os.environ:
            time.tzset()
        try:
            self.handler, name = self.load_artifact(head, artifact)
            self.with_context = wants_context(self.handler, name)
            call = self.handler if isinstance(self.handler, types.FunctionType) else type(self.handler).__call__
            if getattr(getattr(call, "__code__", None), "co_flags", 0) & CO_COROUTINE:
                self.event_loop()
        except BaseException as error:
            self.fault(error, started, None)
            return
        self.output.end()
        self.link.send(LOADED, encode_head({"load_ms": round((monotonic() - started) * 1000, 3)}))

    def load_artifact(self, head: dict[str, Any], artifact: bytes) -> tuple[Any, str]:
        files = head.get("files") or ""
        if files:
            # Layers come after the function's own folder and before the runtime's own packages.
            sys.path.insert(0, os.path.join(files, "python"))
        if head["artifact_kind"] == "source":
            return load_module(head, artifact, self.task_dir)
        if head["artifact_kind"] == "tree":
            self.task_dir = os.path.realpath(os.path.join(files, "task"))
            return load_module(head, None, self.task_dir)
        raise Fault("ArtifactKind", f"This runtime can't load an artifact of kind {head['artifact_kind']!r}.")

    def run(self, head: dict[str, Any], body: bytes) -> None:
        call_id = head["id"]
        reset_peak()
        self.output.begin(call_id)
        started = monotonic()
        try:
            event = decode_json(body)
            result = self.handler(event, Context(self.load, head)) if self.with_context else self.handler(event)
            if hasattr(result, "__await__"):
                result = self.event_loop().run_until_complete(settle(result))
            if self.link.forked:
                # A child that came back out of the handler: what is in the pipes is its parent's to send.
                os._exit(0)
            text = encode_result(result, self.limit)
        except BaseException as error:
            self.fault(error, started, call_id)
            return
        spent = round((monotonic() - started) * 1000, 3)
        memory = peak_mb()
        self.output.end()
        self.link.send(RESULT, f'{{"id":{encode_head(call_id)},"duration_ms":{spent},"memory_mb":{memory}}}', text)

    def event_loop(self) -> Any:
        """The one loop of this process: what the user opened in one call works in the next."""
        if self.loop is None or self.loop.is_closed():
            import asyncio  # 35 ms; only for async handlers, at their load

            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
        return self.loop

    def fault(self, error: BaseException, started: float, call_id: str | None) -> None:
        """Answer with a FAULT; a wish to exit is granted once it has been said."""
        if self.link.forked:
            os._exit(1)
        head: dict[str, Any] = {"duration_ms": round((monotonic() - started) * 1000, 3), "memory_mb": peak_mb()}
        if call_id is not None:
            head["id"] = call_id
        head["error"], head["error_type"] = message_of(error), type(error).__name__
        head["stack_trace"] = [] if isinstance(error, Fault) else stack_of(error, self.task_dir)
        head["fatal"] = isinstance(error, SystemExit)
        code = 0
        if isinstance(error, Fault):
            head["error_type"] = error.error_type
        elif isinstance(error, SystemExit):
            code = self.exit_code(error)
            head["error_type"] = "ProcessExited"
            head["error"] = (
                f"The code asked the process to exit with code {code}. "
                "A handler returns its result and leaves the process running."
            )
        elif call_id is None and isinstance(error, ModuleNotFoundError):
            head["error_type"] = "ModuleNotFound"
            head["error"] += ". It is neither in Python's standard library nor packaged with the function."
        elif isinstance(error, SyntaxError):
            head["error_type"] = "SyntaxError"
        self.output.end()
        self.link.send(FAULT, encode_head(head))
        if head["fatal"]:
            os._exit(code)

    def exit_code(self, error: SystemExit) -> int:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        self.output.writers[1].write(f"{error.code}\n")
        return 1


async def settle(value: Any) -> Any:
    return await value


def main() -> NoReturn:
    path = os.environ.pop("NIMBUS_SOCKET")
    # The real path: tracebacks are told apart by it.
    task_dir = os.path.realpath(os.environ.pop("NIMBUS_TASK_DIR", "/var/task"))
    sys.dont_write_bytecode = True
    sys.path[:] = [entry for entry in sys.path if entry != os.path.dirname(os.path.abspath(__file__))]
    link = Link(path)
    runner = Runner(link, task_dir)
    os.register_at_fork(after_in_child=link.after_fork)
    runner.serve()


if __name__ == "__main__":
    main()
