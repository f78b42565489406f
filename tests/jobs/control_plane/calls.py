"""Calls: inputs wait in a function's queue, containers take and answer them, clients collect what came out."""

import base64
import json
import time
from typing import Any

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2 as p

from tests.jobs.control_plane.containers import ContainerStarts
from tests.jobs.control_plane.rpc import streaming, unary
from tests.jobs.control_plane.world import Call, Input, World

LONGEST_POLL_S = 50.0
MOST_OUTSTANDING = 1_000
IDLE_S = 4.0  # a container without work for so long is stopped, so that a test need not wait for it


class CallMethods(ContainerStarts):
    """The part of the protocol about work. `task_id` is the container that asks, or empty for a client."""

    world: World
    task_id: str

    def start_call(self, function_id: str, *, waited_for: bool) -> Call:
        call = Call(self.world.new_id("fc"), function_id, waited_for)
        self.world.calls[call.id] = call
        return call

    def enqueue(self, call: Call, index: int, payload: p.FunctionInput) -> Input:
        one = Input(self.world.new_id("in"), call.id, index, payload)
        self.world.inputs[one.id] = one
        self.world.functions[call.function_id].waiting.append(one)
        self.scale(call.function_id)
        return one

    # -- the client's side

    @unary
    async def FunctionMap(self, request: Any) -> Any:
        waited_for = request.function_call_invocation_type == p.FUNCTION_CALL_INVOCATION_TYPE_SYNC
        call = self.start_call(request.function_id, waited_for=waited_for)
        return p.FunctionMapResponse(
            function_call_id=call.id,
            function_call_jwt=call.id,
            retry_policy=self.world.functions[request.function_id].definition.retry_policy,
            sync_client_retries_enabled=True,
            max_inputs_outstanding=MOST_OUTSTANDING,
            pipelined_inputs=[self._put(call, item) for item in request.pipelined_inputs],
        )

    @unary
    async def FunctionPutInputs(self, request: Any) -> Any:
        call = self.world.calls[request.function_call_id]
        items = [self._put(call, item) for item in request.inputs]
        await self.world.wake()
        return p.FunctionPutInputsResponse(inputs=items)

    def _put(self, call: Call, item: Any) -> Any:
        one = self.enqueue(call, item.idx, item.input)
        token = _token(idx=item.idx, call=call.id, input=one.id)
        return p.FunctionPutInputsResponseItem(idx=item.idx, input_id=one.id, input_jwt=token)

    @unary
    async def FunctionRetryInputs(self, request: Any) -> Any:
        """Where a client waits for a call, it is the client that repeats what failed."""
        for item in request.inputs:
            words = _words(item.input_jwt)
            one = self.world.inputs[words["input"]]
            one.retries = item.retry_count
            self.world.functions[self.world.calls[one.call_id].function_id].waiting.append(one)
            self.world.event("retried", by="client", index=one.index)
            self.scale(self.world.calls[one.call_id].function_id)
        await self.world.wake()
        return p.FunctionRetryInputsResponse(input_jwts=[item.input_jwt for item in request.inputs])

    @unary
    async def FunctionFinishInputs(self, _request: Any) -> Any:
        return Empty()

    @unary
    async def FunctionCallFromId(self, request: Any) -> Any:
        return p.FunctionCallFromIdResponse(function_call_id=request.function_call_id, num_inputs=1)

    @unary
    async def FunctionCallCancel(self, request: Any) -> Any:
        call = self.world.calls[request.function_call_id]
        waiting = self.world.functions[call.function_id].waiting
        for one in [one for one in waiting if one.call_id == call.id]:
            waiting.remove(one)
        return Empty()

    @unary
    async def FunctionGetOutputs(self, request: Any) -> Any:
        call = self.world.calls[request.function_call_id]
        start = call.cleared if request.last_entry_id in {"", "0-0"} else int(request.last_entry_id)
        until_s = time.monotonic() + min(request.timeout, LONGEST_POLL_S)
        while not call.outputs[start:] and time.monotonic() < until_s:
            await self.world.wait(max(0.01, min(1.0, until_s - time.monotonic())))
        found = call.outputs[start:]
        if request.max_values:
            found = found[: request.max_values]
        if request.clear_on_success:
            call.cleared = start + len(found)
        return p.FunctionGetOutputsResponse(
            outputs=found, idxs=[each.idx for each in found], last_entry_id=str(start + len(found))
        )

    # -- the container's side

    @unary
    async def FunctionGetInputs(self, request: Any) -> Any:
        container = self.world.containers[self.task_id]
        waiting = self.world.functions[container.function_id].waiting
        until_s = time.monotonic() + IDLE_S
        while not waiting and not container.stopping and time.monotonic() < until_s and not self._abandoned(container):
            await self.world.wait(0.2)
        taken = [waiting.popleft() for _ in range(min(max(1, request.batch_max_size), len(waiting)))]
        if not taken:
            container.stopping = not container.working_on
            stop = p.FunctionGetInputsItem(kill_switch=True)
            return p.FunctionGetInputsResponse(inputs=[stop] if container.stopping else [])
        for one in taken:
            one.taken_at_s = time.monotonic()
            container.working_on[one.id] = one
            self.world.event("taken", container=container.id, index=one.index, input=one.id)
        return p.FunctionGetInputsResponse(inputs=[self._item(one) for one in taken])

    def _item(self, one: Input) -> Any:
        waited_for = self.world.calls[one.call_id].waited_for
        kind = p.FUNCTION_CALL_INVOCATION_TYPE_SYNC if waited_for else p.FUNCTION_CALL_INVOCATION_TYPE_ASYNC
        return p.FunctionGetInputsItem(
            input_id=one.id,
            input=one.payload,
            function_call_id=one.call_id,
            retry_count=one.retries,
            function_call_invocation_type=kind,
        )

    @unary
    async def FunctionPutOutputs(self, request: Any) -> Any:
        for item in request.outputs:
            one = self.world.inputs[item.input_id]
            self.world.containers[self.task_id].working_on.pop(one.id, None)
            words = {"index": one.index, "status": item.result.status, "said": item.result.exception}
            self.world.event("answered", container=self.task_id, **words)
            self.answered(one, item.result, item.data_format)
        await self.world.wake()
        return Empty()

    @streaming
    async def FunctionCallGetDataIn(self, request: Any) -> Any:
        call, seen = self.world.calls[request.function_call_id], request.last_index
        while not any(output.input_id for output in call.outputs):
            for chunk in call.data_in[seen:]:
                seen += 1
                yield chunk
            await self.world.wait(0.5)

    @unary
    async def FunctionCallPutDataOut(self, request: Any) -> Any:
        self.world.calls[request.function_call_id].data_out.extend(request.data_chunks)
        await self.world.wake()
        return Empty()

    @unary
    async def ContainerHello(self, _request: Any) -> Any:
        return Empty()

    @unary
    async def ContainerHeartbeat(self, _request: Any) -> Any:
        return p.ContainerHeartbeatResponse()

    @unary
    async def ContainerStop(self, request: Any) -> Any:
        self.stop_container(request.task_id, graceful=request.graceful)
        return Empty()

    @unary
    async def TaskList(self, request: Any) -> Any:
        mine = [
            c
            for c in self.world.containers.values()
            if not request.app_id or self.world.functions[c.function_id].app_id == request.app_id
        ]
        return p.TaskListResponse(tasks=[p.TaskStats(task_id=c.id) for c in mine])

    @unary
    async def TaskResult(self, request: Any) -> Any:
        """A container that could not even load its function: each input that waits for it fails."""
        hosted = self.world.functions[self.world.containers[self.task_id].function_id]
        self.world.event("failed_start", container=self.task_id, said=request.result.exception)
        while hosted.waiting:
            self.answered(hosted.waiting.popleft(), request.result, p.DATA_FORMAT_PICKLE, final=True)
        await self.world.wake()
        return Empty()


def _token(**words: Any) -> str:
    """In the form of a JSON web token, which the client only carries about."""
    parts = ({"alg": "none"}, words)
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*coded, "x"])


def _words(token: str) -> dict[str, Any]:
    words: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return words
