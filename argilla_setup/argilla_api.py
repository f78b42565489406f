"""One door to an Argilla server's REST API: every failure behind it comes out as a DeskError."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests

from stillhouse.errors import DeskError

PAGE = 500
_TIMEOUTS_S = (10.0, 120.0)  # to connect, to answer
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_QUOTED_CHARS = 400


def _session() -> requests.Session:
    return requests.Session()


@dataclass(frozen=True)
class ArgillaApi:
    """A server and a key. `call` speaks of `doing` in its errors, so a person knows what was cut short."""

    url: str
    api_key: str = field(repr=False)
    session: requests.Session = field(default_factory=_session, repr=False, compare=False)

    def call(self, method: str, path: str, *, doing: str, body: Any = None, **query: str | int) -> Any:
        """The JSON of the reply, or None where there is none."""
        self.session.trust_env = urlsplit(self.url).hostname not in _LOOPBACK  # no proxy leads to this machine
        headers = {"X-Argilla-Api-Key": self.api_key}
        try:
            reply = self.session.request(
                method, f"{self.url}/api/v1{path}", json=body, params=query, headers=headers, timeout=_TIMEOUTS_S
            )
        except requests.RequestException as error:
            raise self._unreachable(doing, error) from error
        if not reply.ok:
            raise self._refused(doing, reply)
        try:
            return reply.json() if reply.content else None
        except ValueError as error:
            raise DeskError(
                f"{self.url} is not an Argilla server",
                expected=f"JSON from {self.url}/api/v1{path}",
                found=f"{reply.headers.get('Content-Type', 'no content type')}",
                fix="give the address of the server itself, such as http://127.0.0.1:6900",
            ) from error

    def records(self, dataset_id: str, *, doing: str, include: str = "") -> Iterator[dict[str, Any]]:
        """All records of a dataset, page by page, straight from the server's database (no search index between)."""
        query = {"include": include} if include else {}
        seen: set[str] = set()
        offset = 0
        while True:
            page = self.call("GET", f"/datasets/{dataset_id}/records", doing=doing, offset=offset, limit=PAGE, **query)[
                "items"
            ]
            for record in page:
                if record["id"] not in seen:  # pages shift while others push
                    seen.add(record["id"])
                    yield record
            if len(page) < PAGE:
                return
            offset += PAGE

    def _unreachable(self, doing: str, error: requests.RequestException) -> DeskError:
        slow = isinstance(error, requests.Timeout)
        return DeskError(
            f"Argilla does not answer (while {doing})",
            expected=f"a running Argilla server at {self.url}",
            found=f"no answer within {_TIMEOUTS_S[1]:.0f} s" if slow else f"{type(error).__name__}: no connection",
            fix="start it (the embedded one with: stillhouse argilla up) and repeat the command: nothing is lost",
        )

    def _refused(self, doing: str, reply: requests.Response) -> DeskError:
        expected, fix = {
            401: ("a valid API key", "take the key from the settings page of your user in Argilla"),
            403: (
                "the API key of an owner",
                "use an owner's key: it sets up the dataset and reads everybody's answers",
            ),
            404: ("an address of Argilla's API", f"check that {self.url} is an Argilla server, version 2.8"),
        }.get(reply.status_code, ("success", "read Argilla's log, mend what it says and repeat the command"))
        detail = " ".join(reply.text.split())[:_QUOTED_CHARS]
        return DeskError(
            f"Argilla at {self.url} refused (while {doing})",
            expected=expected,
            found=f"HTTP {reply.status_code}: {detail}" if detail else f"HTTP {reply.status_code}",
            fix=fix + (": what is already pushed or answered stays" if reply.status_code >= 500 else ""),
        )
