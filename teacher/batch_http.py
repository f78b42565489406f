"""HTTP for batches: repeated where that is safe, and honest where nobody knows whether a request was carried out."""

from collections.abc import Callable
from dataclasses import dataclass

from stillhouse.errors import StillhouseError
from teacher.batch_apis import BatchApi, GoneError, Standing
from teacher.calls import Calls, said_by
from teacher.transport import DisconnectedError, TimedOutError, TransportError, get, post, redacted
from teacher.verdicts import Verdict, judge

TRANSFER_TIMEOUT_S = 600.0  # of a file of requests or replies


READS_A_TRY = 10


class UnsureError(Exception):
    """A request that may or may not have been carried out."""


async def pause(calls: Calls, times: int, wait_s: float | None = None) -> None:
    """Longer each of the `times`, and at least as long as the API asks for."""
    await calls.flow.pause(max(calls.patience.backoff_s(times, float(calls.rng.random())), wait_s or 0.0))


@dataclass(slots=True)
class BatchHttp:
    """HTTP for one batch: what is safe to repeat is repeated, up to max_tries in a row; `told` hears how far it is."""

    calls: Calls
    api: BatchApi
    told: Callable[[Standing], None]

    async def get(self, path: str) -> bytes:
        """Raises GoneError for 404."""
        return await self._asked(path, None, None)

    async def post(self, path: str, body: bytes, kind: str | None = None) -> bytes:
        """Raises UnsureError where it may have been carried out without a reply."""
        return await self._asked(path, body, kind)

    async def ended(self, batch_id: str) -> Standing:
        asked = 0
        while True:
            standing = await self.api.standing(self, batch_id)
            self.told(standing)
            if standing.ended:
                return standing
            await pause(self.calls, asked)
            asked += 1

    async def _asked(self, path: str, body: bytes | None, kind: str | None) -> bytes:
        calls = self.calls
        url = calls.teacher.base_url.rstrip("/") + path
        timeout_s = (
            max(TRANSFER_TIMEOUT_S, calls.teacher.timeout_s)
            if body or path.endswith(("/content", "/results"))
            else None
        )
        # What was handed in takes up to a day: an outage of minutes is sat out.
        most = calls.teacher.max_tries * (READS_A_TRY if body is None else 1)
        said = ""
        for tried in range(most):
            wait_s = None
            try:
                if body is None:
                    response = await get(calls.session, url, timeout_s=timeout_s)
                else:
                    response = await post(calls.session, url, body, kind=kind, timeout_s=timeout_s)
            except TransportError as error:
                said = said_by(error)
                if body is not None and isinstance(error, DisconnectedError | TimedOutError):
                    raise UnsureError(said) from error
            else:
                verdict = judge(response)
                if 200 <= response.status < 300:
                    return response.body
                if (
                    response.status == 404 and body is None and "?" not in path
                ):  # a list that is not there is no such thing
                    raise GoneError(redacted(verdict.said, calls.teacher))
                said, wait_s = self._may_pass(verdict), verdict.wait_s
                if body is not None and verdict.kind == "again":
                    raise UnsureError(said)
            await pause(calls, tried, wait_s)
        raise calls.gives_up(f"{most} tries failed, the last with {said}", "repeat the command later")

    def _may_pass(self, verdict: Verdict) -> str:
        """What was said, if it is worth another try."""
        calls = self.calls
        said = redacted(verdict.said, calls.teacher)
        error: StillhouseError | None = None
        if verdict.kind == "auth":
            error = calls.no_entry(said)
        elif verdict.kind not in {"slow", "again"}:
            error = calls.gives_up(said, "leave batch out for this teacher if its API has no batches")
        elif verdict.wait_s is not None and verdict.wait_s > calls.patience.longest_wait_s:
            error = calls.gives_up(f"asked to wait {verdict.wait_s:.0f} s: {said}", "repeat the command later")
        if error is not None:
            raise error
        return said
