"""The HTTP side: web endpoints as inputs of their functions, blocks of volumes, and blobs."""

import time
from typing import Any

from aiohttp import web
from modal._serialization import deserialize_data_format, serialize, serialize_data_format
from modal_proto import api_pb2 as p

from tests.jobs.control_plane.calls import CallMethods
from tests.jobs.control_plane.volumes import block_of, md5
from tests.jobs.control_plane.world import Call, World

ANSWER_WITHIN_S = 60.0
MOST_BYTES = 1 << 30


def web_application(world: World, calls: CallMethods) -> web.Application:
    """The routes that the world's `http_url` stands for."""

    async def page(request: web.Request) -> web.StreamResponse:
        function_id, _, method = request.match_info["function"].partition(".")
        if function_id not in world.functions:
            raise web.HTTPNotFound(text=f"no web endpoint {function_id}")
        call = calls.start_call(function_id, waited_for=True)
        body = {"type": "http.request", "body": await request.read(), "more_body": False}
        call.data_in.append(_chunk(body, 1))
        arguments = serialize(((_scope(request),), {}))
        payload = p.FunctionInput(args=arguments, data_format=p.DATA_FORMAT_PICKLE, method_name=method)
        calls.enqueue(call, 0, payload)
        await world.wake()
        return await _answer(world, call)

    async def block(request: web.Request) -> web.Response:
        words = request.match_info
        path = world.folder / "volumes" / words["volume"] / words["path"]
        return web.Response(body=block_of(path, int(words["block"])))

    async def put_blob(request: web.Request) -> web.Response:
        content = await request.read()
        world.blobs[request.match_info["blob"]] = content
        return web.Response(headers={"ETag": f'"{md5(content)}"'})

    async def get_blob(request: web.Request) -> web.Response:
        return web.Response(body=world.blobs[request.match_info["blob"]])

    application = web.Application(client_max_size=MOST_BYTES)
    application.router.add_route("*", "/web/{function}{path:(/.*)?}", page)
    application.router.add_get("/volume/{volume}/{block}/{path:.*}", block)
    application.router.add_put("/blob/{blob}", put_blob)
    application.router.add_get("/blob/{blob}", get_blob)
    return application


def _scope(request: web.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "method": request.method,
        "path": request.match_info["path"] or "/",
        "query_string": request.query_string.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in request.headers.items()],
        "client": ("127.0.0.1", 0),
    }


def _chunk(message: dict[str, Any], index: int) -> p.DataChunk:
    data = serialize_data_format(message, p.DATA_FORMAT_ASGI)
    return p.DataChunk(data_format=p.DATA_FORMAT_ASGI, data=data, index=index)


async def _answer(world: World, call: Call) -> web.Response:
    """What the function sent, put together. A call that failed before it sent anything is a 500."""
    until_s = time.monotonic() + ANSWER_WITHIN_S
    status, headers, body, seen, complete = 500, [], b"", 0, False
    while not complete and time.monotonic() < until_s:
        for chunk in call.data_out[seen:]:
            seen += 1
            message = deserialize_data_format(chunk.data, chunk.data_format, None)
            if message["type"] == "http.response.start":
                status, headers = message["status"], message["headers"]
            elif message["type"] == "http.response.body":
                body += message["body"]
                complete = not message.get("more_body", False)
        if not complete and call.outputs and seen == len(call.data_out):
            complete = True
        if not complete:
            await world.wait(0.2)
    skipped = {b"content-length", b"transfer-encoding"}
    kept = [(_text(name), _text(value)) for name, value in headers if _raw(name).lower() not in skipped]
    return web.Response(status=status if complete else 504, body=body, headers=dict(kept))


def _raw(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
