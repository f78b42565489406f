"""What a person reads when a server is dead, refuses, fails or is something else."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.embedded import Connection
from stillhouse.errors import DeskError
from tests.argilla_setup.people import Person, a_record, a_task, records_of, unique


@contextmanager
def replying(status: int, body: bytes, content_type: str) -> Iterator[str]:
    """A server that gives the same reply to everything."""

    class SameReply(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SameReply) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def refusal(url: str, api_key: str = "a-secret-key") -> DeskError:
    with pytest.raises(DeskError) as caught:
        ArgillaDesk(url, api_key, a_task(unique("refused"))).publish([a_record("i")])
    error = caught.value
    assert error.expected
    assert error.found
    assert error.fix
    assert api_key not in str(error)
    return error


def test_a_wrong_key_is_named(embedded: Connection) -> None:
    """HTTP 401 becomes: the key is not valid, and where to find one."""
    error = refusal(embedded.url)
    assert error.expected == "a valid API key"
    assert "401" in error.found


def test_an_annotators_key_is_not_enough(embedded_desk: ArgillaDesk) -> None:
    """Setting up and reading everybody's answers needs an owner."""
    embedded_desk.publish([a_record("i")])
    person = Person.joins(embedded_desk)
    desk = ArgillaDesk(embedded_desk.api.url, person.api.api_key, embedded_desk.task)
    with pytest.raises(DeskError, match="the API key of an owner"):
        desk.collect()


def test_a_dead_server_is_named() -> None:
    """Nobody listens: which address, what to start, and that nothing is lost."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = refusal(f"http://127.0.0.1:{port}")
    assert str(port) in error.expected
    assert "stillhouse argilla up" in error.fix


def test_a_failing_server_is_quoted() -> None:
    """5xx: the server's words, and that a repeat continues."""
    with replying(503, b"database is locked", "text/plain") as url:
        error = refusal(url)
    assert "HTTP 503: database is locked" in error.found
    assert "stays" in error.fix


def test_a_website_is_not_an_argilla_server() -> None:
    """A page instead of JSON is said as such."""
    with replying(200, b"<html>hello</html>", "text/html") as url:
        assert "is not an Argilla server" in refusal(url).what


def test_a_half_made_dataset_is_made_anew(embedded: Connection) -> None:
    """A run killed while it made the dataset leaves a draft that nobody can answer in; the next push replaces it."""
    desk = ArgillaDesk(embedded.url, embedded.api_key, a_task(unique("draft")))
    ArgillaDesk(embedded.url, embedded.api_key, a_task(unique("first"))).publish([a_record("i")])
    body = {"name": f"{desk.task.name}-{desk.task.schema_hash()}", "workspace_id": desk.workspace_id()}
    desk.api.call("POST", "/datasets", doing="testing", body=body)
    assert (desk.dataset_id(), desk.collect(), desk.waiting()) == (None, [], 0)
    assert desk.publish([a_record("i")]) == 1
    assert set(records_of(desk)) == {"i"}


def test_a_desk_shows_no_key(embedded_desk: ArgillaDesk) -> None:
    """Neither its repr nor that of what it holds has the key in it."""
    assert embedded_desk.api.api_key not in repr(embedded_desk) + repr(embedded_desk.api) + repr(vars(embedded_desk))
