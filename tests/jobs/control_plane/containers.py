"""Containers: real processes of modal's own entrypoint that see only what was uploaded, and may die at any moment."""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import site
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpclib.server
from modal_proto import api_pb2 as p

from tests.jobs.control_plane.volumes import Copy
from tests.jobs.control_plane.world import Container, Hosted, Input, World

MOST_CONTAINERS = int(os.environ.get("CONTROL_PLANE_CONTAINERS", "2"))  # of one function, unless it asks for fewer
MOST_FAILED_STARTS = 3
CLIENT_SILENT_S = 60.0
NAMESPACE = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--mount"]
PR_SET_PDEATHSIG = 1


class ContainerStarts:
    """Starting containers and noticing their ends. `copies` are their views of volumes."""

    world: World
    copies: dict[tuple[str, str], Copy]
    running: set["asyncio.Task[None]"]

    def of_container(self, container: Container) -> Any:
        """This servicer, as that container sees it."""
        raise NotImplementedError

    def scale(self, function_id: str) -> None:
        """One container a waiting input, up to what the function and this machine allow."""
        hosted = self.world.functions[function_id]
        app = self.world.apps[hosted.app_id]
        most = min(hosted.definition.autoscaler_settings.max_containers or MOST_CONTAINERS, MOST_CONTAINERS)
        up = len(self.world.containers_of(function_id))
        if app.stopped or hosted.failed_starts >= MOST_FAILED_STARTS:
            return
        for _ in range(min(most - up, len(hosted.waiting))):
            id_ = self.world.new_id("ta")
            folder = Path(tempfile.mkdtemp(prefix=f"{id_}-", dir=self.world.folder))
            container = self.world.containers[id_] = Container(id_, function_id, folder)
            task = asyncio.get_running_loop().create_task(self._live(hosted, container))
            self.running.add(task)
            task.add_done_callback(self.running.discard)

    async def _live(self, hosted: Hosted, container: Container) -> None:
        """From start to end of one container, and what becomes of the inputs it leaves."""
        server = grpclib.server.Server([self.of_container(container)])
        await server.start(path=str(container.folder / "plane.sock"))
        process = await self._start(hosted, container)
        container.pid = process.pid
        self.world.event("started", container=container.id, function=hosted.definition.function_name, pid=process.pid)
        assert process.stdout is not None
        assert process.stderr is not None
        await asyncio.gather(self._log(hosted, process.stdout, 1), self._log(hosted, process.stderr, 2))
        code = await process.wait()
        server.close()
        lost = list(container.working_on.values())
        self.world.event("ended", container=container.id, code=code, lost=[one.index for one in lost])
        del self.world.containers[container.id]
        shutil.rmtree(container.folder, ignore_errors=True)
        if code and not lost:
            hosted.failed_starts += 1
        hosted.waiting.extendleft(reversed([one for one in lost if one.taken_at_s]))
        if hosted.waiting:
            self.scale(hosted.id)
        await self.world.wake()

    async def _start(self, hosted: Hosted, container: Container) -> asyncio.subprocess.Process:
        definition, folder = hosted.definition, container.folder
        home = folder / "root"
        home.mkdir()
        for mount in definition.mount_ids:
            for file in self.world.mounts.get(mount, []):
                target = folder / file.filename.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self.world.files[file.sha256_hex])
        arguments = p.ContainerArguments(
            task_id=container.id,
            function_id=hosted.id,
            app_id=hosted.app_id,
            function_def=definition,
            serialized_params=b"" if hosted.parameters == b"\0" else hosted.parameters,
            app_layout=self.world.layout(hosted.app_id),
            environment_name="main",
        )
        (folder / "arguments").write_bytes(arguments.SerializeToString())
        mounts = [(self._copy(container, v), v.mount_path) for v in definition.volume_mounts]
        script = "".join(f"mkdir -p '{path}' && mount --bind '{mine}' '{path}' && " for mine, path in mounts)
        script += "".join(f"mount --bind /dev/null '{path}' && " for path in _paths_to_the_checkout())
        script += f"cd '{home}' && exec '{sys.executable}' -m modal._container_entrypoint"
        return await asyncio.create_subprocess_exec(
            *NAMESPACE,
            "sh",
            "-c",
            script,
            env=self._environment(definition, container, home),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=_die_with_parent,
        )

    def _copy(self, container: Container, mount: Any) -> Path:
        mine: Path = container.folder / "volumes" / mount.volume_id
        self.copies[container.id, mount.volume_id] = Copy(self.world.folder / "volumes" / mount.volume_id, mine)
        return mine

    def _environment(self, definition: p.Function, container: Container, home: Path) -> dict[str, str]:
        found = {name: os.environ[name] for name in ("PATH", "LANG", "OMP_NUM_THREADS") if name in os.environ}
        found |= {
            "HOME": str(home),
            "PYTHONPATH": str(home),
            "PYTHONUNBUFFERED": "1",
            "MODAL_SERVER_URL": f"unix://{container.folder}/plane.sock",
            "MODAL_TASK_ID": container.id,
            "MODAL_TASK_SECRET": "x",
            "MODAL_IS_REMOTE": "1",
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(container.folder / "arguments"),
            "MODAL_CONFIG_PATH": str(container.folder / "no-config"),
            "MODAL_LOGLEVEL": "WARNING",
        }
        for secret in definition.secret_ids:
            found |= self.world.secrets.get(secret, {})
        return found

    async def _log(self, hosted: Hosted, stream: asyncio.StreamReader, descriptor: Any) -> None:
        app = self.world.apps[hosted.app_id]
        async for line in stream:
            log = p.TaskLogs(data=line.decode(errors="replace"), file_descriptor=descriptor)
            app.logs.append(p.TaskLogsBatch(entry_id=str(len(app.logs) + 1), items=[log]))
            await self.world.wake()

    def answered(self, one: Input, result: p.GenericResult, data_format: Any, *, final: bool = False) -> None:
        """An input's result, or another try of it where nobody waits who would repeat it."""
        call = self.world.calls[one.call_id]
        hosted = self.world.functions[call.function_id]
        failed = result.status != p.GenericResult.GENERIC_STATUS_SUCCESS
        if failed and not final and not call.waited_for and one.retries < hosted.definition.retry_policy.retries:
            one.retries += 1
            hosted.waiting.append(one)
            self.world.event("retried", by="service", index=one.index)
            self.scale(hosted.id)
            return
        call.outputs.append(
            p.FunctionGetOutputsItem(
                result=result, idx=one.index, input_id=one.id, data_format=data_format, retry_count=one.retries
            )
        )

    def stop_container(self, container_id: str, *, graceful: bool = False) -> None:
        container = self.world.containers.get(container_id)
        if container is None:
            return
        container.stopping = True
        if not graceful:
            _signal(container, signal.SIGKILL)

    async def watch(self) -> None:
        """End what has run out of time, and what belongs to a client that is gone."""
        while True:
            await asyncio.sleep(0.25)
            now_s = time.monotonic()
            for container in list(self.world.containers.values()):
                if self._abandoned(container):
                    self.stop_container(container.id)
                    continue
                limit_s = self.world.functions[container.function_id].definition.timeout_secs
                late = [one for one in container.working_on.values() if now_s - one.taken_at_s > limit_s]
                if late:
                    self._time_out(container, late, limit_s)
            for app in self.world.apps.values():
                if not app.detached and not app.stopped and now_s - app.heard_at_s > CLIENT_SILENT_S:
                    app.stopped = True
            await self.world.wake()

    def _time_out(self, container: Container, late: list[Input], limit_s: int) -> None:
        for one in late:
            container.working_on.pop(one.id)
            status = p.GenericResult.GENERIC_STATUS_TIMEOUT
            said = f"Task exceeded its timeout of {limit_s} s"
            self.answered(one, p.GenericResult(status=status, exception=said), p.DATA_FORMAT_PICKLE)
        self.stop_container(container.id)

    def _abandoned(self, container: Container) -> bool:
        return self.world.apps[self.world.functions[container.function_id].app_id].stopped


def _signal(container: Container, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if container.pid:
            os.kill(container.pid, number)


def _die_with_parent() -> None:
    """Containers do not outlive a control plane that is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _paths_to_the_checkout() -> list[Path]:
    """The .pth files of editable installs: with them a container would find sources that were never uploaded."""
    folders = [Path(folder) for folder in site.getsitepackages()]
    return [path for folder in folders for path in folder.glob("*.pth") if _names_a_folder(path)]


def _names_a_folder(path: Path) -> bool:
    lines = path.read_text(encoding="utf-8").splitlines()
    return any(line.startswith("/") or "editable" in line for line in lines)
