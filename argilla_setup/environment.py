"""Builds the virtual environment of the embedded server, which shares no package with this one."""

import fcntl
import hashlib
import subprocess
import sys
import venv as stdlib_venv
from collections import deque
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

from stillhouse.errors import DeskError

SERVER = Path(__file__).parent / "server"
CONSTRAINTS = SERVER / "constraints.txt"
MARKER = "stillhouse-argilla.txt"
LOCK = "stillhouse-argilla.lock"
_BUILDING = "building"
_QUOTED_LINES = 15


def python_of(venv: Path) -> Path:
    return venv / "bin" / "python"


def ensure_environment(venv: Path, on_line: Callable[[str], None], *, constraints: Path = CONSTRAINTS) -> Path:
    """Build the environment unless it stands already, and return it; `on_line` gets what pip says.

    The marker holds the hash of the pins and is completed last, so an environment that was half built (a full disk,
    a kill) or built from other pins is built anew. A folder without our lock file is somebody else's: it stays untouched.
    """
    wanted = _wanted(constraints)
    _refuse_what_is_not_ours(venv)
    venv.mkdir(parents=True, exist_ok=True)
    with (venv / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two commands at once: the second waits and finds it built
        marker = venv / MARKER
        if marker.is_file() and marker.read_text(encoding="utf-8") == wanted and python_of(venv).exists():
            return venv
        _clear(venv)
        marker.write_text(_BUILDING, encoding="utf-8")
        _build(venv, constraints, on_line)
        marker.write_text(wanted, encoding="utf-8")
    return venv


def _wanted(constraints: Path) -> str:
    digest = hashlib.sha256(constraints.read_bytes()).hexdigest()
    return f"python {sys.version_info.major}.{sys.version_info.minor}, pins {digest}\n"


def _refuse_what_is_not_ours(venv: Path) -> None:
    if not venv.exists() or (venv.is_dir() and not any(venv.iterdir())):
        return
    if not (venv / LOCK).is_file():
        raise DeskError(
            f"{venv} is not an environment of Stillhouse",
            expected=f"a free folder, or one with {LOCK} in it",
            found="a folder with other files in it" if venv.is_dir() else "a file",
            fix="name another folder for the embedded Argilla, or remove this one",
        )


def _clear(venv: Path) -> None:
    for path in venv.iterdir():
        if path.is_dir() and not path.is_symlink():
            rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _build(venv: Path, constraints: Path, on_line: Callable[[str], None]) -> None:
    on_line(f"building the environment of the embedded Argilla in {venv} (once, about 600 MB)")
    try:
        stdlib_venv.create(venv, with_pip=True, symlinks=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DeskError(
            f"no virtual environment could be made in {venv}",
            expected="python's own venv and ensurepip to work, and about 600 MB of room",
            found=str(error),
            fix="make room or install python's venv package (on Debian: python3-venv), then repeat the command",
        ) from error
    install = [
        *(str(python_of(venv)), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"),
        *("--progress-bar", "off", "--no-deps", "-r", str(constraints)),  # every package is pinned: nothing to resolve
    ]
    last: deque[str] = deque(maxlen=_QUOTED_LINES)
    with subprocess.Popen(install, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout or ():
            last.append(line.rstrip())
            on_line(line.rstrip())
    if pip.returncode != 0:
        raise DeskError(
            f"the environment of the embedded Argilla could not be built in {venv}",
            expected="pip to install the pinned packages",
            found="pip ended with exit code {}:\n{}".format(pip.returncode, "\n".join(f"    {line}" for line in last)),
            fix="check the network, pip's index and the free space on the disk, then repeat the command",
        )
