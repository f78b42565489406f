"""What every wire has in common: what is asked for, what was said, and JSON read without trusting it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

MaxTokensField = Literal["max_tokens", "max_completion_tokens"]
# What a cache of prompts costs beside a token sent: Anthropic's list prices.
CACHE_WRITE, CACHE_READ = 1.25, 0.1


@dataclass(frozen=True, slots=True)
class Decide:
    """What decision endpoints are asked of an item: which of the options, or of `many` labels whether each applies.

    `options` are names with their descriptions.
    """

    instructions: str
    options: tuple[tuple[str, str], ...]
    many: bool


@dataclass(frozen=True, slots=True)
class Asking:
    """What a request asks for beside its messages; only what this API is known to take."""

    max_tokens: int
    max_tokens_field: MaxTokensField = "max_tokens"
    temperature: float | None = 0.0
    n: int = 1
    top_logprobs: int = 0
    schema: Mapping[str, object] | None = None
    decide: Decide | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer of a reply. `tokens` holds each token said with the logprobs of its alternatives.

    `finish_reason` is in OpenAI's words, whoever said it: "length" is a reply that was cut off. `decided` has the
    probability of each option, where a decision endpoint was asked.
    """

    content: str
    finish_reason: str
    refused: bool
    tokens: tuple[tuple[str, Mapping[str, float]], ...] = ()
    decided: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply; `input_tokens` has those written to and read from a cache too. One that was read costs
    `read_share` of one that was sent, where the price table has no price of its own for it.
    """

    input_tokens: int
    output_tokens: int
    stated: bool  # False: estimated here, because the reply did not say
    cache_written: int = 0
    cache_read: int = 0
    read_share: float = 1.0

    @property
    def priced_unread(self) -> float:
        """Input tokens but those read from a cache, in tokens at the full price."""
        plain = self.input_tokens - self.cache_written - self.cache_read
        return plain + CACHE_WRITE * self.cache_written

    @property
    def priced_input(self) -> float:
        """Input tokens as they are charged, in tokens at the full price."""
        return self.priced_unread + self.read_share * self.cache_read


def loaded(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def token_count(value: object) -> int | None:
    """None for what cannot be a number of tokens."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def tokens_about(byte_count: int) -> int:
    """The bytes/4 heuristic: right within about a third for English, and nothing more than that."""
    return (byte_count + 3) // 4
