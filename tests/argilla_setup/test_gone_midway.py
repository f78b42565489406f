"""A server that goes in the middle of something: nothing is lost, nothing is doubled, and the next call goes on."""

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from argilla_setup.argilla_desk import CHUNK, ArgillaDesk
from argilla_setup.embedded import Connection
from stillhouse.errors import DeskError
from tests.argilla_setup.people import Person, a_record, a_task, asked_again, records_of, unique


class Line:
    """The connection to a real server: cut at the n-th request that matches, before or after the server has done it."""

    def __init__(self, server: str) -> None:
        self.server, self.url = server, ""
        self.pattern, self.left, self.reaches_server = "", -1, False

    def cut_at(self, pattern: str, number: int, *, reaches_server: bool) -> None:
        self.pattern, self.left, self.reaches_server = pattern, number, reaches_server

    def mend(self) -> None:
        self.left = -1

    def is_cut(self, request: str) -> bool:
        if self.left > 0 and re.search(self.pattern, request):
            self.left -= 1
        return self.left == 0


@contextmanager
def line_to(server: str) -> Iterator[Line]:
    line = Line(server)

    class Relay(http.server.BaseHTTPRequestHandler):
        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            cut = line.is_cut(f"{self.command} {self.path}")
            if not cut or line.reaches_server:
                headers = {
                    name: self.headers[name] for name in ("X-Argilla-Api-Key", "Content-Type") if self.headers[name]
                }
                reply = requests.request(self.command, server + self.path, data=body, headers=headers, timeout=60)
            if cut:
                line.reaches_server = False  # from now on it is gone
                self.close_connection = True
                return
            self.send_response(reply.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply.content)))
            self.end_headers()
            self.wfile.write(reply.content)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = relay  # noqa: N815 — http.server looks for these names

        def log_message(self, *args: object) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Relay) as relay:
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        line.url = f"http://127.0.0.1:{relay.server_address[1]}"
        yield line
        relay.shutdown()


@pytest.mark.parametrize(("reaches_server", "left"), [(False, 20), (True, 0)])
def test_a_push_cut_between_chunks_is_finished_by_the_next(
    embedded: Connection, *, reaches_server: bool, left: int
) -> None:
    """Whether the second chunk arrived or only its reply was lost: each record is there once, as it was published."""
    with line_to(embedded.url) as line:
        desk = ArgillaDesk(line.url, embedded.api_key, a_task(unique("cut")))
        batch = [a_record(f"i{n}") for n in range(CHUNK + 20)]
        line.cut_at("PUT .*/records/bulk", 2, reaches_server=reaches_server)
        with pytest.raises(DeskError, match=f"pushing records {CHUNK + 1} to {CHUNK + 20} of {CHUNK + 20}"):
            desk.publish(batch)
        line.mend()
        assert desk.publish(batch) == left
        assert set(records_of(desk)) == {record.item_id for record in batch}
        assert desk.publish(batch) == 0


@pytest.mark.parametrize("step", [1, 4, 9, 10])
def test_a_dataset_cut_while_it_is_made_is_made_anew(embedded: Connection, step: int) -> None:
    """At whatever step: nobody ever answers in half of it."""
    with line_to(embedded.url) as line:
        desk = ArgillaDesk(line.url, embedded.api_key, a_task(unique("half")))
        line.cut_at("(POST|PUT) ", step, reaches_server=bool(step % 2))
        with pytest.raises(DeskError):
            desk.publish([a_record("i")])
        line.mend()
        assert desk.publish([a_record("i")]) == 1
        assert desk.waiting() == 1


def test_answers_of_a_read_that_was_cut_come_with_the_next(embedded: Connection) -> None:
    """Also where only what has changed is asked for: what was half read counts as not read."""
    with line_to(embedded.url) as line:
        desk = ArgillaDesk(line.url, embedded.api_key, a_task(unique("cut-read")))
        desk.publish([a_record("a"), asked_again("b", "verify")])
        person = Person.joins(desk)
        assert desk.collect(changed=True) == []
        person.answers("a", "billing")
        person.judges("b", "yes")
        line.cut_at("GET .*/records", 2, reaches_server=True)
        with pytest.raises(DeskError, match="reading answers"):
            desk.collect(changed=True)
        line.mend()
        assert [answer.item_id for answer in desk.collect(changed=True)] == ["a", "b"]
        assert desk.collect(changed=True) == []


def test_what_has_not_changed_is_not_read_again(embedded: Connection) -> None:
    """Waiting for people asks the server for few words, however many records there are."""
    with line_to(embedded.url) as line:
        desk = ArgillaDesk(line.url, embedded.api_key, a_task(unique("idle")))
        desk.publish([a_record("a")])
        desk.collect()
        line.cut_at("GET .*/records", 1, reaches_server=False)
        assert desk.collect(changed=True) == []
        with pytest.raises(DeskError):
            desk.collect()
