"""The server over real HTTP: answers, refusals, metrics, and a stop that finishes what is in flight."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from kinds.kind import Kind
from serving.api import Limits, create_app
from serving.service import Serving
from serving.verdicts import Predicts
from stillhouse.errors import ModelError
from stillhouse.probabilities import Floats
from stillhouse.records import Item
from tests.serving.keywords import BrokenStudent, KeywordStudent, WordStudent, kind_for

ROOT = Path(__file__).parents[2]
KIND = kind_for("bill", "fox")
SLOW_SERVER = """
import signal, socket, sys, time
import uvicorn
from serving.api import create_app
from serving.service import Serving
from tests.serving.keywords import KeywordStudent, kind_for
from loop.serve import run_server

class Slow(KeywordStudent):
    def predict(self, items):
        print("reading", flush=True)
        time.sleep(0.5)
        return super().predict(items)

what = Serving(Slow(), kind_for("bill", "fox"), "m1", 0.6)
run_server(what, host="127.0.0.1", port=0, told=lambda address: print(address, flush=True))
"""


@contextmanager
def server(student: Predicts | None = None, kind: Kind = KIND, *, token: str = "", **limits: Any) -> Iterator[str]:
    """In a thread of this process."""
    import socket

    import uvicorn

    more = {name: limits.pop(name) for name in ("most_waiting", "threads") if name in limits}
    what = Serving(student or KeywordStudent(), kind, "m1", 0.6, **more)
    app = create_app(what, limits=Limits(**limits), token=token)
    running = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=5))
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(10)


def post(address: str, body: Any, **more: Any) -> requests.Response:
    return requests.post(f"{address}/v1/label", json=body, timeout=20, **more)


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    with server(texts=4, bytes=2_000) as address:
        yield address


@pytest.mark.parametrize(
    "body",
    [
        {"text": "the bill"},
        {"texts": ["the bill"]},
        {"items": [{"text": "the bill"}]},
        {"items": [{"id": "0", "text": "the bill"}]},
    ],
)
def test_a_text_gets_its_label_however_it_is_asked(plain: str, body: Any) -> None:
    """Label, probability, who says so, and the model."""
    found = post(plain, body).json()
    assert found["model"] == "m1"
    assert found["answers"] == [
        {
            "id": "0",
            "label": "bill",
            "probability": 0.9,
            "abstained": False,
            "source": "student",
            "cost_usd": 0.0,
            "note": "",
        }
    ]


def test_answers_are_in_the_order_of_the_texts(plain: str) -> None:
    """With the ids that were given; below the threshold a text abstains."""
    items = [{"id": "x", "text": "🦊"}, {"id": "y", "text": "?"}, {"id": "z", "text": "bill"}]
    found = post(plain, {"items": items}).json()["answers"]
    assert [(a["id"], a["label"], a["abstained"]) for a in found] == [
        ("x", "fox", False),
        ("y", "bill", True),
        ("z", "bill", False),
    ]


@pytest.mark.parametrize(
    ("body", "status", "code", "found"),
    [
        ({"texts": ["a"] * 5}, 413, "too_many_texts", "5"),
        ({"text": "a" * 3_000}, 413, "too_many_bytes", "more"),
        ({"text": " "}, 422, "unreadable", "item 0: the text is empty"),
        ({"text": "a", "texts": ["b"]}, 422, "unreadable", "expected one of text, texts and items"),
        ({"texts": []}, 422, "unreadable", "texts"),
        ({"txt": "a"}, 422, "unreadable", "txt"),
        ({"items": [{"text": "a", "pair": "b"}]}, 422, "unreadable", "the task has no pair"),
        ({"items": [{"text": "a", "tokens": ["a"]}]}, 422, "unreadable", "the task has no tokens"),
    ],
)
def test_a_refusal_says_what_was_expected_and_found(plain: str, body: Any, status: int, code: str, found: str) -> None:
    """In one form, whatever is wrong."""
    answer = post(plain, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert found in error["found"]
    assert error["expected"]
    assert error["what_to_do"]


def test_what_is_no_json_is_refused(plain: str) -> None:
    """With the place of the mistake."""
    answer = requests.post(f"{plain}/v1/label", data=b'{"text": ', timeout=20)
    assert answer.status_code == 422
    assert "Invalid JSON" in answer.json()["error"]["found"]


def test_the_api_is_described_without_pages_from_elsewhere(plain: str) -> None:
    """The description has requests, answers and refusals; FastAPI's own pages, which load scripts from a CDN, are off."""
    described = requests.get(f"{plain}/openapi.json", timeout=20).json()
    operation = described["paths"]["/v1/label"]["post"]
    assert set(operation["responses"]) >= {"200", "401", "413", "422", "429", "503", "504"}
    assert "texts" in operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert "what_to_do" in described["components"]["schemas"]["Refusal"]["properties"]["error"]["properties"]
    assert [requests.get(f"{plain}/{page}", timeout=20).status_code for page in ("docs", "redoc")] == [404, 404]


def test_health_and_metrics_can_be_asked() -> None:
    """Requests by status, texts by source, abstentions, sizes of batches."""
    with server() as address:
        post(address, {"texts": ["the bill", "?"]})
        post(address, {"text": ""})
        assert requests.get(f"{address}/health/live", timeout=20).json() == {"live": True}
        assert requests.get(f"{address}/health/ready", timeout=20).json() == {
            "ready": True,
            "model": "m1",
            "waiting": 0,
        }
        told = requests.get(f"{address}/metrics", timeout=20).text.splitlines()
    assert 'stillhouse_requests_total{path="/v1/label",status="200"} 1.0' in told
    assert 'stillhouse_requests_total{path="/v1/label",status="422"} 1.0' in told
    assert 'stillhouse_texts_total{source="student"} 2.0' in told
    assert "stillhouse_abstained_total 1.0" in told
    assert 'stillhouse_batch_texts_bucket{le="2.0"} 1.0' in told
    assert "stillhouse_teacher_usd_total 0.0" in told
    assert not any("bill" in line for line in told)


def test_a_token_is_asked_for_everywhere_but_at_health() -> None:
    """A wrong one is as good as none."""
    with server(token="sesame") as address:
        right = {"Authorization": "Bearer sesame"}
        assert post(address, {"text": "bill"}).status_code == 401
        assert post(address, {"text": "bill"}, headers={"Authorization": "Bearer sesam"}).status_code == 401
        assert requests.get(f"{address}/metrics", timeout=20).status_code == 401
        assert requests.get(f"{address}/health/ready", timeout=20).status_code == 200
        assert post(address, {"text": "bill"}, headers=right).status_code == 200


class Held(KeywordStudent):
    """Reads nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reading, self.go = threading.Event(), threading.Event()

    def predict(self, items: Sequence[Item]) -> Floats:
        self.reading.set()
        self.go.wait(10)
        return super().predict(items)


def test_a_full_queue_is_told_at_once() -> None:
    """429 with the time after which to come again; not ready meanwhile; what waits is answered."""
    student = Held()
    with server(student, most_waiting=1) as address:
        answers: list[int] = []
        ask = lambda: answers.append(post(address, {"text": "bill"}).status_code)  # noqa: E731
        first, second = threading.Thread(target=ask), threading.Thread(target=ask)
        first.start()
        student.reading.wait(10)
        second.start()
        while requests.get(f"{address}/health/ready", timeout=20).status_code == 200:
            time.sleep(0.01)
        refused = post(address, {"text": "bill"})
        student.go.set()
        first.join()
        second.join()
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert answers == [200, 200]


def test_an_answer_that_takes_too_long_is_not_waited_for() -> None:
    """504; the server goes on."""
    student = Held()
    with server(student, seconds=0.05) as address:
        assert post(address, {"text": "bill"}).status_code == 504
        student.go.set()
        assert post(address, {"text": "bill"}).status_code == 200


def test_a_broken_student_is_a_clear_500() -> None:
    """Not a traceback."""
    with server(BrokenStudent()) as address:
        answer = post(address, {"text": "bill"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == ModelError.__name__


def test_requests_that_come_together_are_read_together() -> None:
    """While one batch is read the next gathers."""
    student = Held()
    with server(student) as address:
        threads = [threading.Thread(target=post, args=(address, {"text": "bill"})) for _ in range(9)]
        threads[0].start()
        student.reading.wait(10)
        for thread in threads[1:]:
            thread.start()
        while requests.get(f"{address}/health/ready", timeout=20).json()["waiting"] < 8:
            time.sleep(0.01)
        student.go.set()
        for thread in threads:
            thread.join()
    assert student.sizes == [1, 8]


def test_every_kind_is_served_its_own_way() -> None:
    """Spans are found in the text, tags belong to the given tokens (the text is joined from them), pairs are read."""
    spans = kind_for("PER", kind="spans")
    with server(WordStudent(spans, {"Ada": "B-PER"}), spans) as address:
        (answer,) = post(address, {"text": "Ada met Bob"}).json()["answers"]
        assert answer["label"] == [{"start": 0, "end": 3, "label": "PER", "p": 0.8}]
    tags = kind_for("X", "NAME", kind="tokens", data={"tokens": "words"})
    with server(WordStudent(tags, {"Ada": "NAME"}), tags) as address:
        (answer,) = post(address, {"items": [{"tokens": ["Ada", "met"]}]}).json()["answers"]
        assert answer["label"] == ["NAME", "X"]
        assert "does not stand" in post(address, {"items": [{"text": "b", "tokens": ["a"]}]}).json()["error"]["found"]
    pairs = kind_for("bill", "fox", data={"pair": "about"})
    with server(KeywordStudent(), pairs) as address:
        assert post(address, {"items": [{"text": "bill", "pair": "x"}]}).json()["answers"][0]["label"] == "bill"
        assert "the pair is empty" in post(address, {"text": "bill"}).json()["error"]["found"]


def test_told_to_stop_it_finishes_what_is_in_flight() -> None:
    """SIGTERM while a request is read: it is answered, new ones find nobody, and the process ends with code 0."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SLOW_SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        answers: list[requests.Response] = []
        asking = threading.Thread(target=lambda: answers.append(post(address, {"text": "bill"})))
        asking.start()
        assert process.stdout.readline() == "reading\n"
        process.send_signal(signal.SIGTERM)
        asking.join(20)
        assert process.wait(20) == 0
    assert answers[0].json()["answers"][0]["label"] == "bill"
    with pytest.raises(requests.ConnectionError):
        post(address, {"text": "bill"})
