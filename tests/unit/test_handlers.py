"""Handlers that are not in what was uploaded: found before it is stored, and only where that is certain."""

from __future__ import annotations

import pytest

from functions.handlers import MAX_PARSED_BYTES, Problem, files_of, problem_of_project, problem_of_source

MAIN = b"def main(event):\n    return 1\n"
PYTHON, NODE = "python3.11", "nodejs20"


@pytest.mark.parametrize(
    ("runtime", "handler", "name"),
    [
        (PYTHON, "handler.main", "handler.py"),
        (PYTHON, "shop.orders.main", "shop/orders.py"),
        (PYTHON, "my-shop.main", "my-shop.py"),
        (NODE, "handler.main", "handler.js"),
        (NODE, "handler.main", "handler.mjs"),
        (NODE, "handler.main", "handler.cjs"),
        (NODE, "shop.orders.main", "shop.orders.js"),
        ("go1.24", "handler.Handler", "elsewhere.go"),
        ("wasm", "handler.main", "elsewhere.rs"),
    ],
)
def test_a_project_with_its_file_passes(runtime: str, handler: str, name: str) -> None:
    assert problem_of_project(runtime, handler, {"README": b"", name: MAIN}) is None


@pytest.mark.parametrize(
    ("runtime", "handler", "names", "said"),
    [
        (PYTHON, "handler.main", ["app.py", "b/c.py", "x.txt"], "no file handler.py in the archive"),
        (PYTHON, "handler.main", ["app.py", "b/c.py", "x.txt"], "Python files in it: app.py, b/c.py."),
        (PYTHON, "handler.main", ["x.txt"], "Python files in it: none."),
        (PYTHON, "handler.main", [f"m{n:02}.py" for n in range(14)], "m09.py and 4 more."),
        (PYTHON, "handler.main", ["shop/handler.py"], "shop/handler.py is there: zip what is in the folder"),
        (PYTHON, "handler.main", ["handler/__init__.py"], "Python files in it: handler/__init__.py."),
        (PYTHON, "handler.main", ["Handler.py"], "Python files in it: Handler.py."),
        (PYTHON, "shop.orders.main", ["shop.orders.py"], "no file shop/orders.py"),
        (PYTHON, "handler.main", ["node_modules/x.js", "handler.js"], "Python files in it: none."),
        (NODE, "handler.main", ["index.js", "handler.py"], "no file handler.js or handler.mjs or handler.cjs"),
        (NODE, "handler.main", ["handler/index.js"], "JavaScript files in it: handler/index.js."),
        (NODE, "shop.orders.main", ["shop/orders.js"], "no file shop.orders.js"),
        (NODE, "handler.main", ["dist/handler.mjs"], "dist/handler.mjs is there: zip what is in the folder"),
    ],
)
def test_a_project_without_it_does_not(runtime: str, handler: str, names: list[str], said: str) -> None:
    problem = problem_of_project(runtime, handler, dict.fromkeys(names, MAIN))
    assert problem is not None and not problem.in_source
    assert said in problem.text
    assert handler in problem.text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def mian(event): pass\nclass Shop:\n    def main(self): pass\n", "has no main"),
        ("def mian(event): pass\nclass Shop: pass\n", "It has: mian, Shop."),
        ("x = 1\n", "It defines no functions."),
        ("def f():\n    main = 1\n    def main(): pass\n", "has no main"),
        ("import logging\nlog = logging.getLogger(__name__)\ndef run(event): pass\n", "has no main"),
        ("if __name__ == '__main__':\n    run()\n", "has no main"),
        ("print(main)\n", "has no main"),
        ("\n\ndef main(event)\n    return 1\n", "handler.py, line 3: expected ':'."),
        ("def main(event):\nreturn 1\n", "handler.py, line 2: expected an indented block"),
        ("def main(event):\n\tif 1:\n        pass\n", "handler.py, line 3: "),
        ("def main(event, event): pass\n", "handler.py, line 1: duplicate argument"),
        ("x = “quoted”\n", "handler.py, line 1: invalid character"),
        ("# coding: no-such-coding\n", "unknown encoding: no-such-coding"),
    ],
)
def test_sources_that_can_not_be_what_they_should(source: str, said: str) -> None:
    problem = problem_of_source(PYTHON, "handler.main", source.encode())
    assert problem is not None and said in problem.text
    assert problem.in_source == ("has no main" not in problem.text)


@pytest.mark.parametrize(
    "source",
    [
        "def main(event): pass\n",
        "async def main(event): pass\n",
        "class main:\n    def __new__(cls, event): pass\n",
        "main = lambda event: 1\n",
        "a, (b, *main) = 1, (2, 3)\n",
        "import shop as main\n",
        "from shop import main\n",
        "from shop import *\n",
        "from shop import\\\n  *\n",
        "try:\n    from fast import main\nexcept ImportError:\n    def main(event): pass\n",
        "for main in (len,): pass\n",
        "with open('x') as main: pass\n",
        "if (main := len): pass\n",
        "[main := one for one in (len,)]\n",
        "match len:\n    case main: pass\n",
        "def set_up():\n    global main\n    main = len\nset_up()\n",
        "def set_up():\n    global main\n    def main(event): pass\nset_up()\n",
        "def __getattr__(name): return len\n",
        "globals()['ma' + 'in'] = len\n",
        "vars().update(x=1)\n",
        "exec(open('other').read())\n",
        "import sys\nsetattr(sys.modules['handler'], 'ma' + 'in', len)\n",
        "import sys\nsys.modules[__name__].main = len\n",
        "import other\nother.give(__name__, 'main')\n",
        "import handler\nhandler.main = len\n",
        "import importlib\nimportlib.import_module('set_up')\n",
        "\ufeffdef main(event): pass\n",
        "# coding: latin-1\nmain = len\n",
        "ｍain = len\n",
        "x = " + "(" * 150 + ")" * 150 + "\nmain = len\n",
    ],
)
def test_sources_that_pass_since_they_may_be(source: str) -> None:
    assert problem_of_source(PYTHON, "handler.main", source.encode()) is None


@pytest.mark.parametrize(
    "source",
    [
        "x" + ".x" * 30_000,
        "not " * 15_000 + "1",
        "lambda:" * 9_000 + "1",
        "1" + "+1" * 30_000,
        "if 1: pass\n" + "elif 1: pass\n" * 4_000,
        "x = 1\n" * MAX_PARSED_BYTES,
    ],
)
def test_what_is_nested_without_measure_or_large_is_left_to_the_sandbox(source: str) -> None:
    assert problem_of_source(PYTHON, "handler.main", source.encode()) is None


def test_other_languages_are_not_read() -> None:
    assert problem_of_source(NODE, "handler.main", b"export const x = 1") is None
    assert problem_of_source("go1.24", "handler.main", b"def main(") is None
    assert files_of("go1.24", "handler.main") == files_of("wasm", "handler.main") == []


def test_the_module_of_a_project_is_read_too() -> None:
    files = {"shop/orders.py": b"def mian(event): pass\n", "handler.py": MAIN}
    said = "shop/orders.py has no main, which the handler shop.orders.main names. It has: mian."
    assert problem_of_project(PYTHON, "shop.orders.main", files) == Problem(said)
    assert problem_of_project(PYTHON, "handler.main", files) is None
