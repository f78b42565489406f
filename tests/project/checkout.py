"""What the tests of the project share: where the checkout is, its packages, and its tracked files."""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


PACKAGES: tuple[str, ...] = tuple(pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


def tracked_files() -> list[Path]:
    """Files that git knows and that still stand."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str | None:
    """The text of a file, or None for a picture or another file that is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
