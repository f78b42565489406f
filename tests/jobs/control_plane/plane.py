"""The control plane's process: python -m tests.jobs.control_plane.plane FOLDER. Prints its addresses as one JSON line."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpclib.server
from aiohttp import web
from modal_proto import api_grpc

from tests.jobs.control_plane.calls import CallMethods
from tests.jobs.control_plane.functions import FunctionMethods
from tests.jobs.control_plane.objects import ObjectMethods
from tests.jobs.control_plane.rpc import with_every_method
from tests.jobs.control_plane.volumes import VolumeMethods
from tests.jobs.control_plane.web import web_application
from tests.jobs.control_plane.world import Container, World

HOST = "127.0.0.1"


class _Plane(ObjectMethods, VolumeMethods, FunctionMethods, CallMethods, api_grpc.ModalClientBase):
    """All of the protocol, for one client or for one container: both see the same world."""

    def __init__(self, world: World, shared: "_Plane | None" = None, task_id: str = "") -> None:
        self.world = world
        self.task_id = task_id
        self.copies = shared.copies if shared else {}
        self.running = shared.running if shared else set()

    def of_container(self, container: Container) -> Any:
        return PLANE(self.world, self, container.id)


PLANE = with_every_method(_Plane)


async def serve(folder: Path) -> None:
    """Until SIGTERM; then what was asked is written to report.json and every container is stopped."""
    world = World(folder)
    for name, values in json.loads(os.environ.get("CONTROL_PLANE_SECRETS", "{}")).items():
        world.secrets[f"st-{name}"] = values
    plane: _Plane = PLANE(world)
    runner = web.AppRunner(web_application(world, plane))
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    world.http_url = f"http://{HOST}:{runner.addresses[0][1]}"
    server = grpclib.server.Server([plane])
    await server.start(HOST, 0)
    port = server._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    print(json.dumps({"grpc": f"http://{HOST}:{port}", "http": world.http_url}), flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGUSR1, lambda: (folder / "report.json").write_text(json.dumps(world.report()))
    )
    watching = asyncio.get_running_loop().create_task(plane.watch())
    await stop.wait()
    watching.cancel()
    for container in list(world.containers.values()):
        plane.stop_container(container.id)
    (folder / "report.json").write_text(json.dumps(world.report()))
    server.close()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).resolve()))
