"""A simulated annotator who sends what Argilla's page sends: ten records at a time, more when five are left, one answer each.

The order of requests, offsets and page sizes are those of the page of argilla-server 2.8 (its scripts, and a browser's log): the
page never asks again whether a record that it has fetched is still open.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from argilla_setup.argilla_api import ArgillaApi
from stillhouse.errors import DeskError

PAGE = 10
BUFFER = 5  # so many left: it fetches the next ten
PENDING: list[dict[str, Any]] = [
    {"type": "terms", "scope": {"entity": entity, "property": "status"}, "values": ["pending"]}
    for entity in ("response", "record")
]
HARDEST_FIRST = [{"scope": {"entity": "metadata", "metadata_property": "uncertainty"}, "order": "desc"}]
DOING = "annotating"


@dataclass
class Page:
    """One person's page: `records` are those it has fetched, by number; `open` those of them that are unanswered."""

    api: ArgillaApi
    dataset_id: str
    answer: Callable[[str], dict[str, Any]]  # from the id of an item to the values of a response
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"page": [], "submit": []})
    records: list[dict[str, Any]] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    number: int = 0  # of the record on the screen
    total: int = 0
    acknowledged: dict[str, Any] = field(default_factory=dict)  # what the server said it had, by record
    errors: list[str] = field(default_factory=list)

    def load(self) -> bool:
        """Open the queue at its first record; False when it is empty."""
        self.records, self.open, self.number = [], set(), 0
        self._progress()
        self._fetch()
        return bool(self.records)

    def submit(self) -> bool:
        """Answer the record on the screen and go to the next; False when there is none."""
        record = self.records[self.number]
        values = self.answer(str(record["external_id"]))
        started = time.monotonic()
        try:
            self._call("POST", f"/records/{record['id']}/responses", body={"status": "submitted", "values": values})
            self.acknowledged[record["id"]] = values
        except DeskError as error:
            self.errors.append(error.found)
        self.seconds["submit"].append(time.monotonic() - started)
        self.open.discard(self.number)
        self.number += 1
        if self.number >= len(self.records):
            self._fetch()
        self._progress()
        if self.total != len(self.records) and len(self.records) - self.number - 1 <= BUFFER:
            self._fetch()
        return self.number < len(self.records)

    def _fetch(self) -> None:
        started = time.monotonic()
        found = self._call(
            "POST",
            f"/me/datasets/{self.dataset_id}/records/search",
            body={"query": {}, "filters": {"and": PENDING}, "sort": HARDEST_FIRST},
            include="responses,suggestions",
            offset=len(self.open),  # as many as it has and they are unanswered, so the next ones
            limit=PAGE,
        )
        self.seconds["page"].append(time.monotonic() - started)
        self.total = self.total or found["total"]
        known = {record["id"] for record in self.records}
        for hit in found["items"]:
            if hit["record"]["id"] not in known:
                self.open.add(len(self.records))
                self.records.append(hit["record"])

    def _progress(self) -> None:
        self._call("GET", f"/datasets/{self.dataset_id}/progress")
        self._call("GET", f"/me/datasets/{self.dataset_id}/metrics")

    def _call(self, method: str, path: str, **given: Any) -> Any:
        return self.api.call(method, path, doing=DOING, **given)


def work(page: Page, think_s: Callable[[random.Random], float], seed: int, ends: Callable[[], bool]) -> None:
    """Answer record after record until `ends`; an empty queue is opened again after a while, as a person would."""
    rng, there = random.Random(seed), False
    time.sleep(rng.random() * think_s(rng))
    try:
        while not ends():
            there = page.submit() if there else page.load()
            time.sleep(think_s(rng))
    except DeskError as error:
        page.errors.append(error.found)


def at_once(pages: list[Page], think_s: Callable[[random.Random], float], seed: int, ends: Callable[[], bool]) -> None:
    """All of them in threads of their own, until each has come to its end."""
    threads = [
        threading.Thread(target=work, args=(page, think_s, seed * 1000 + place, ends), daemon=True)
        for place, page in enumerate(pages)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
