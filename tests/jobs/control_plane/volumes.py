"""Volumes: a container works on a copy of its own, a commit publishes what it changed, a reload fetches what others did."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as p

from tests.jobs.control_plane.rpc import missing, streaming, unary
from tests.jobs.control_plane.world import World

BLOCK_BYTES = 8 * 1024 * 1024
Stamp = tuple[int, int, int]


class Copy:
    """One container's copy of one volume. The last writer of a file wins, as on Modal."""

    def __init__(self, volume: Path, mine: Path) -> None:
        self.volume, self.mine = volume, mine
        mine.mkdir(parents=True)
        self._seen: dict[str, Stamp] = {}
        self.reload()

    def commit(self) -> int:
        """Publish what changed here; how many files did. Each file appears whole, whenever this process is killed."""
        now = stamps(self.mine)
        changed = [name for name, stamp in now.items() if self._seen.get(name) != stamp]
        for name in changed:
            place(self.mine / name, self.volume / name)
        for name in set(self._seen) - set(now):
            (self.volume / name).unlink(missing_ok=True)
        self._seen = now
        return len(changed)

    def reload(self) -> None:
        """Take what others have published. What was not committed here is overwritten or lost, as on Modal."""
        theirs, mine = stamps(self.volume), stamps(self.mine)
        for name, stamp in theirs.items():
            if mine.get(name, (0, 0, 0))[:2] != stamp[:2]:
                place(self.volume / name, self.mine / name)
        for name in set(mine) - set(theirs):
            (self.mine / name).unlink(missing_ok=True)
        self._seen = stamps(self.mine)


def stamps(folder: Path) -> dict[str, Stamp]:
    """When each file was written, how large it is, and which it is: a file replaced by another has another inode."""
    found = ((str(path.relative_to(folder)), path.stat()) for path in folder.rglob("*") if path.is_file())
    return {
        name: (stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in found if not name.endswith(".arriving")
    }


def place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    arriving = target.with_name(target.name + ".arriving")
    shutil.copy2(source, arriving)
    arriving.replace(target)


class VolumeMethods:
    """The part of the protocol about volumes. `task_id` is the container that asks, or empty for a client."""

    world: World
    task_id: str
    copies: dict[tuple[str, str], Copy]

    def _volume(self, volume_id: str) -> Path:
        folder = self.world.folder / "volumes" / volume_id
        if not folder.is_dir():
            raise missing(f"no volume {volume_id}")
        return folder

    @unary
    async def VolumeGetOrCreate(self, request: Any) -> Any:
        name = request.deployment_name or self.world.new_id("anonymous")
        folder = self.world.folder / "volumes" / f"vo-{name}"
        if not folder.is_dir() and request.object_creation_type == p.OBJECT_CREATION_TYPE_UNSPECIFIED:
            raise missing(f"Volume '{name}' not found")
        folder.mkdir(parents=True, exist_ok=True)
        metadata = p.VolumeMetadata(version=p.VOLUME_FS_VERSION_V1, name=name)
        return p.VolumeGetOrCreateResponse(volume_id=f"vo-{name}", version=p.VOLUME_FS_VERSION_V1, metadata=metadata)

    @unary
    async def VolumeHeartbeat(self, _request: Any) -> Any:
        return Empty()

    @unary
    async def VolumeCommit(self, request: Any) -> Any:
        copy = self.copies.get((self.task_id, request.volume_id))
        if copy is None:
            raise GRPCError(Status.FAILED_PRECONDITION, f"{request.volume_id} is not mounted in this container")
        number = self.world.calls_of["VolumeCommit"]
        self.world.event("committing", container=self.task_id, volume=request.volume_id, number=number)
        changed = copy.commit()
        self.world.event("committed", container=self.task_id, volume=request.volume_id, number=number, changed=changed)
        return p.VolumeCommitResponse(skip_reload=False)

    @unary
    async def VolumeReload(self, request: Any) -> Any:
        if (copy := self.copies.get((self.task_id, request.volume_id))) is not None:
            copy.reload()
        return Empty()

    @unary
    async def VolumePutFiles(self, request: Any) -> Any:
        volume = self._volume(request.volume_id)
        for file in request.files:
            target = volume / file.filename.lstrip("/")
            if request.disallow_overwrite_existing_files and target.exists():
                raise GRPCError(Status.ALREADY_EXISTS, f"{file.filename} exists")
            target.parent.mkdir(parents=True, exist_ok=True)
            arriving = target.with_name(target.name + ".arriving")
            arriving.write_bytes(self.world.files[file.sha256_hex])
            arriving.replace(target)
        return Empty()

    @streaming
    async def VolumeListFiles(self, request: Any) -> Any:
        volume = self._volume(request.volume_id)
        start = volume / request.path.strip("/")
        if not start.exists():
            raise missing(f"no path {request.path}")
        found = [start] if start.is_file() else sorted(start.rglob("*") if request.recursive else start.glob("*"))
        yield p.VolumeListFilesResponse(
            entries=[
                p.FileEntry(
                    path=str(path.relative_to(volume)),
                    type=p.FileEntry.FileType.DIRECTORY if path.is_dir() else p.FileEntry.FileType.FILE,
                    mtime=int(path.stat().st_mtime),
                    size=path.stat().st_size,
                )
                for path in found
            ]
        )

    @unary
    async def VolumeGetFile2(self, request: Any) -> Any:
        path = self._volume(request.volume_id) / request.path.strip("/")
        if not path.is_file():
            raise missing(f"no file {request.path}")
        size = path.stat().st_size
        blocks = -(-size // BLOCK_BYTES)
        where = f"{self.world.http_url}/volume/{request.volume_id}"
        urls = [f"{where}/{block}/{request.path.strip('/')}" for block in range(blocks)]
        return p.VolumeGetFile2Response(get_urls=urls, size=size, start=0, len=size)

    @unary
    async def VolumeRemoveFile(self, request: Any) -> Any:
        path = self._volume(request.volume_id) / request.path.strip("/")
        if not path.exists():
            raise missing(f"no path {request.path}")
        shutil.rmtree(path) if path.is_dir() and request.recursive else path.unlink()
        return Empty()


def block_of(path: Path, block: int) -> bytes:
    """The bytes of one block of a file."""
    with path.open("rb") as file:
        file.seek(block * BLOCK_BYTES)
        return file.read(BLOCK_BYTES)


def md5(content: bytes) -> str:
    """What storage answers to an upload; the client compares it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
