"""What an HTTP response means for the run: keep it, try again, give the item up, or stop."""

import email.utils
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from teacher.transport import Response
from teacher.wire import ApiProblem, read_problem

# keep: a reply to be read (also "too long" and "filtered": asked again, they would say the same)
# slow: a rate limit · again: the server's fault, for now · no_recording, rejected: only this item
# auth, stop: no item can be answered
Kind = Literal["keep", "slow", "again", "no_recording", "rejected", "auth", "stop"]

_TOO_LONG = re.compile(
    r"context.?(length|window|size)|maximum.{0,20}(context|tokens)|too many tokens|prompt is too long|input.{0,20}too long",
    re.IGNORECASE,
)
_OUT_OF_CREDIT = re.compile(r"credit balance is too low", re.IGNORECASE)
_FILTERED = re.compile(r"content.?(filter|policy|management)", re.IGNORECASE)


STATUS_OF_ERROR = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "no_recording": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`status` is the HTTP status it was read from, for whoever reports it."""

    kind: Kind
    problem: ApiProblem
    wait_s: float | None = None
    status: int = 0

    @property
    def said(self) -> str:
        """The status and what the API said, for an error's text."""
        return f"HTTP {self.status}: {self.problem.message or self.problem.code or 'no text'}"


def judge(response: Response) -> Verdict:
    if 200 <= response.status < 300:
        return Verdict("keep", ApiProblem("", "", ""), status=response.status)
    problem = read_problem(response.body)
    return Verdict(_kind(response, problem), problem, asked_wait_s(response.headers), response.status)


def is_too_long(status: int, problem: ApiProblem) -> bool:
    if status == 413:
        return True
    return status == 400 and bool(_TOO_LONG.search(f"{problem.code} {problem.message}"))


def is_filtered(status: int, problem: ApiProblem) -> bool:
    return status == 400 and bool(_FILTERED.search(f"{problem.code} {problem.message}"))


def asked_status(error_type: str) -> int:
    """The HTTP status of an error of Anthropic's that comes without one, as in the results of a batch."""
    return STATUS_OF_ERROR.get(error_type, 500)


def _kind(response: Response, problem: ApiProblem) -> Kind:
    status = response.status
    named: dict[int, Kind] = {
        401: "auth",
        403: "auth",
        404: "no_recording" if problem.code == "no_recording" else "stop",
        # Out of credit looks like a rate limit, but waiting does not help.
        402: "stop",
        429: "stop" if problem.code == "insufficient_quota" else "slow",
        529: "slow",  # overloaded, says Anthropic: no fault of ours, but it wants fewer requests all the same
    }
    if status == 400 and _OUT_OF_CREDIT.search(problem.message):
        return "stop"
    if status in named:
        return named[status]
    if is_too_long(status, problem) or is_filtered(status, problem):
        return "keep"
    wanted = response.headers.get("x-should-retry", "").lower()
    if wanted != "false" and (status in {408, 409, 425} or status >= 500 or wanted == "true"):
        return "again"
    return "rejected" if status >= 400 else "stop"


def asked_wait_s(headers: Mapping[str, str], *, now_s: float | None = None) -> float | None:
    """How long the server asks us to wait: retry-after-ms, or Retry-After as seconds or as a date."""
    for name, scale in (("retry-after-ms", 0.001), ("Retry-After", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            return float(value) * scale
    try:
        date = email.utils.parsedate_to_datetime(headers.get("Retry-After", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, date.timestamp() - (time.time() if now_s is None else now_s))
