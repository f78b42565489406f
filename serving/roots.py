"""A folder on any file system fsspec knows (this machine, s3, memory): files appear whole in it, or not at all."""

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from stillhouse.errors import DiskFullError, InputError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Root:
    """A folder; `root_of` opens one. Names of files are relative to it, with `/` between their parts."""

    fs: Any
    path: str

    def url(self, name: str = "") -> str:
        """Where a file is, for a message."""
        return f"{self.path}/{name}" if name else self.path

    def write(self, name: str, data: bytes) -> None:
        """The file as a whole, or the old one if there was one: a kill leaves nothing half.

        Raises DiskFullError where there is no room, InputError where the folder cannot be written.
        """
        target = self.url(name)
        try:
            self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            if isinstance(self.fs, LocalFileSystem):
                _replace(Path(target), data)
            else:
                self.fs.pipe_file(target, data)  # an object of a store appears when all of it has arrived
        except OSError as error:
            raise _unwritable(target, error) from error

    def read(self, name: str) -> bytes | None:
        """None where there is no such file."""
        try:
            return bytes(self.fs.cat_file(self.url(name)))
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int | None:
        """In bytes; None where there is no such file."""
        try:
            return int(self.fs.info(self.url(name))["size"])
        except FileNotFoundError:
            return None

    def read_all(self, folder: str) -> dict[str, bytes]:
        """All files of a folder by their name in it, fetched together: where they are far away, that is what counts."""
        names = {path: _name(path) for path in self._listed(folder)}
        found = self.fs.cat(list(names), on_error="omit") if names else {}
        if isinstance(found, bytes):  # how some file systems answer for a single path
            found = dict.fromkeys(names, found)
        return {names[path]: bytes(data) for path, data in found.items()}

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Bytes of each file of a folder by its name in it; hidden files are left out."""
        return {_name(path): int(size) for path, size in self._listed(folder).items()}

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            self.fs.rm_file(self.url(name))

    def remove_all(self) -> None:
        if self.fs.exists(self.path):
            self.fs.rm(self.path, recursive=True)

    def _listed(self, folder: str) -> dict[str, int]:
        try:
            self.fs.invalidate_cache()
            entries = self.fs.ls(self.url(folder), detail=True)
        except FileNotFoundError:
            return {}
        files = {entry["name"]: entry["size"] for entry in entries if entry["type"] == "file"}
        return {path: size for path, size in files.items() if not _name(path).startswith(".")}


def root_of(url: str | Path) -> Root:
    """The folder at a path or URL (s3://…, memory://…); it need not exist yet."""
    fs, path = fsspec.core.url_to_fs(str(url))
    return Root(fs, path.rstrip("/"))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _replace(target: Path, data: bytes) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _unwritable(target: str, error: OSError) -> InputError | DiskFullError:
    if error.errno in NO_ROOM:
        return DiskFullError(
            f"no room left to write {target}",
            expected="free disk space",
            found=str(error),
            fix="make room and repeat the command: what is finished is kept",
        )
    return InputError(
        f"{target} cannot be written",
        expected="a folder that may be written",
        found=str(error),
        fix="check the folder and its permissions",
    )
