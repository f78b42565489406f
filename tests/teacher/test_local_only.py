"""`local_only`: nothing is sent anywhere but to this machine, whatever the address looks like."""

import asyncio
import socket

import pytest
from aiohttp import web

from stillhouse.errors import InputError, TeacherError
from stillhouse.ledger import MemoryLedger
from stillhouse.settings import Teacher
from teacher.addresses import check_address
from teacher.engine import ask_sync
from teacher.prices import BudgetGuard
from teacher.recorded import serving
from teacher.transport import LoopbackResolver
from tests.teacher.helpdesk import SOON, TASK, items, teacher_at
from tests.teacher.test_kinds import Scripted

VERBALISED = '{"label": "soc", "confidence": 0.8, "second": null}'


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://192.168.1.4:8000/v1",
        "http://0.0.0.0:8000/v1",
        "http://[2001:db8::1]/v1",
        "http://8.8.8.8/v1",
        "http://134744072/v1",  # 8.8.8.8 as one number
        "http://localhost@example.com/v1",
        "http://localhost.example.invalid/v1",
        "http://example.com\\@localhost/v1",
    ],
)
def test_an_address_elsewhere_is_refused_before_anything_is_sent(url: str) -> None:
    """Exit code 2, and the error says what was found; a key is not even looked for."""
    with pytest.raises(InputError, match="local_only") as caught:
        ask_sync(items(1), TASK, teacher_at(url, local_only=True), MemoryLedger(), budget=BudgetGuard(None))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "url", ["http://localhost:1/v1", "http://127.0.0.1:1/v1", "http://127.8.9.1/v1", "http://[::1]:1/v1"]
)
def test_this_machines_own_addresses_pass(url: str) -> None:
    """Every loopback address, by name too."""
    check_address(teacher_at(url, local_only=True))


def test_a_batch_is_refused_too() -> None:
    """It is the same seam."""
    teacher = Teacher(name="A", model="m", batch=True, local_only=True)
    with pytest.raises(InputError, match="local_only"):
        ask_sync(items(1), TASK, teacher, MemoryLedger(), budget=BudgetGuard(None))


def test_a_recording_and_a_model_of_ones_own_need_no_address() -> None:
    """The default address of the maker says nothing where nobody is asked there."""
    check_address(Teacher(name="A", model="m", local="some/model", local_only=True))


def test_a_name_that_becomes_another_address_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is resolved again for each connection, and may say something else by then (DNS rebinding)."""

    def elsewhere(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", elsewhere)

    async def resolved() -> None:
        await LoopbackResolver().resolve("localhost", 80)

    with pytest.raises(OSError, match=r"192\.0\.2\.7, which is not this machine"):
        asyncio.run(resolved())


def test_a_redirect_is_not_followed() -> None:
    """Not even to this machine: where it leads to nothing is sent."""
    led_to = Scripted(lambda _, __: VERBALISED)
    with serving(led_to.app()) as there:
        away = web.Application()

        async def redirect(_: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"{there}/chat/completions"})

        away.router.add_post("/v1/chat/completions", redirect)
        with serving(away) as url:
            teacher = teacher_at(url, local_only=True)
            with pytest.raises(TeacherError):
                ask_sync(items(1), TASK, teacher, MemoryLedger(), budget=BudgetGuard(None), patience=SOON)
    assert led_to.bodies == []


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment would be another machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.9:3128")
    monkeypatch.setenv("http_proxy", "http://192.0.2.9:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server = Scripted(lambda _, __: VERBALISED)
    with serving(server.app()) as url:
        teacher = teacher_at(url.replace("127.0.0.1", "localhost"), local_only=True)
        votes = ask_sync(items(2), TASK, teacher, MemoryLedger(), budget=BudgetGuard(None), patience=SOON)
    assert len(votes) == 2
