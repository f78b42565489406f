"""gRPC handlers as plain coroutines: request in, response out; every call is counted."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from grpclib import GRPCError, Status


def unary(handler: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    """A method that answers each request with one response."""

    async def method(servicer: Any, stream: Any) -> None:
        request = await stream.recv_message()
        servicer.world.calls_of[handler.__name__] += 1
        await stream.send_message(await handler(servicer, request))

    return method


def streaming(handler: Callable[[Any, Any], AsyncIterator[Any]]) -> Any:
    """A method that answers each request with as many responses as it yields."""

    async def method(servicer: Any, stream: Any) -> None:
        request = await stream.recv_message()
        servicer.world.calls_of[handler.__name__] += 1
        async for response in handler(servicer, request):
            await stream.send_message(response)

    return method


def refused(message: str) -> GRPCError:
    """What the client shows its user where a setting is wrong."""
    return GRPCError(Status.INVALID_ARGUMENT, message)


def missing(message: str) -> GRPCError:
    return GRPCError(Status.NOT_FOUND, message)


def with_every_method(servicer: Any) -> Any:
    """The class with a refusal for each method of the protocol that it does not have: nothing is silently accepted."""

    def unknown(name: str) -> Callable[[Any, Any], Awaitable[None]]:
        async def method(_servicer: Any, _stream: Any) -> None:
            raise GRPCError(Status.UNIMPLEMENTED, f"{name} is not part of this control plane")

        return method

    for name in servicer.__abstractmethods__:
        setattr(servicer, name, unknown(name))
    servicer.__abstractmethods__ = frozenset()
    return servicer
