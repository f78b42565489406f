"""The seam between whoever pays for replies and whoever keeps them: a reply is durable before it is parsed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

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


class Ledger(Protocol):
    """Implemented by stillhouse.store.Store (SQLite, group commit) and by MemoryLedger."""

    def known(self, request_keys: Sequence[str]) -> dict[str, StoredReply]:
        """Replies that already arrived, by request key: they are never paid for twice."""
        ...

    async def sending(self, request_key: str, item_id: str, source: str) -> None:
        """Durable note that a request is about to be sent; without an `arrived` after a crash it is in doubt."""
        ...

    async def arrived(self, reply: StoredReply) -> None:
        """Returns once the reply is on disk."""
        ...

    async def failed(self, request_key: str) -> None:
        """The request was answered with an error that costs nothing (401, 429, 5xx): no longer in doubt."""
        ...

    def record_votes(self, votes: Iterable[Vote]) -> None:
        """Keep parsed votes; a vote of the same item and source replaces the older one."""
        ...


class MemoryLedger:
    """A ledger that forgets at exit: for trials and tests of the teacher alone."""

    def __init__(self) -> None:
        self.replies: dict[str, StoredReply] = {}
        self.in_doubt: dict[str, tuple[str, str]] = {}
        self.votes: dict[tuple[str, str], Vote] = {}

    def known(self, request_keys: Sequence[str]) -> dict[str, StoredReply]:
        return {key: self.replies[key] for key in request_keys if key in self.replies}

    async def sending(self, request_key: str, item_id: str, source: str) -> None:
        self.in_doubt[request_key] = (item_id, source)

    async def arrived(self, reply: StoredReply) -> None:
        self.replies[reply.request_key] = reply
        self.in_doubt.pop(reply.request_key, None)

    async def failed(self, request_key: str) -> None:
        self.in_doubt.pop(request_key, None)

    def record_votes(self, votes: Iterable[Vote]) -> None:
        for vote in votes:
            self.votes[vote.item_id, vote.source] = vote
