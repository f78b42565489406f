"""The packages: found where they should be, importing downwards only, light to import, whole in the wheel."""

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.project.checkout import PACKAGES, ROOT

MODELS = ("accelerate", "argilla", "datasets", "modal", "peft", "torch", "transformers")
HEAVY = (*MODELS, "matplotlib", "numpy", "pandas", "pyarrow", "scipy", "sklearn")
HOUSE = {
    *("stillhouse", "prompts", "kinds", "teacher", "consensus", "selector"),
    *("argilla_setup", "trainer", "serving", "jobs", "loop"),
}


def _elsewhere(code: str, folder: Path) -> str:
    """What a fresh interpreter in another folder prints; -P keeps that folder off the path."""
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_lists_the_whole_house() -> None:
    """The eleven packages of the house are installed, and nothing else of the checkout."""
    assert set(PACKAGES) == HOUSE


def test_each_package_is_this_checkout(tmp_path: Path) -> None:
    """Names such as `trainer` exist on PyPI too: from any folder each is exactly this checkout's `__init__.py`."""
    code = f"import importlib, json; print(json.dumps([importlib.import_module(p).__file__ for p in {PACKAGES!r}]))"
    found = json.loads(_elsewhere(code, tmp_path))
    assert found == [str(ROOT / package / "__init__.py") for package in PACKAGES]


def test_imports_point_down_only() -> None:
    """Every contract in pyproject.toml holds: the floors, and one home each for torch, modal and argilla."""
    lint = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_command_line_is_light(tmp_path: Path) -> None:
    """`stillhouse --help` answers at once: no heavy library is loaded before a command needs it."""
    code = f"import sys, loop.cli; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    assert _elsewhere(code, tmp_path).split() == []


# These load a student or teach one, or declare an app of Modal: whoever calls them waits for those libraries anyway.
WAITED_FOR = {
    "serving.student",
    "jobs.labelling",
    "jobs.labels",
    "jobs.lessons",
    "jobs.modal_app",
    "jobs.modal_serve",
    "jobs.students",
    "jobs.training",
}


@pytest.mark.parametrize("package", sorted(HOUSE - {"trainer", "loop"}))
def test_parts_are_light(package: str, tmp_path: Path) -> None:
    """Every module of a part that is not the student's can be used without waiting for the libraries of models."""
    code = (
        f"import importlib, pkgutil, sys, {package} as part\n"
        f"names = [found.name for found in pkgutil.walk_packages(part.__path__, '{package}.')]\n"
        f"[importlib.import_module(name) for name in names if '.server' not in name and name not in {WAITED_FOR!r}]\n"
        f"print(*[name for name in {MODELS!r} if name in sys.modules])"
    )
    assert _elsewhere(code, tmp_path).split() == []


def test_every_file_opens_with_a_sentence() -> None:
    """A reader learns from the first line of a file what it is for."""
    silent = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            if not docstring.partition("\n")[0].strip():
                silent.append(str(path.relative_to(ROOT)))
    assert silent == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names inside a wheel built from this checkout, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\nhatchling is installed by: make setup"
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def test_the_wheel_is_whole(wheel: list[str]) -> None:
    """Templates, migrations, prices and the server's files travel with the code that reads them."""
    here = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert [name for name in here if name not in wheel] == []
    for kind in ("prompts/templates/", "argilla_setup/server/", "stillhouse/migrations/", "loop/templates/"):
        assert any(name.startswith(kind) and not name.endswith(".py") for name in wheel), kind


def test_the_wheel_holds_nothing_else(wheel: list[str]) -> None:
    """Tests, examples, runs and environments stay at home."""
    outside = {name.partition("/")[0] for name in wheel} - set(PACKAGES)
    assert all(name.endswith(".dist-info") for name in outside), outside
