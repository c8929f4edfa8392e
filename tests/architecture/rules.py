"""The rules of the house that no linter knows: each a function from source to complaints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

DRAWERS = frozenset({"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "managers"})
MAX_LINES = 400
MAX_TASK_LINES = 5
ORM_NAMES = frozenset({"objects", "save", "filter", "select_for_update", "atomic"})
STATUS_WRITERS = frozenset({"update", "bulk_update", "create", "get_or_create", "update_or_create"})
ROOT_FOLDERS = frozenset(
    {
        "nimbus_project", "accounts", "functions", "invocations", "workflows", "triggers", "workers", "templates",
        "static", "deploy", "tests", "docs", "examples", ".ci", "var",
    }
)  # fmt: skip


def drawer(path: PurePosixPath) -> str | None:
    """Names that say nothing about what is inside."""
    for part in path.parts:
        if part.removesuffix(".py").strip("_") in DRAWERS:
            return f"{path}: {part} is a drawer; name what is inside"
    return None


def too_long(path: PurePosixPath, source: str) -> str | None:
    lines = len(source.splitlines())
    return f"{path}: {lines} lines, at most {MAX_LINES}; make it a package" if lines > MAX_LINES else None


def task_bodies(source: str) -> Iterator[str]:
    """A task body is one call: at most five lines, no `try`, no ORM."""
    for function in _functions(ast.parse(source)):
        if not any(_is_task(decorator) for decorator in function.decorator_list):
            continue
        body = function.body[1:] if ast.get_docstring(function) else function.body
        if body and (body[-1].end_lineno or 0) - body[0].lineno + 1 > MAX_TASK_LINES:
            yield f"{function.name}: more than {MAX_TASK_LINES} lines"
        for node in ast.walk(function):
            if isinstance(node, ast.Try | ast.TryStar):
                yield f"{function.name}: a try"
            elif isinstance(node, ast.Attribute) and node.attr in ORM_NAMES:
                yield f"{function.name}: the ORM (.{node.attr})"


def _is_task(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
    return name in {"task", "shared_task"}


def signals(source: str) -> Iterator[str]:
    """No Django signals, neither received nor sent."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            ("django.dispatch", "django.db.models.sig")
        ):
            yield f"line {node.lineno}: imports {node.module}"
        elif isinstance(node, ast.ImportFrom) and node.module in {"django.core.signals", "django.core"}:
            if node.module == "django.core.signals" or any(alias.name == "signals" for alias in node.names):
                yield f"line {node.lineno}: imports {node.module}"
        elif isinstance(node, ast.Import) and any("signals" in a.name and "django" in a.name for a in node.names):
            yield f"line {node.lineno}: imports Django's signals"


def model_methods(source: str) -> Iterator[str]:
    """No logic in `save()`, `delete()` or managers of models."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef):
            continue
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name in {"save", "delete"}:
                yield f"{node.name}.{item.name}: logic belongs to services"
        if any(_dotted(one).endswith(("Manager", "QuerySet")) for one in node.bases):
            yield f"{node.name}: a manager with logic of its own"


def reads_environment(source: str) -> Iterator[str]:
    """`os.environ`, `os.getenv`, and either by another name."""
    names = {"environ", "environb", "getenv", "getenvb"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "os" and names & {alias.name for alias in node.names}:
            yield f"line {node.lineno}: takes the environment from os"
        elif isinstance(node, ast.Attribute) and node.attr in names and _dotted(node.value) in {"os", "_os"}:
            yield f"line {node.lineno}: os.{node.attr}"


def imports_of(source: str, package: str) -> Iterator[str]:
    """Imports of a package, wherever in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and _dotted(node.func).endswith(("import_module", "__import__")):
            names = [one.value for one in node.args[:1] if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        else:
            continue
        if any(name == package or name.startswith(f"{package}.") for name in names):
            yield f"line {node.lineno}: imports {package}"


def invocation_status_writes(source: str) -> Iterator[str]:
    """Where a run's status is set: `invocation.status = …`, `Invocation.objects….update(status=…)`."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Attribute) and target.attr == "status" and _is_run(target.value):
                    yield f"line {node.lineno}: assigns the status of a run"
        elif isinstance(node, ast.Call) and any(word.arg == "status" for word in node.keywords):
            if _dotted(node.func).endswith("Invocation"):
                yield f"line {node.lineno}: makes a run with a status of its own"
            elif "Invocation.objects" in _dotted(node.func) and getattr(node.func, "attr", "") in STATUS_WRITERS:
                yield f"line {node.lineno}: writes the status of a run"


def _is_run(owner: ast.expr) -> bool:
    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    return bool(re.fullmatch(r"(.*_)?(invocation|run)", name))


def requirement_lines(text: str) -> Iterator[str]:
    """Each requirement is pinned and says why it is here."""
    for line in text.splitlines():
        if not line.strip() or line.startswith(("#", "-r ")):
            continue
        if not re.match(r"^[A-Za-z0-9._-]+(\[[a-z0-9,._-]+\])?==[0-9][^ ]*\s+#\s*\S", line):
            yield f"{line!r}: not `name==version  # why`"


def unknown_folders(tracked: list[str]) -> set[str]:
    """Top-level folders that the house has no room for."""
    return {path.split("/", 1)[0] for path in tracked if "/" in path} - ROOT_FOLDERS


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _dotted(node: ast.AST) -> str:
    try:
        return ast.unparse(node)
    except (AttributeError, ValueError):
        return ""
