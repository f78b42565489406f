"""A planned fault done to one answer over real HTTP, whatever the answer is."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from teacher.faults import Fault, FaultPlay, RequestLog
from teacher.playback_answers import error_response
from teacher.playback_replies import Api, without_answer

DRIPS = 10
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def counted(answer: Handler, play: FaultPlay, log: RequestLog) -> Handler:
    """The handler with its requests counted, the plan's latency before it, and the limits told of, if they are."""

    async def asked(request: web.Request) -> web.StreamResponse:
        log.requests += 1
        log.in_flight += 1
        log.most_in_flight = max(log.most_in_flight, log.in_flight)
        try:
            if play.plan.latency_s:
                await asyncio.sleep(play.plan.latency_s)
            response = await answer(request)
        finally:
            log.in_flight -= 1
        log.statuses[response.status] += 1
        if not response.prepared:
            response.headers.update(play.limits())
        return response

    return asked


def planned_error(api: Api, fault: Fault) -> web.Response:
    response = error_response(api, fault.status, fault.code, fault.message)
    if fault.retry_after_s is not None:
        response.headers["Retry-After"] = f"{fault.retry_after_s:g}"
    if fault.retry_after_ms is not None:
        response.headers["retry-after-ms"] = f"{fault.retry_after_ms:g}"
    return response


async def with_fault(
    request: web.Request, fault: Fault, body: bytes, instead: bytes, headers: Mapping[str, str]
) -> web.StreamResponse:
    """The true `body`, harmed; `instead` is the reply with the fault's own content."""
    if fault.kind == "hang":
        await asyncio.sleep(fault.seconds)
    elif fault.kind == "wrong_json":
        body = body[: len(body) // 2]
    elif fault.kind == "empty_choices":
        body = without_answer(body)
    elif fault.kind == "content":
        body = instead
    elif fault.kind in {"disconnect", "drip"}:
        return await _piecewise(request, fault, body, headers)
    return web.Response(body=body, content_type="application/json", headers=headers)


async def _piecewise(request: web.Request, fault: Fault, body: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={**headers, "Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    if fault.kind == "disconnect":
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response
    size = -(-len(body) // DRIPS)
    for start in range(0, len(body), size):
        await asyncio.sleep(fault.seconds / DRIPS)
        await response.write(body[start : start + size])
    return response
