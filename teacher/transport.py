"""The one seam to the outside world: bytes go out over HTTP, bytes or one of three failures come back."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from stillhouse.errors import TeacherAuthError
from stillhouse.settings import Teacher
from teacher.addresses import is_local, is_loopback
from teacher.wire import key_headers

CONNECT_TIMEOUT_S = 15.0


class TransportError(Exception):
    """A request that got no response. Stays inside this package: the engine turns it into a TeacherError."""


class UnreachableError(TransportError):
    """No connection: nothing was sent, so nothing can have been charged."""


class DisconnectedError(TransportError):
    """The connection broke after the request was sent: it may have been charged."""


class TimedOutError(TransportError):
    """No complete response in time: it may have been charged."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


@asynccontextmanager
async def connection(teacher: Teacher) -> AsyncIterator[aiohttp.ClientSession]:
    """One session for a whole run, with as many connections as may be in flight."""
    local = is_local(teacher.base_url)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=teacher.max_in_flight + 1,
            ttl_dns_cache=300,
            resolver=LoopbackResolver() if teacher.local_only else None,
        ),
        timeout=aiohttp.ClientTimeout(total=teacher.timeout_s, sock_connect=min(CONNECT_TIMEOUT_S, teacher.timeout_s)),
        headers=_headers(teacher),
        # Company proxies, but never between this machine and itself, nor where nothing may leave it.
        trust_env=not local and not teacher.local_only,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield session


async def post(
    session: aiohttp.ClientSession, url: str, body: bytes, *, kind: str | None = None, timeout_s: float | None = None
) -> Response:
    """`kind` is another Content-Type than JSON; `timeout_s` another than the teacher's, for what is large."""
    return await _exchange(session, "POST", url, body, kind, timeout_s)


async def get(session: aiohttp.ClientSession, url: str, *, timeout_s: float | None = None) -> Response:
    return await _exchange(session, "GET", url, None, None, timeout_s)


async def _exchange(
    session: aiohttp.ClientSession, method: str, url: str, body: bytes | None, kind: str | None, timeout_s: float | None
) -> Response:
    timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S) if timeout_s else session.timeout
    headers = {"Content-Type": kind} if kind else None
    try:
        # Redirects are not followed: the key would go along.
        async with session.request(
            method, url, data=body, allow_redirects=False, headers=headers, timeout=timeout
        ) as response:
            return Response(response.status, response.headers, await response.read())
    except aiohttp.ClientConnectorError as error:
        raise UnreachableError(str(error)) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise UnreachableError(str(error)) from error
    except TimeoutError as error:
        raise TimedOutError("no complete reply in time") from error
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
        raise DisconnectedError(str(error) or type(error).__name__) from error


class LoopbackResolver(aiohttp.ThreadedResolver):
    """Names as the system resolves them, at each connection anew: an address elsewhere is none at all."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await super().resolve(host, port, family)
        if elsewhere := [each["host"] for each in found if not is_loopback(each["host"])]:
            raise OSError(f"local_only: {host} is {elsewhere[0]}, which is not this machine")
        return found


def check_key(teacher: Teacher) -> None:
    """TeacherAuthError if a teacher on another machine has no key, or one no header can carry. Shows no key."""
    key = _key(teacher)
    if not key and not is_local(teacher.base_url):
        raise TeacherAuthError(
            f"teacher {teacher.name}: no API key",
            expected=f"the key of {teacher.base_url} in the environment variable {teacher.api_key_env}",
            found="nothing" if teacher.api_key_env not in os.environ else "an empty value",
            fix=f"export {teacher.api_key_env}=...",
        )
    if not (key.isascii() and key.isprintable()):
        raise TeacherAuthError(
            f"teacher {teacher.name}: the API key cannot be sent",
            expected=f"printable ASCII in the environment variable {teacher.api_key_env}",
            found="other characters (not shown)",
            fix=f"export {teacher.api_key_env} again, without quotes or line breaks",
        )


def redacted(text: str, teacher: Teacher) -> str:
    """Some servers quote the key they refuse; ours is never shown."""
    key = _key(teacher)
    return text.replace(key, "[key]") if key else text


def _key(teacher: Teacher) -> str:
    return os.environ.get(teacher.api_key_env, "").strip()


def _headers(teacher: Teacher) -> dict[str, str]:
    # A recording needs no key, so it gets none.
    key = _key(teacher) if teacher.recording is None else ""
    return {"Content-Type": "application/json", **key_headers(teacher, key)}
