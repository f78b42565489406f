"""The seam between whoever pays for replies and whoever keeps them: a reply is kept before it is parsed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from stillhouse.records import Vote


@dataclass(frozen=True, slots=True)
class StoredReply:
    """One HTTP reply as it arrived. `status` is the HTTP status; `body` the raw bytes; costs in US dollars."""

    request_key: str
    item_id: str
    source: str
    status: int
    body: bytes
    input_tokens: int
    output_tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class BatchNote:
    """Requests handed in together: noted before, so that after a crash nothing is handed in, and paid for, twice.

    `name` is ours, `batch_id` the API's ("" until it is known); `asked` are pairs of request key and item id; `noted_at_s`
    is in seconds since 1970; `worst_usd` is the most that all may cost.
    """

    name: str
    source: str
    endpoint: str
    asked: tuple[tuple[str, str], ...]
    worst_usd: float
    noted_at_s: int
    state: Literal["handing_in", "handed_in", "done"] = "handing_in"
    batch_id: str = ""


class Ledger(Protocol):
    """Implemented by stillhouse.store.Store (SQLite) and by MemoryLedger.

    What is noted is kept once the call returns: no end of this process loses it, and nothing can be cancelled halfway.
    """

    def known(self, request_keys: Sequence[str]) -> dict[str, StoredReply]:
        """Replies that already arrived, by request key: they are never paid for twice."""
        ...

    def sending(self, request_key: str, item_id: str, source: str, worst_usd: float = 0.0) -> None:
        """A request is about to be sent; without an `arrived` after a crash it is in doubt.

        Sent again without `failed` or `arrived` in between, the earlier try stays in doubt with its `worst_usd`.
        """
        ...

    def arrived(self, reply: StoredReply) -> None:
        """A reply is here, and is kept."""
        ...

    def failed(self, request_key: str) -> None:
        """The last try was answered with an error that costs nothing (401, 429, 5xx): no longer in doubt."""
        ...

    def record_votes(self, votes: Iterable[Vote]) -> None:
        """Keep parsed votes; a vote of the same item and source replaces the older one."""
        ...

    def note_batch(self, note: BatchNote) -> None:
        """On disk once it returns; replaces what was noted under the name."""
        ...

    def batches(self, source: str) -> list[BatchNote]:
        """All batches of a source, done or not, oldest first."""
        ...


class MemoryLedger:
    """A ledger that forgets at exit: for trials and tests of the teacher alone."""

    def __init__(self) -> None:
        self.replies: dict[str, StoredReply] = {}
        self.in_doubt: dict[str, tuple[str, str]] = {}
        self.votes: dict[tuple[str, str], Vote] = {}
        self.noted: dict[str, BatchNote] = {}

    def known(self, request_keys: Sequence[str]) -> dict[str, StoredReply]:
        return {key: self.replies[key] for key in request_keys if key in self.replies}

    def sending(self, request_key: str, item_id: str, source: str, worst_usd: float = 0.0) -> None:
        del worst_usd
        self.in_doubt[request_key] = (item_id, source)

    def arrived(self, reply: StoredReply) -> None:
        self.replies[reply.request_key] = reply
        self.in_doubt.pop(reply.request_key, None)

    def failed(self, request_key: str) -> None:
        self.in_doubt.pop(request_key, None)

    def record_votes(self, votes: Iterable[Vote]) -> None:
        for vote in votes:
            self.votes[vote.item_id, vote.source] = vote

    def note_batch(self, note: BatchNote) -> None:
        self.noted[note.name] = note

    def batches(self, source: str) -> list[BatchNote]:
        return sorted((note for note in self.noted.values() if note.source == source), key=_age)


def _age(note: BatchNote) -> tuple[int, str]:
    return note.noted_at_s, note.name
