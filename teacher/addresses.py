"""Where a teacher is: on this machine or not, and whether that is allowed."""

import ipaddress
import socket
from urllib.parse import urlsplit

from stillhouse.errors import InputError
from stillhouse.settings import Teacher


def is_local(base_url: str) -> bool:
    """True for an address of this machine itself."""
    host = urlsplit(base_url).hostname or ""
    return host == "localhost" or is_loopback(host)


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
    found = ", ".join(address for address in _addresses(host) if not is_loopback(address))
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


def is_loopback(address: str) -> bool:
    """Whether a numeric address is this machine's own."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
