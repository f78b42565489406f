"""Functions and classes as a client declares them, with the values Modal's own service would refuse refused."""

import hashlib
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from modal_proto import api_pb2 as p

from tests.jobs.control_plane.rpc import missing, refused, unary
from tests.jobs.control_plane.world import Hosted, World

# What the client sends unchecked, and the service refuses: its documentation as of modal 1.6.
GPUS = {
    "T4", "L4", "A10", "A10G", "L40S", "A100", "A100-40GB", "A100-80GB", "RTX-PRO-6000", "H100", "H100!", "H200", "B200",
    "B200+", "B300",
}  # fmt: skip
MOST_GPUS = 8
MOST_RETRIES = 10
LONGEST_TIMEOUT_S = 24 * 60 * 60


class FunctionMethods:
    """The part of the protocol about what can be called."""

    world: World

    @unary
    async def FunctionPrecreate(self, request: Any) -> Any:
        id_ = request.existing_function_id or self.world.new_id("fu")
        metadata = self._metadata(request, request.app_id)
        if request.webhook_config.type != p.WEBHOOK_TYPE_UNSPECIFIED:
            metadata.web_url = f"{self.world.http_url}/web/{id_}"
        self.world.precreated[id_] = metadata
        return p.FunctionPrecreateResponse(function_id=id_, handle_metadata=metadata)

    @unary
    async def FunctionCreate(self, request: Any) -> Any:
        id_ = request.existing_function_id or self.world.new_id("fu")
        definition, data = _both_forms(request)
        _check(definition, data)
        metadata = self.world.precreated.get(id_)
        if metadata is None or definition.is_class:
            metadata = self._metadata(definition, request.app_id)
            metadata.class_parameter_info.CopyFrom(definition.class_parameter_info)
        for name, method in definition.method_definitions.items():
            if method.webhook_config.type != p.WEBHOOK_TYPE_UNSPECIFIED:
                metadata.method_handle_metadata[name].web_url = f"{self.world.http_url}/web/{id_}.{name}"
        self.world.functions[id_] = Hosted(id_, request.app_id, definition, metadata, data)
        return p.FunctionCreateResponse(
            function_id=id_, handle_metadata=metadata, function=definition, function_data=data
        )

    @unary
    async def FunctionBindParams(self, request: Any) -> Any:
        """A class with its parameters, or a function with other options, is one more function."""
        base = self.world.functions[request.function_id]
        id_ = f"{base.id}.{hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()[:12]}"
        if id_ not in self.world.functions:
            definition = p.Function()
            definition.CopyFrom(base.definition)
            options = MessageToDict(request.function_options, preserving_proto_field_name=True)
            _overlay(definition, {name: value for name, value in options.items() if not name.startswith("replace_")})
            _check(definition, base.data)
            bound = Hosted(id_, base.app_id, definition, base.metadata, base.data, request.serialized_params or b"\0")
            self.world.functions[id_] = bound
        return p.FunctionBindParamsResponse(bound_function_id=id_, handle_metadata=base.metadata)

    @unary
    async def FunctionGet(self, request: Any) -> Any:
        app = self.world.apps.get(self.world.deployed.get(request.app_name, ""))
        id_ = app.functions.get(request.object_tag) if app else None
        if id_ is None:
            raise missing(f"{request.app_name}/{request.object_tag} not found")
        hosted = self.world.functions[id_]
        return p.FunctionGetResponse(function_id=id_, handle_metadata=hosted.metadata, function=hosted.data)

    @unary
    async def ClassCreate(self, _request: Any) -> Any:
        return p.ClassCreateResponse(class_id=self.world.new_id("cs"), handle_metadata=p.ClassHandleMetadata())

    @unary
    async def ClassGet(self, request: Any) -> Any:
        app = self.world.apps.get(self.world.deployed.get(request.app_name, ""))
        id_ = app.classes.get(request.object_tag) if app else None
        if id_ is None:
            raise missing(f"{request.app_name}/{request.object_tag} not found")
        return p.ClassGetResponse(class_id=id_, handle_metadata=p.ClassHandleMetadata())

    @unary
    async def FunctionGetDynamicConcurrency(self, request: Any) -> Any:
        return p.FunctionGetDynamicConcurrencyResponse(concurrency=request.target_concurrency)

    @unary
    async def FunctionUpdateSchedulingParams(self, _request: Any) -> Any:
        return Empty()

    def _metadata(self, of: Any, app_id: str) -> p.FunctionHandleMetadata:
        def one(each: Any, method: str = "") -> p.FunctionHandleMetadata:
            return p.FunctionHandleMetadata(
                function_name=each.function_name,
                function_type=each.function_type,
                function_schema=each.function_schema,
                supported_input_formats=each.supported_input_formats,
                supported_output_formats=each.supported_output_formats,
                app_id=app_id,
                is_method=bool(method),
                use_method_name=method,
            )

        found = one(of)
        for name, method in of.method_definitions.items():
            found.method_handle_metadata[name].CopyFrom(one(method, name))
        return found


def _both_forms(request: Any) -> tuple[p.Function, p.FunctionData]:
    """A function is sent whole, or as shared settings with one version a GPU, the first being the preferred one."""
    definition, data = p.Function(), p.FunctionData()
    if request.function_data.ranked_functions:
        data.CopyFrom(request.function_data)
        definition.CopyFrom(data.ranked_functions[0].function)
        _overlay(definition, MessageToDict(data, preserving_proto_field_name=True))
    else:
        definition.CopyFrom(request.function)
        _overlay(data, MessageToDict(definition, preserving_proto_field_name=True))
        data.ranked_functions.add(rank=0).function.CopyFrom(definition)
    return definition, data


def _overlay(message: Message, values: dict[str, Any]) -> None:
    """Set what the message has a field for, in place of what it had."""
    known = {name: value for name, value in values.items() if name in message.DESCRIPTOR.fields_by_name}
    for name in known:
        message.ClearField(name)
    ParseDict(known, message)


def _check(definition: p.Function, data: p.FunctionData) -> None:
    name = definition.function_name
    resources = [definition.resources, *(ranked.function.resources for ranked in data.ranked_functions)]
    for gpu in (each.gpu_config for each in resources):
        if gpu.gpu_type and gpu.gpu_type.upper() not in GPUS:
            raise refused(f"{name}: unknown GPU type {gpu.gpu_type!r}")
        if gpu.count > MOST_GPUS:
            raise refused(f"{name}: at most {MOST_GPUS} GPUs a container, found {gpu.count}")
    if definition.retry_policy.retries > MOST_RETRIES:
        raise refused(f"{name}: at most {MOST_RETRIES} retries, found {definition.retry_policy.retries}")
    if not 0 < definition.timeout_secs <= LONGEST_TIMEOUT_S:
        raise refused(f"{name}: a timeout of 1 to {LONGEST_TIMEOUT_S} s, found {definition.timeout_secs}")
