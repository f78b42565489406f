"""Everything the control plane knows: apps, functions, calls, inputs, containers, and what happened to them."""

import asyncio
import json
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modal_proto import api_pb2 as p


@dataclass
class App:
    """`detached` apps outlive their client; `functions` and `classes` map names to ids."""

    id: str
    name: str
    detached: bool = False
    stopped: bool = False
    heard_at_s: float = field(default_factory=time.monotonic)
    functions: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    logs: list[p.TaskLogsBatch] = field(default_factory=list)


@dataclass
class Hosted:
    """One function, or one binding of a class to its parameters."""

    id: str
    app_id: str
    definition: p.Function
    metadata: p.FunctionHandleMetadata
    data: p.FunctionData
    parameters: bytes = b""
    waiting: "deque[Input]" = field(default_factory=deque)
    failed_starts: int = 0


@dataclass
class Input:
    """One input of a call; `taken_at_s` is when a container took it."""

    id: str
    call_id: str
    index: int
    payload: p.FunctionInput
    retries: int = 0
    taken_at_s: float = 0.0


@dataclass
class Call:
    """What a client asked of a function, and what came of it: `cleared` outputs have been handed over for good.
    `data_in` and `data_out` carry web requests.
    """

    id: str
    function_id: str
    waited_for: bool
    outputs: list[p.FunctionGetOutputsItem] = field(default_factory=list)
    cleared: int = 0
    data_in: list[p.DataChunk] = field(default_factory=list)
    data_out: list[p.DataChunk] = field(default_factory=list)


@dataclass
class Container:
    """One process; `working_on` are the inputs it has taken and not answered."""

    id: str
    function_id: str
    folder: Path
    pid: int = 0
    working_on: dict[str, Input] = field(default_factory=dict)
    stopping: bool = False


class World:
    """The state of one control plane. It lives in one event loop; `changed` wakes whoever waits for anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.apps: dict[str, App] = {}
        self.deployed: dict[str, str] = {}
        self.functions: dict[str, Hosted] = {}
        self.precreated: dict[str, p.FunctionHandleMetadata] = {}
        self.class_methods: dict[str, str] = {}
        self.images: dict[bytes, tuple[str, p.Image]] = {}
        self.mounts: dict[str, list[p.MountFile]] = {}
        self.files: dict[str, bytes] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.calls: dict[str, Call] = {}
        self.inputs: dict[str, Input] = {}
        self.containers: dict[str, Container] = {}
        self.calls_of: Counter[str] = Counter()
        self.http_url = ""
        self.changed = asyncio.Condition()
        self._numbers: Counter[str] = Counter()
        self._events = (folder / "events.jsonl").open("a", encoding="utf-8")

    def new_id(self, prefix: str) -> str:
        self._numbers[prefix] += 1
        return f"{prefix}-{self._numbers[prefix]}"

    def event(self, what: str, **words: Any) -> None:
        """A line in events.jsonl, which tests read to know when to strike."""
        self._events.write(json.dumps({"event": what, "at_s": time.time(), **words}) + "\n")
        self._events.flush()

    async def wake(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def wait(self, timeout_s: float) -> None:
        """Until something changes, or so long."""
        async with self.changed:
            try:
                await asyncio.wait_for(self.changed.wait(), timeout_s)
            except TimeoutError:
                return

    def containers_of(self, function_id: str) -> list[Container]:
        return [c for c in self.containers.values() if c.function_id == function_id and not c.stopping]

    def layout(self, app_id: str) -> p.AppLayout:
        """An app as its containers and other clients see it."""
        app = self.apps[app_id]
        objects = {
            id_: p.Object(object_id=id_, function_handle_metadata=self.functions[id_].metadata)
            for id_ in app.functions.values()
        }
        objects |= {
            id_: p.Object(object_id=id_, class_handle_metadata=p.ClassHandleMetadata()) for id_ in app.classes.values()
        }
        for id_ in app.functions.values():
            for needed in self.functions[id_].definition.object_dependencies:
                objects.setdefault(needed.object_id, self._object(needed.object_id))
        return p.AppLayout(function_ids=app.functions, class_ids=app.classes, objects=list(objects.values()))

    def _object(self, id_: str) -> p.Object:
        if id_ in self.functions:
            return p.Object(object_id=id_, function_handle_metadata=self.functions[id_].metadata)
        if id_.startswith("vo-"):
            return p.Object(object_id=id_, volume_metadata=p.VolumeMetadata(name=id_[3:]))
        return p.Object(object_id=id_)

    def _commands(self, image: p.Image) -> list[str]:
        """What builds an image, from its base on."""
        by_id = dict(self.images.values())
        below = [
            line
            for base in image.base_images
            if base.image_id in by_id
            for line in self._commands(by_id[base.image_id])
        ]
        return below + list(image.dockerfile_commands)

    def report(self) -> dict[str, Any]:
        """What was asked of this control plane, for tests to look at."""
        by_mount = {mount: sorted(file.filename for file in files) for mount, files in self.mounts.items()}
        return {
            "functions": {
                hosted.definition.function_name: {
                    "module": hosted.definition.module_name,
                    "gpus": _gpus(hosted.data),
                    "timeout_s": hosted.definition.timeout_secs,
                    "retries": hosted.definition.retry_policy.retries,
                    "volumes": {v.mount_path: v.volume_id for v in hosted.definition.volume_mounts},
                    "secrets": len(hosted.definition.secret_ids),
                    "most_containers": hosted.definition.autoscaler_settings.max_containers,
                    "least_containers": hosted.definition.autoscaler_settings.min_containers,
                    "idle_s": hosted.definition.autoscaler_settings.scaledown_window,
                    "at_once": hosted.definition.max_concurrent_inputs,
                    "files": sorted(name for mount in hosted.definition.mount_ids for name in by_mount.get(mount, [])),
                    "image": hosted.definition.image_id,
                    "web_url": hosted.metadata.web_url,
                }
                for hosted in self.functions.values()
                if not hosted.parameters
            },
            "images": {id_: self._commands(image) for id_, image in self.images.values()},
            "calls": dict(self.calls_of),
        }


def _gpus(data: p.FunctionData) -> list[str]:
    kinds = [ranked.function.resources.gpu_config for ranked in data.ranked_functions]
    return [f"{gpu.gpu_type}:{gpu.count}" if gpu.count > 1 else gpu.gpu_type for gpu in kinds if gpu.gpu_type]
