"""The people of a desk in Argilla: made where they are missing, with a password in a file that its owner alone may read."""

import json
import os
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from argilla_setup.argilla_dataset import ANYONE, LABEL
from argilla_setup.argilla_desk import ArgillaDesk
from stillhouse.errors import DeskError, InputError

FILE = "annotators.json"
_NAME = re.compile(r"[A-Za-z0-9_-]+")  # others would end a filter in an address of the page early


def invite(desk: ArgillaDesk, names: Sequence[str], folder: Path) -> list[str]:
    """Make users of those who have none, as annotators of the workspace; return who was made.

    Their random passwords go to `annotators.json` in the folder (0600), before the users are made, so that none is ever
    unknown; what stands there is used again. Nobody is ever removed: Argilla would remove their answers too.
    Raises InputError for a name that the page's filters cannot hold.
    """
    unfit = [name for name in names if not _NAME.fullmatch(name) or name == ANYONE]
    if unfit:
        raise InputError(
            f"{unfit[0]!r} cannot be the name of an annotator",
            expected=f"letters, digits, - and _, and not {ANYONE!r}",
            found=repr(unfit[0]),
            fix="rename them in desk.annotators and desk.adjudicators",
        )
    path, made = folder / FILE, list[str]()
    known = _read(path)

    def password(name: str) -> str:
        if name not in known:
            known[name] = secrets.token_urlsafe(16)
            _write(path, known)
        made.append(name)
        return known[name]

    ensure_users(desk, names, password)
    return made


def ensure_users(desk: ArgillaDesk, names: Sequence[str], password: Callable[[str], str]) -> dict[str, dict[str, Any]]:
    """The users of those names, each an annotator of the workspace; `password` is asked for whoever is new."""
    doing = "preparing the annotators"
    users = {user["username"]: user for user in desk.api.call("GET", "/users", doing=doing)["items"]}
    path = f"/workspaces/{desk.queues[LABEL].workspace_id_or_new()}/users"
    members = {user["username"] for user in desk.api.call("GET", path, doing=doing)["items"]}
    for name in names:
        if name not in users:
            body = {"username": name, "first_name": name, "role": "annotator", "password": password(name)}
            users[name] = desk.api.call("POST", "/users", doing=doing, body=body)
        if name not in members:
            desk.api.call("POST", path, doing=doing, body={"user_id": users[name]["id"]})
    return {name: users[name] for name in names}


def _read(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        raise DeskError(
            f"{path} cannot be read",
            expected="the passwords of the annotators that were made here",
            found=type(error).__name__,  # the error's own text could quote a password
            fix="restore that file, or remove it: the users stay, and an owner can set new passwords for them in Argilla",
        ) from error


def _write(path: Path, passwords: dict[str, str]) -> None:
    aside = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(passwords, file, indent=1)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise DeskError(
            f"{path} cannot be written",
            expected="a folder with room and with rights to write",
            found=error.strerror or str(error),
            fix="make room or mend the rights, then repeat the command",
        ) from error
