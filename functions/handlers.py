"""Whether a handler can be found in what was uploaded, asked before anything is stored. Pure.

The file is looked for where the runners look for it (`workers/runtimes/{python,node}`): in the project's own folder,
never in a layer or a dependency. What is in a Python file is read too, as far as it is certain; whoever defines names
by other means than by writing them down is left to the first call.
"""

from __future__ import annotations

import re
import symtable
from collections.abc import Collection, Mapping
from dataclasses import dataclass

MAX_PARSED_BYTES = 64 * 1024
"""Larger sources are not read: parsing holds up all else that the process does, 64 KiB for 75 ms at the very most."""

_SUFFIXES = {"python3.11": (".py",), "nodejs20": (".js", ".mjs", ".cjs")}
_SHOWN = 10
_LANGUAGES = {"python3.11": "Python", "nodejs20": "JavaScript"}
# Names by which a module can come to have what nobody can read in it.
_BY_OTHER_MEANS = frozenset(
    {"globals", "vars", "locals", "exec", "eval", "setattr", "__builtins__", "__import__", "importlib", "inspect"}
)
_STAR = re.compile(r"import[\s\\]*\*")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no such handler."""

    text: str
    in_source: bool = False
    """The source can't be read, whatever the handler."""


def files_of(runtime: str, handler: str) -> list[str]:
    """The paths at which the runner looks for the handler's module, the first that is there counts; none for what is
    compiled."""
    module = handler.rpartition(".")[0]
    # Python's runner reads dots as folders, Node's takes them as they are.
    stem = module.replace(".", "/") if runtime == "python3.11" else module
    return [stem + suffix for suffix in _SUFFIXES.get(runtime, ())]


def problem_of_project(runtime: str, handler: str, files: Mapping[str, bytes]) -> Problem | None:
    """Why a project of these files has no such handler."""
    found = next((name for name in files_of(runtime, handler) if name in files), None)
    return problem_of_source(runtime, handler, files[found]) if found else problem_of_names(runtime, handler, files)


def problem_of_names(runtime: str, handler: str, names: Collection[str]) -> Problem | None:
    """Why a project with files of these names has no file for the handler."""
    wanted = files_of(runtime, handler)
    if not wanted or any(name in names for name in wanted):
        return None
    return Problem(_missing(runtime, handler, wanted, names))


def problem_of_source(runtime: str, handler: str, source: bytes) -> Problem | None:
    """Why the text of the handler's file can't be loaded or has no such handler; None too when that is not certain."""
    if runtime != "python3.11" or len(source) > MAX_PARSED_BYTES:
        return None
    (file,) = files_of(runtime, handler)
    try:
        table = symtable.symtable(source, file, "exec")  # type: ignore[arg-type]  # takes bytes, as compile does
    except SyntaxError as error:
        place = f"{file}, line {error.lineno}" if error.lineno else file
        return Problem(f"{place}: {error.msg}.", in_source=True)
    except (RecursionError, MemoryError, ValueError, OverflowError):
        return None  # nested without measure, which Python itself says best
    module, _, name = handler.rpartition(".")
    if _may_have(table, name, module.rpartition(".")[2], source.decode(errors="replace")):
        return None
    own = [symbol.get_name() for symbol in table.get_symbols() if symbol.is_namespace()]
    there = f"It has: {', '.join(own[:_SHOWN])}" if own else "It defines no functions"
    return Problem(f"{file} has no {name}, which the handler {handler} names. {there}.")


def _missing(runtime: str, handler: str, wanted: list[str], names: Collection[str]) -> str:
    language, expected = _LANGUAGES[runtime], " or ".join(wanted)
    deeper = sorted(name for name in names if name.endswith(tuple(f"/{one}" for one in wanted)))
    if deeper:
        why = f"{deeper[0]} is there: zip what is in the folder, not the folder itself"
    else:
        suffixes = _SUFFIXES[runtime]
        own = sorted((name for name in names if name.endswith(suffixes)), key=lambda name: (name.count("/"), name))
        more = f" and {len(own) - _SHOWN} more" if len(own) > _SHOWN else ""
        why = f"{language} files in it: {', '.join(own[:_SHOWN]) or 'none'}{more}"
    return f"There is no file {expected} in the archive, where the handler {handler} is looked for. {why}."


def _may_have(table: symtable.SymbolTable, name: str, module: str, text: str) -> bool:
    """Whether a module may have that name: False only when nothing in it could be the reason."""
    used: set[str] = set()
    waiting = [table]
    while waiting:
        scope = waiting.pop()
        used.update(scope.get_identifiers())
        waiting += scope.get_children()
        if name in scope.get_identifiers() and _binds(scope, name):
            return True
    # A module that imports itself, or hands its own name to others, may be given things; those have names in its text.
    is_named = re.search(rf"\b{re.escape(name)}\b", text) is not None
    by_itself = is_named and ("__name__" in used or module in used)
    return by_itself or bool(_BY_OTHER_MEANS & used) or "__getattr__" in used or _STAR.search(text) is not None


def _binds(scope: symtable.SymbolTable, name: str) -> bool:
    symbol = scope.lookup(name)
    bound = symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
    return symbol.is_declared_global() or (bound and scope.get_type() == "module")
