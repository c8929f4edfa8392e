"""Projects with real dependencies, and layers, on the real platform: resolved once, importable, in order."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.caller import Caller
from tests.platform import Platform, PlatformOptions
from tests.projects import as_archive, build_log, built, deploy, result, state, zip_of
from tests.services import wait_until

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.parametrize(
        "platform",
        [
            PlatformOptions(driver="docker", images=("builder-python", "builder-node"), index=True),
            PlatformOptions(driver="process", database="sqlite", index=True),
        ],
        ids=["docker", "process"],
        indirect=True,
        scope="module",
    ),
]

SCIENCE = """
import io
import jinja2, numpy
from PIL import Image

def main(event):
    matrix = numpy.array(event["matrix"])
    picture = io.BytesIO()
    Image.fromarray(matrix.astype("uint8")).save(picture, "PNG")
    return {
        "text": jinja2.Template("{{ a }}!").render(a=VERSION),
        "inverse": numpy.linalg.inv(matrix).round(6).tolist(),
        "png": picture.getvalue()[1:4].decode(),
        "compiled": numpy.__cached__ is not None and __import__("os").path.exists(numpy.__cached__),
    }
"""
WEB = """
const express = require('express');
const { marked } = require('marked');
const { readdirSync } = require('node:fs');
const packages = readdirSync(require.resolve('express/package.json').replace(/express.package.json$/, '')).length;
exports.main = async (event) => ({
  version: VERSION, html: marked.parse(event.markdown), routes: typeof express().get, many: packages >= 30,
});
"""
SHOUT = "def shout(text):\n    return text.upper()\n"
USES_SHOUT = "import shouting\ndef main(event):\n    return shouting.shout(event['text'])\n"


def resolved(platform: Platform) -> int:
    """Artifacts that lie in storage."""
    return len([path for path in (Path(platform.var_dir) / "files" / "artifacts").rglob("*") if path.is_file()])


def update(caller: Caller, name: str, **given: Any) -> tuple[dict[str, Any], float]:
    """The answer to the update, and the seconds until the new version could be called."""
    began = time.monotonic()
    answer = caller.http.put(f"/functions/{name}", json=given)
    assert answer.status_code == 200, answer.text
    built(caller, name)
    changed: dict[str, Any] = answer.json()
    return changed, time.monotonic() - began


def test_python_packages_are_resolved_once(caller: Caller, platform: Platform) -> None:
    lists = {"requirements.txt": "Jinja2>=3.1\nnumpy\nPillow\n", "README": "1"}
    first = {"handler.py": "VERSION = 1\n" + SCIENCE, **lists}
    function = deploy(caller, "science", runtime="python3.11", memory_mb=512, archive=as_archive(first))
    event = {"matrix": [[2, 0], [0, 4]]}
    expected = {"text": "1!", "inverse": [[0.5, 0.0], [0.0, 0.25]], "png": "PNG", "compiled": True}
    assert result(caller, "science", event) == expected
    before = resolved(platform)

    second = {"handler.py": "VERSION = 2\n" + SCIENCE, "requirements.txt": "# the same\nJinja2>=3.1\nnumpy\nPillow\n"}
    answer, seconds = update(caller, "science", archive=as_archive(second))
    print(f"second deploy of Python: {seconds:.2f} s")
    # Live in the very answer: nothing was built, and no more than the packed sources was stored.
    assert (answer["status"], answer["version"]) == ("active", function["version"] + 1)
    assert resolved(platform) == before + 1
    assert result(caller, "science", event) == expected | {"text": "2!"}

    # Another function with the same list shares them too.
    other = deploy(caller, "science-2", runtime="python3.11", memory_mb=512, archive=as_archive(second))
    assert "task_id" not in other
    assert result(caller, "science-2", event) == expected | {"text": "2!"}


def test_npm_packages_are_resolved_once(caller: Caller, platform: Platform) -> None:
    manifest = {"name": "web", "version": "1.0.0", "dependencies": {"express": "^4.19.0", "marked": "12.0.2"}}
    files = {"package.json": json.dumps(manifest), "handler.js": "const VERSION = 1;" + WEB}
    deploy(caller, "web", runtime="nodejs20", archive=as_archive(files))
    expected = {"version": 1, "html": "<p><em>x</em></p>\n", "routes": "function", "many": True}
    assert result(caller, "web", {"markdown": "*x*"}) == expected

    changed = {"package.json": json.dumps(manifest | {"version": "2.0.0"}), "handler.js": "const VERSION = 2;" + WEB}
    answer, seconds = update(caller, "web", archive=as_archive(changed))
    print(f"second deploy of npm: {seconds:.2f} s")
    assert answer["status"] == "active" and "task_id" not in answer
    assert result(caller, "web", {"markdown": "*x*"}) == expected | {"version": 2}


def test_a_lock_file_is_kept_to(caller: Caller) -> None:
    manifest = {"dependencies": {"ms": "^2.0.0"}}
    entry = {
        "version": "2.0.0",
        "resolved": "https://elsewhere.invalid/ms.tgz",
        "integrity": "sha512-Tpp60P6IUJDTuOq/5Z8cdskzJujfwqfOTkrwIwj7IRISpnkJnT6SyJ4PCPnGMoFjC9ddhal5KVIYtAt97ix05A==",
    }
    lock = {"lockfileVersion": 3, "packages": {"": manifest, "node_modules/ms": entry}}
    code = "exports.main = () => require('ms/package.json').version;"
    files = {"package.json": json.dumps(manifest), "package-lock.json": json.dumps(lock), "handler.js": code}
    deploy(caller, "locked", runtime="nodejs20", archive=as_archive(files))
    assert result(caller, "locked") == "2.0.0"


def test_a_lock_file_that_does_not_fit_fails_the_build(caller: Caller) -> None:
    """npm's own words: what to do is in them."""
    manifest = {"dependencies": {"ms": "^2.0.0", "marked": "12.0.2"}}
    entry = {"version": "2.0.0", "integrity": "sha512-" + "A" * 86 + "=="}
    lock = {"lockfileVersion": 3, "packages": {"": manifest, "node_modules/ms": entry}}
    files = {"package.json": json.dumps(manifest), "package-lock.json": json.dumps(lock), "handler.js": "x"}
    fails(caller, "nodejs20", files, "Missing: marked@12.0.2 from lock file")
    manifest["dependencies"].pop("marked")
    files |= {"package.json": json.dumps(manifest), "package-lock.json": json.dumps(lock)}
    fails(caller, "nodejs20", files, "EINTEGRITY")


def test_hashes_are_held_against_what_comes(caller: Caller) -> None:
    wrong = "MarkupSafe==3.0.2 --hash=sha256:" + "0" * 64
    fails(caller, "python3.11", {"handler.py": "main = 1", "requirements.txt": wrong}, "DO NOT MATCH")


def fails(caller: Caller, runtime: str, files: dict[str, str], said: str) -> None:
    """It is made, its build fails, and that says why; then it can be deleted."""
    caller.http.delete("/functions/lacking")
    body = {"name": "lacking", "runtime": runtime, "handler": "handler.main", "archive": as_archive(files)}
    made = caller.http.post("/functions", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["status"] == "creating"
    wait_until(lambda: state(caller, "lacking")["status"] == "failed", 120, "the build to fail")
    found = state(caller, "lacking")
    assert said in found["status_message"], found
    assert said in build_log(caller, found)
    assert caller.invoke("lacking").json()["code"] == "function_not_active"


@pytest.mark.parametrize(
    ("runtime", "files"),
    [
        ("python3.11", {"handler.py": "main = 1", "requirements.txt": "no-such-package-of-nimbus==9.9\n"}),
        ("nodejs20", {"handler.js": "x", "package.json": '{"dependencies": {"no-such-package-of-nimbus": "9.9.9"}}'}),
    ],
)
def test_what_does_not_exist_fails_with_the_clients_own_words(
    caller: Caller, runtime: str, files: dict[str, str]
) -> None:
    fails(caller, runtime, files, "no-such-package-of-nimbus")


def test_a_project_without_lists_is_live_at_once(caller: Caller) -> None:
    files = {"handler.py": "from inner.part import N\ndef main(event):\n    return N\n", "inner/part.py": "N = 7\n"}
    body = {"name": "plain", "runtime": "python3.11", "handler": "handler.main", "archive": as_archive(files)}
    caller.http.delete("/functions/plain")
    assert caller.http.post("/functions", json=body).json()["status"] == "active"
    assert result(caller, "plain") == 7


def layer(caller: Caller, name: str, files: dict[str, str], runtimes: tuple[str, ...] = ("python3.11",)) -> None:
    """With a version more, sent as a form."""
    answer = caller.http.post("/layers", json={"name": name, "compatible_runtimes": list(runtimes)})
    assert answer.status_code in (201, 409), answer.text
    sent = caller.http.post(f"/layers/{name}/versions", files={"content": ("layer.zip", zip_of(files))})
    assert sent.status_code == 201, sent.text


def use(caller: Caller, function: str, *layers: str) -> None:
    answer = caller.http.put(f"/functions/{function}/layers", json={"layers": list(layers)})
    assert answer.status_code == 200, answer.text


def test_layers_are_importable_and_a_later_one_wins(caller: Caller) -> None:
    layer(caller, "loud", {"python/shouting.py": SHOUT})
    layer(caller, "quiet", {"python/shouting.py": SHOUT.replace("upper", "lower"), "python/other.py": ""})
    deploy(caller, "shouts", runtime="python3.11", code=USES_SHOUT)
    assert caller.invoke("shouts", {"text": "Hi"}).json()["error_type"] == "ModuleNotFound"
    use(caller, "shouts", "loud", "quiet")
    assert result(caller, "shouts", {"text": "Hi"}) == "hi"
    use(caller, "shouts", "quiet", "loud")
    assert result(caller, "shouts", {"text": "Hi"}) == "HI"
    layer(caller, "loud", {"python/shouting.py": "def shout(text):\n    return text + '!'\n"})
    assert result(caller, "shouts", {"text": "Hi"}) == "HI"  # keeps the version it was given
    use(caller, "shouts", "loud")
    assert result(caller, "shouts", {"text": "Hi"}) == "Hi!"
    use(caller, "shouts", "loud:1")
    assert result(caller, "shouts", {"text": "Hi"}) == "HI"


def test_a_projects_own_packages_win_over_layers(caller: Caller) -> None:
    files = {
        "nodejs/node_modules/ms/index.js": "module.exports = () => 'layer'",
        "nodejs/node_modules/tell/index.js": "module.exports = 'told'",
    }
    layer(caller, "old-ms", files, ("nodejs20",))
    code = "const ms = require('ms'); exports.main = () => [ms('1s'), require('tell')];"
    files = {"handler.js": code, "package.json": '{"dependencies": {"ms": "2.1.3"}}'}
    deploy(caller, "timed", runtime="nodejs20", archive=as_archive(files))
    use(caller, "timed", "old-ms")
    assert result(caller, "timed") == [1000, "told"]


def test_an_es_module_imports_from_a_layer(caller: Caller) -> None:
    files = {
        "nodejs/node_modules/greet/index.mjs": "export default (name) => `hello ${name}`;",
        "nodejs/node_modules/greet/package.json": '{"name": "greet", "exports": "./index.mjs"}',
    }
    layer(caller, "greet", files, ("nodejs20",))
    code = "import greet from 'greet';\nexport const main = (event) => greet(event.name);\n"
    deploy(caller, "greets", runtime="nodejs20", code=code)
    use(caller, "greets", "greet")
    assert result(caller, "greets", {"name": "Ada"}) == "hello Ada"


def test_a_rollback_has_its_dependencies(caller: Caller) -> None:
    files = {"handler.py": "import markupsafe\ndef main(event):\n    return str(markupsafe.escape('<'))\n"}
    made = deploy(
        caller, "escapes", runtime="python3.11", archive=as_archive(files | {"requirements.txt": "MarkupSafe\n"})
    )
    update(caller, "escapes", code="def main(event):\n    return 'none'\n")
    assert result(caller, "escapes") == "none"
    answer = caller.http.post(f"/functions/escapes/versions/{made['version']}/rollback")
    assert answer.status_code == 200 and answer.json()["status"] == "active", answer.text
    assert result(caller, "escapes") == "&lt;"
