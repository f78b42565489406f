"""The files: licence, pins, commands and links are what they are said to be, and nothing private stands in them."""

import importlib.metadata
import re
import subprocess
from pathlib import Path

import pytest

from stillhouse import errors
from stillhouse.errors import StillhouseError
from tests.project.checkout import ROOT, pyproject, text_of, tracked_files

# Each is written in two parts, so that this file does not find itself.
FORBIDDEN = {
    "a folder of one machine": r"/(?:work|root|home/\w+|opt)" + r"/",
    "a package registry": r"(?:files\.python" + r"hosted|pypi\.org/(?:simple|pypi)|--(?:extra-)?index" + r"-url)",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE" + r" KEY",
    "an API key": r"\b(?:sk|hf|ghp|gho|AKIA)[-_]?" + r"[A-Za-z0-9]{24,}",
}
MARKDOWN = [path for path in tracked_files() if path.suffix == ".md"]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_private_is_tracked(what: str) -> None:
    """The project runs anywhere: no folder of one machine, no registry's address, no secret."""
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked_files()
        if (text := text_of(path)) is not None
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


def test_the_licence_is_apache_2() -> None:
    """The full text stands in LICENSE, with its holder, and the metadata says the same."""
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.lstrip().startswith("Apache License\n")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "The Stillhouse authors" in text
    assert pyproject()["project"]["license"] == "Apache-2.0"


def _pins(lines: list[str]) -> dict[str, str]:
    pairs = [line.split("#")[0].strip().partition("==") for line in lines]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, equal, version in pairs if equal}


def _constraints() -> dict[str, str]:
    return _pins((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())


def test_every_dependency_is_pinned_once() -> None:
    """What pyproject.toml pins, constraints.txt pins alike; what it does not, constraints.txt pins."""
    project = pyproject()
    named = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(name for extra in project["project"]["optional-dependencies"].values() for name in extra),
    ]
    pins = _constraints()
    assert {name: v for name, v in _pins(named).items() if pins.get(name) != v} == {}
    others = [name for name in named if "==" not in name and not name.startswith("stillhouse[")]
    assert [name for name in others if re.sub(r"[-_.]+", "-", name).lower() not in pins] == []


def test_constraints_hold_versions_only() -> None:
    """One exact public version a line: no address, no local build, no range."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [x for x in lines if not x.startswith("#") and not re.fullmatch(r"[\w.-]+==[0-9][\w.]*", x)] == []


def test_what_is_installed_is_what_is_pinned() -> None:
    """These tests speak for the pinned versions: the environment they run in has no others."""
    different = {}
    for name, wanted in _constraints().items():
        try:
            found = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue  # not every platform needs every package
        if found != wanted:
            different[name] = (wanted, found)
    assert different == {}


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_make_commands_in_documents_exist(document: Path) -> None:
    """Every `make TARGET` that a document tells a reader to type is a target of the Makefile."""
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE))
    assert named - _targets() == set()


def test_readme_names_the_two_commands() -> None:
    """A newcomer finds the demo and the tests."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text


def test_make_alone_lists_what_it_can_do() -> None:
    """`make` without a target changes nothing and names every command."""
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("demo", "test", "check", "docs", "setup", "clean"):
        assert f"make {target} " in done.stdout


def test_make_says_which_python_is_missing() -> None:
    """Without Python 3.11 nothing is built; the message says what was looked for and what to do."""
    done = subprocess.run(
        ["make", "python", "PYTHON=no-such-python"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "Python 3.11 is needed" in done.stderr
    assert "found: no such command" in done.stderr
    assert "make demo PYTHON=" in done.stderr


@pytest.mark.parametrize("document", MARKDOWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """A relative link or picture in a document names a file of the project."""
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    inside = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in inside if not (document.parent / target).exists()] == []


def _all_errors(kind: type[StillhouseError]) -> list[type[StillhouseError]]:
    return [kind, *(below for each in kind.__subclasses__() for below in _all_errors(each))]


def test_the_exit_codes_in_the_documents_are_the_errors_own() -> None:
    """docs/architecture.md lists every error with the exit code it has."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    ours = [kind for kind in _all_errors(StillhouseError) if kind.__module__ == "stillhouse.errors"]
    missing = [kind.__name__ for kind in ours if not re.search(rf"\| {kind.exit_code} \|.*`{kind.__name__}`", text)]
    assert missing == []
    for code in (errors.WAITING_EXIT_CODE, errors.INTERRUPTED_EXIT_CODE):
        assert f"| {code} |" in text


def test_the_house_in_the_readme_is_the_house() -> None:
    """The README's tree has one line for each folder at the top of the checkout, and names no other."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^([a-z_.]+)/ ", text, flags=re.MULTILINE))
    folders = {path.relative_to(ROOT).parts[0] for path in tracked_files() if len(path.relative_to(ROOT).parts) > 1}
    assert named == folders
