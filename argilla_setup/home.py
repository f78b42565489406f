"""What lies in the home folder of an embedded server: credentials, the lock that tells whether it lives, port, log."""

import fcntl
import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from stillhouse.errors import DeskError

LOG_KEPT_BYTES = 5_000_000
ROOM_NEEDED_BYTES = 50_000_000
_QUOTED_LINES = 20


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str
    password: str = field(repr=False)
    api_key: str = field(repr=False)
    secret: str = field(repr=False)  # signs logins; kept, so that a restart does not log people out


def make_private(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.chmod(0o700)
    except OSError as error:
        raise DeskError(
            f"the home folder of the embedded Argilla cannot be made at {home}",
            expected="a folder that can be written",
            found=str(error),
            fix="free that path or choose another home",
        ) from error


def need_room(home: Path, needed_bytes: int = ROOM_NEEDED_BYTES) -> None:
    """Raises DeskError where the disk is nearly full: the server would start, and lose the first answer."""
    free = shutil.disk_usage(home).free
    if free < needed_bytes:
        raise DeskError(
            f"no room for the embedded Argilla in {home}",
            expected=f"{needed_bytes / 1e6:,.0f} MB of free disk space, for its database and log",
            found=f"{free / 1e6:,.0f} MB",
            fix="make room and repeat the command: what is there is kept",
        )


def read_or_make_credentials(home: Path) -> Credentials:
    """Read them, or make new ones; written aside and linked into place, so two commands at once agree on one file."""
    path = home / "credentials.json"
    if not path.exists():
        made = Credentials("owner", secrets.token_urlsafe(16), secrets.token_urlsafe(32), secrets.token_hex(32))
        aside = home / f".credentials-{os.getpid()}-{secrets.token_hex(4)}"
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(made), file)
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
    try:
        return Credentials(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DeskError(
            f"{path} cannot be read",
            expected="the credentials that `stillhouse argilla up` wrote",
            found=type(error).__name__,  # the error's own text could quote a secret
            fix="remove that file: new credentials are made, and the data stays",
        ) from error


def lock_home(home: Path) -> IO[str] | None:
    """server.pid, locked for the one who starts a server; None while a server holds it."""
    file = os.fdopen(os.open(home / "server.pid", os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_locked(home: Path) -> bool:
    if not (home / "server.pid").exists():
        return False
    with (home / "server.pid").open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def written_pid(home: Path) -> int | None:
    text = (home / "server.pid").read_text(encoding="utf-8").strip()
    return int(text) if text.isdigit() else None


def remembered_port(home: Path) -> int | None:
    try:
        return int((home / "port").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def open_log(home: Path) -> IO[bytes]:
    """The log, opened to append; a long one of earlier runs is put aside first."""
    log = home / "server.log"
    if log.exists() and log.stat().st_size > LOG_KEPT_BYTES:
        log.replace(home / "server.log.1")
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def end_of_log(home: Path) -> str:
    log = home / "server.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line}" for line in lines[-_QUOTED_LINES:])
