"""Apps, images, uploaded files, secrets and blobs: what a client sets up before anything runs."""

import hashlib
import time
from typing import Any

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2 as p

from tests.jobs.control_plane.rpc import missing, refused, streaming, unary
from tests.jobs.control_plane.world import App, World

BUILDER = "2025.06"
SUCCESS = p.GenericResult(status=p.GenericResult.GENERIC_STATUS_SUCCESS)


class ObjectMethods:
    """The part of the protocol about what stands still."""

    world: World

    @unary
    async def ClientHello(self, _request: Any) -> Any:
        return p.ClientHelloResponse(image_builder_version=BUILDER)

    @unary
    async def EnvironmentGetOrCreate(self, _request: Any) -> Any:
        settings = p.EnvironmentSettings(image_builder_version=BUILDER, webhook_suffix="")
        metadata = p.EnvironmentMetadata(name="main", settings=settings)
        return p.EnvironmentGetOrCreateResponse(environment_id="en-1", metadata=metadata)

    @unary
    async def AppCreate(self, request: Any) -> Any:
        app = App(self.world.new_id("ap"), request.description, detached=request.app_state == p.APP_STATE_DETACHED)
        self.world.apps[app.id] = app
        return p.AppCreateResponse(app_id=app.id, app_page_url=f"{self.world.http_url}/app/{app.id}")

    @unary
    async def AppGetOrCreate(self, request: Any) -> Any:
        id_ = self.world.deployed.setdefault(request.app_name, self.world.new_id("ap"))
        self.world.apps.setdefault(id_, App(id_, request.app_name, detached=True))
        return p.AppGetOrCreateResponse(app_id=id_)

    @unary
    async def AppGetByDeploymentName(self, request: Any) -> Any:
        return p.AppGetByDeploymentNameResponse(app_id=self.world.deployed.get(request.name, ""))

    @unary
    async def AppGetLayout(self, request: Any) -> Any:
        return p.AppGetLayoutResponse(app_layout=self.world.layout(request.app_id))

    @unary
    async def AppHeartbeat(self, request: Any) -> Any:
        self.world.apps[request.app_id].heard_at_s = time.monotonic()
        return Empty()

    @unary
    async def AppSetTags(self, _request: Any) -> Any:
        return Empty()

    @unary
    async def AppPublish(self, request: Any) -> Any:
        app = self.world.apps[request.app_id]
        app.functions, app.classes = dict(request.function_ids), dict(request.class_ids)
        if request.app_state == p.APP_STATE_DEPLOYED:
            self.world.deployed[request.name] = app.id
            app.detached = True
        self.world.event("published", app=app.id, name=app.name)
        url = f"{self.world.http_url}/app/{app.id}"
        return p.AppPublishResponse(url=url, deployed_at=time.time())

    @unary
    async def AppClientDisconnect(self, request: Any) -> Any:
        app = self.world.apps[request.app_id]
        self.world.event("disconnected", app=app.id)
        if not app.detached:
            await self.stop_app(app)
        return Empty()

    @unary
    async def AppStop(self, request: Any) -> Any:
        await self.stop_app(self.world.apps[request.app_id])
        return Empty()

    async def stop_app(self, app: App) -> None:
        """No further container of this app, and an end to its logs."""
        app.stopped = True
        await self.world.wake()

    @streaming
    async def AppGetLogs(self, request: Any) -> Any:
        app = self.world.apps.get(request.app_id)
        if app is None:
            raise missing(f"no app {request.app_id}")
        seen = int(request.last_entry_id or 0)
        until_s = time.monotonic() + (request.timeout or 55.0)
        while time.monotonic() < until_s:
            for batch in app.logs[seen:]:
                seen += 1
                yield batch
            running = any(self.world.functions[c.function_id].app_id == app.id for c in self.world.containers.values())
            if app.stopped and not running and seen == len(app.logs):
                yield p.TaskLogsBatch(app_done=True)
                return
            await self.world.wait(0.2)

    @unary
    async def ImageGetOrCreate(self, request: Any) -> Any:
        key = request.image.SerializeToString(deterministic=True)
        if key not in self.world.images:
            self.world.images[key] = (self.world.new_id("im"), request.image)
        metadata = p.ImageMetadata(python_version_info="Python 3.11.7", image_builder_version=BUILDER)
        return p.ImageGetOrCreateResponse(image_id=self.world.images[key][0], result=SUCCESS, metadata=metadata)

    @streaming
    async def ImageJoinStreaming(self, _request: Any) -> Any:
        yield p.ImageJoinStreamingResponse(result=SUCCESS, eof=True)

    @unary
    async def MountPutFile(self, request: Any) -> Any:
        given = request.WhichOneof("data_oneof")
        if given is not None:
            content = request.data if given == "data" else self.world.blobs[request.data_blob_id]
            if hashlib.sha256(content).hexdigest() != request.sha256_hex:
                raise refused(f"the content of {request.sha256_hex} is another")
            self.world.files[request.sha256_hex] = content
        return p.MountPutFileResponse(exists=request.sha256_hex in self.world.files)

    @unary
    async def MountBatchedCheckExistence(self, request: Any) -> Any:
        unknown = [hex_ for hex_ in request.sha256_hex_hashes if hex_ not in self.world.files]
        return p.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=unknown)

    @unary
    async def MountGetOrCreate(self, request: Any) -> Any:
        id_ = self.world.new_id("mo")
        self.world.mounts[id_] = list(request.files)
        metadata = p.MountHandleMetadata(content_checksum_sha256_hex="0" * 64)
        return p.MountGetOrCreateResponse(mount_id=id_, handle_metadata=metadata)

    @unary
    async def SecretGetOrCreate(self, request: Any) -> Any:
        """A secret by name must have been given to the control plane; one made on the spot brings its values."""
        name = request.deployment_name
        if not name:
            id_ = self.world.new_id("st")
            self.world.secrets[id_] = dict(request.env_dict)
            return p.SecretGetOrCreateResponse(secret_id=id_)
        if f"st-{name}" not in self.world.secrets:
            raise missing(f"Secret '{name}' not found")
        lacking = [key for key in request.required_keys if key not in self.world.secrets[f"st-{name}"]]
        if lacking:
            raise missing(f"Secret '{name}' lacks {lacking}")
        return p.SecretGetOrCreateResponse(secret_id=f"st-{name}")

    @unary
    async def BlobCreate(self, _request: Any) -> Any:
        id_ = self.world.new_id("bl")
        url = f"{self.world.http_url}/blob/{id_}"
        return p.BlobCreateResponse(blob_id=id_, upload_urls=p.UploadUrlList(items=[url]), blob_ids=[id_])

    @unary
    async def BlobGet(self, request: Any) -> Any:
        return p.BlobGetResponse(download_url=f"{self.world.http_url}/blob/{request.blob_id}")
