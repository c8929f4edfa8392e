"""Lists of dependencies: what is taken from them, what is refused, what decides their key."""

from __future__ import annotations

import orjson
import pytest

from functions.dependencies import Dependencies, dependencies_of
from nimbus_project.core.errors import InvalidRequest


def pip(text: str, **others: str) -> Dependencies | None:
    """`others`: more files, by their names with _ for a slash."""
    more = {name.replace("_", "/"): content.encode() for name, content in others.items()}
    return dependencies_of("python3.11", {"requirements.txt": text.encode(), "handler.py": b"", **more})


def npm(manifest: object, lock: object = None) -> Dependencies | None:
    files = {"package.json": orjson.dumps(manifest), "handler.js": b""}
    if lock is not None:
        files["package-lock.json"] = orjson.dumps(lock)
    return dependencies_of("nodejs20", files)


def key(found: Dependencies | None) -> str:
    assert found is not None
    return found.key


def lists(found: Dependencies | None) -> dict[str, str]:
    assert found is not None
    return {name: data.decode() for name, data in found.lists.items()}


def test_names_versions_markers_and_hashes_are_taken() -> None:
    digest = "a" * 64
    text = f"Jinja2==3.1.6  # pages\n\n# nothing\nPillow>=10; python_version > '3' \\\n   --hash=sha256:{digest}\n"
    wanted = f"Jinja2==3.1.6\nPillow>=10; python_version > '3' --hash=sha256:{digest}\n"
    assert lists(pip(text)) == {"requirements.txt": wanted}


def test_lists_include_others_of_the_archive() -> None:
    found = pip("-r more/list.txt\n", **{"more_list.txt": "-c limits.txt\nflask\n", "more_limits.txt": "flask<3\n"})
    assert lists(found) == {
        "requirements.txt": "-r more/list.txt\n",
        "more/list.txt": "-c limits.txt\nflask\n",
        "more/limits.txt": "flask<3\n",
    }


def test_lists_that_include_each_other_end() -> None:
    assert set(lists(pip("-r other.txt\nflask\n", **{"other.txt": "-r requirements.txt\n"}))) == {
        "requirements.txt",
        "other.txt",
    }


@pytest.mark.parametrize("text", ["", "# nothing\n\n", "--pre\n"])
def test_a_list_that_asks_for_nothing_needs_no_builder(text: str) -> None:
    assert pip(text) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--index-url https://elsewhere.example/simple", "set up by the operator"),
        ("-i https://elsewhere.example/simple", "set up by the operator"),
        ("-ihttps://elsewhere.example/simple", "set up by the operator"),
        ("--extra-index-url=https://elsewhere.example", "set up by the operator"),
        ("--find-links ./wheels", "set up by the operator"),
        ("-f ./wheels", "set up by the operator"),
        ("--trusted-host elsewhere.example", "set up by the operator"),
        ("--no-index", "set up by the operator"),
        ("-e .", "put the folder itself into the archive"),
        ("--editable git+https://elsewhere.example/x", "put the folder itself into the archive"),
        ("--no-binary :all:", "can't be used here"),
        ("--config-settings x=y", "can't be used here"),
        ("git+https://elsewhere.example/x.git", "is an address"),
        ("https://elsewhere.example/x.whl", "is an address"),
        ("x @ https://elsewhere.example/x.whl", "is an address"),
        ("x @ file:///etc/passwd", "is an address"),
        ("./package", "is a file or folder"),
        ("/etc/package", "is a file or folder"),
        ("package-1.0-py3-none-any.whl", "is a file or folder"),
        ("x.whl", "is a file or folder"),
        ("two words", "is no requirement"),
        ("x; python_version > '3' or 'a --index-url=https://e b' == 'c'", "is an address"),
        ("x --global-option=build", "is no requirement"),
        ("x==${SECRET}", "environment variables"),
        ("-r nowhere.txt", "is not in the archive"),
        ("-r ../../etc/passwd", "is not in the archive"),
        ("-r https://elsewhere.example/list.txt", "is not in the archive"),
    ],
)
def test_what_says_where_packages_come_from_is_refused_with_the_line(line: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refusal:
        pip(f"flask\n{line}\n")
    assert "requirements.txt, line 2:" in refusal.value.message


def test_a_file_name_smuggles_no_option_in() -> None:
    name = "a --index-url=https://elsewhere.example"
    with pytest.raises(InvalidRequest, match="unusual name"):
        dependencies_of("python3.11", {"requirements.txt": f"-r {name}\n".encode(), name: b"flask\n"})


def test_an_included_list_is_checked_too() -> None:
    with pytest.raises(InvalidRequest, match=r"more\.txt, line 1"):
        pip("-r more.txt\n", **{"more.txt": "--index-url https://elsewhere.example\n"})


def test_a_list_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        dependencies_of("python3.11", {"requirements.txt": b"\xff\xfe"})


def test_the_key_is_that_of_what_is_installed() -> None:
    base = pip("flask==3.0.0\n")
    assert key(base) == key(pip("# why\n\nflask==3.0.0   # because\n", **{"other.py": "changed"}))
    assert key(base) != key(pip("flask==3.0.1\n"))
    assert key(base) != key(pip("flask==3.0.0\nclick\n"))
    assert key(npm({"dependencies": {"a": "1"}})) != key(npm({"dependencies": {"a": "2"}}))


def test_of_a_manifest_only_what_is_installed_counts() -> None:
    wanted = {"dependencies": {"marked": "^12", "@scope/alias": "npm:@other/name@1.x"}}
    noise = {"name": "mine", "version": "3.2.1", "scripts": {"postinstall": "curl evil"}, "type": "module"}
    found = npm(wanted | noise | {"devDependencies": {"jest": "1"}})
    assert key(found) == key(npm(wanted))
    assert "evil" not in lists(found)["package.json"]
    assert "jest" not in lists(found)["package.json"]


@pytest.mark.parametrize("manifest", [{}, {"type": "module"}, {"dependencies": {}}, {"devDependencies": {"jest": "1"}}])
def test_a_manifest_that_asks_for_nothing_needs_no_builder(manifest: object) -> None:
    assert npm(manifest) is None


@pytest.mark.parametrize(
    "spec",
    [
        "file:../x", "../x", "./x", ".", "..", "/etc", "~/x", "git+https://e.example/x", "git@e.example:x", "user/repo",
        "github:a/b", "https://e.example/x.tgz", "workspace:*", "link:x", "x.tgz", "npm:a@file:../x", 1, None,
    ],
)  # fmt: skip
def test_a_version_is_no_place(spec: object) -> None:
    for field in ("dependencies", "optionalDependencies", "peerDependencies"):
        with pytest.raises(InvalidRequest, match="only versions from the operator's registry"):
            npm({field: {"a": spec}})
    with pytest.raises(InvalidRequest, match="only versions from the operator's registry"):
        npm({"dependencies": {"a": "1"}, "overrides": {"b": {"c": spec}}})


@pytest.mark.parametrize("spec", ["1.2.3", "^1 || >=2 <3", "~1.2", "*", "", "latest", "1.0.0-rc.1", "npm:other@^1"])
def test_versions_are_taken(spec: str) -> None:
    assert npm({"dependencies": {"a": spec}}) is not None


@pytest.mark.parametrize("manifest", [[], "text", {"dependencies": ["a"]}, {"dependencies": {"../a": "1"}}])
def test_a_manifest_of_another_shape_is_refused(manifest: object) -> None:
    with pytest.raises(InvalidRequest, match=r"package\.json"):
        npm(manifest)


def test_workspaces_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="Workspaces"):
        npm({"workspaces": ["a"], "dependencies": {"b": "1"}})


def test_a_lock_file_loses_its_addresses_and_keeps_its_hashes() -> None:
    entry = {"version": "1.0.0", "resolved": "https://elsewhere.example/a.tgz", "integrity": "sha512-x"}
    flat = {"lockfileVersion": 3, "packages": {"": {"dependencies": {"a": "1"}}, "node_modules/a": entry}}
    nested = {"lockfileVersion": 1, "dependencies": {"a": entry | {"dependencies": {"b": dict(entry)}}}}
    for lock in (flat, nested):
        text = lists(npm({"dependencies": {"a": "1"}}, lock))["package-lock.json"]
        assert "elsewhere" not in text
        assert "sha512-x" in text


@pytest.mark.parametrize(
    "entry", [{"link": True, "resolved": "../x"}, {"resolved": "git+ssh://e.example/x"}, {"resolved": "file:x.tgz"}]
)
def test_a_lock_file_with_links_and_repositories_is_refused(entry: object) -> None:
    with pytest.raises(InvalidRequest, match="package-lock"):
        npm({"dependencies": {"a": "1"}}, {"lockfileVersion": 3, "packages": {"node_modules/a": entry}})


def test_an_npmrc_never_reaches_the_builder() -> None:
    files = {"package.json": b'{"dependencies": {"a": "1"}}', ".npmrc": b"registry=https://elsewhere.example"}
    assert set(lists(dependencies_of("nodejs20", files))) == {"package.json"}


def test_other_runtimes_have_no_lists() -> None:
    assert dependencies_of("go1.24", {"requirements.txt": b"flask"}) is None
