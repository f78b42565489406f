"""The one seam to the outside world: bytes go out over HTTP, bytes or one of three failures come back."""

import asyncio
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from stillhouse.errors import InputError, TeacherAuthError
from stillhouse.settings import Teacher
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


def is_local(base_url: str) -> bool:
    """True for an address of this machine itself."""
    host = urlsplit(base_url).hostname or ""
    return host == "localhost" or _is_loopback(host)


class LoopbackResolver(aiohttp.ThreadedResolver):
    """Names as the system resolves them, at each connection anew: an address elsewhere is none at all."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await super().resolve(host, port, family)
        if elsewhere := [each["host"] for each in found if not _is_loopback(each["host"])]:
            raise OSError(f"local_only: {host} is {elsewhere[0]}, which is not this machine")
        return found


def leaves_the_machine(teacher: Teacher) -> bool:
    """Whether texts are handed to somebody: an address on this machine may be a proxy, a recording or own model is not."""
    return teacher.recording is None and teacher.local is None


def check_address(teacher: Teacher) -> None:
    """InputError unless `base_url` can be asked at all, and with `local_only` unless it is this machine's own."""
    parts = urlsplit(teacher.base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InputError(
            f"teacher {teacher.name}: base_url is not an address",
            expected="http://HOST/v1 or https://HOST/v1",
            found=repr(teacher.base_url),
            fix="correct base_url of this teacher in task.toml",
        )
    if teacher.local_only and teacher.local is None:
        _check_loopback(teacher, parts.hostname)


def _check_loopback(teacher: Teacher, host: str) -> None:
    """Every address of the host must be a loopback one. A user part or backslash could hide another host: refused."""
    found = ", ".join(address for address in _addresses(host) if not _is_loopback(address))
    odd = set(teacher.base_url) & set("@\\ \t\r\n")
    if found or odd:
        raise InputError(
            f"teacher {teacher.name}: local_only, but its address is not this machine's own",
            expected="a base_url on localhost, 127.0.0.1 or [::1]; nothing was sent",
            found=repr(teacher.base_url) + (f", which is {found}" if found and found != host else ""),
            fix="correct base_url, or remove local_only from this teacher if its texts may leave this machine",
        )


def _addresses(host: str) -> list[str]:
    """As the system resolves it; the host itself where it cannot be resolved."""
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        return [host]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


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
