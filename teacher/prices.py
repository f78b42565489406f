"""What calls cost: a price table, an estimate before spending, and the guard that keeps a cap."""

import asyncio
import math
import re
import tomllib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kinds.demonstrate import MOST_BYTES
from kinds.registry import kind_of
from prompts.render import fill
from prompts.windows import WINDOW_TOKENS
from stillhouse.errors import BudgetError, InputError
from stillhouse.records import Item
from stillhouse.settings import Teacher
from stillhouse.task import Task
from teacher.addresses import is_local
from teacher.capabilities import Capabilities, plan_for, reply_room
from teacher.wire import Usage, body_of, tokens_about

BUILT_IN = Path(__file__).with_name("prices.toml")
PROMPTS_SAMPLED = 200
# Languages and tokenisers differ: an honest interval lets a token be 3 to 5 bytes, around the heuristic's 4.
BYTES_A_TOKEN_LOW, BYTES_A_TOKEN_HIGH = 3.0, 5.0
TURN_BYTES = 70  # that a request has around the two messages of an example
REPLY_TOKENS = 30  # about what {"label": ..., "confidence": ..., "second": ...} takes
BATCH_SHARE = 0.5  # of the price, for what is handed in as a batch: OpenAI's and Anthropic's list price
REPLY_SHARE = 0.5  # of its room that a reply takes in kinds with more than a label


class Price(BaseModel):
    """US dollars per million tokens. `cached_input_usd` is the price of input that the API read from its cache of prompts;
    without it, such input costs its `Usage.read_share` of `input_usd`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    input_usd: float = Field(ge=0)
    output_usd: float = Field(ge=0)
    cached_input_usd: float | None = Field(default=None, ge=0)

    def cost_usd(self, input_tokens: float, output_tokens: float) -> float:
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / 1e6

    def cost_of(self, usage: Usage) -> float:
        """What one reply cost."""
        if self.cached_input_usd is None:
            return self.cost_usd(usage.priced_input, usage.output_tokens)
        return self.cost_usd(usage.priced_unread, usage.output_tokens) + usage.cache_read * self.cached_input_usd / 1e6


FREE = Price(input_usd=0, output_usd=0)


class PriceTable(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    models: dict[str, Price] = {}


def load_prices(override: Path | None = None) -> PriceTable:
    """The built-in table, with the entries of a file of the user's over it."""
    table = PriceTable.model_validate(tomllib.loads(BUILT_IN.read_text("utf-8")))
    if override is None:
        return table
    try:
        mine = PriceTable.model_validate(tomllib.loads(override.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise InputError(
            f"{override} is no price table",
            expected='[models] with lines such as "my-model" = { input_usd = 0.15, output_usd = 0.60 }',
            found=str(error),
            fix="mend the file, or leave it out",
        ) from error
    return PriceTable(models={**table.models, **mine.models})


def price_of(teacher: Teacher, table: PriceTable) -> Price | None:
    """None: unknown, which is not the same as free. A recording and this machine's own models cost nothing.

    A model of the table asked at a local address has its price all the same: that is a proxy to a paid API.
    """
    if teacher.recording is not None or teacher.local is not None:
        return FREE
    if is_local(teacher.base_url):
        return table.models.get(teacher.model, FREE)
    undated = re.sub(r"-\d{4}-?\d{2}-?\d{2}$", "", teacher.model)
    return table.models.get(teacher.model, table.models.get(undated))


@dataclass(frozen=True, slots=True)
class Estimate:
    """What asking will cost. `cost_usd` and its bounds are None where the price is unknown."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    cost_lo_usd: float | None
    cost_hi_usd: float | None
    method: str

    def sentence(self) -> str:
        calls = f"{self.calls:,} calls, about {self.input_tokens:,} tokens in and {self.output_tokens:,} out"
        if self.cost_usd is None:
            return f"{calls}; price unknown"
        if not self.cost_hi_usd:
            return f"{calls}; free of charge"
        return f"{calls}; about ${self.cost_usd:.2f} [{self.cost_lo_usd:.2f}, {self.cost_hi_usd:.2f}]"


def estimate(
    items: Sequence[Item],
    task: Task,
    teacher: Teacher,
    *,
    rng: np.random.Generator,
    table: PriceTable | None = None,
    known: Capabilities | None = None,
) -> Estimate:
    """From prompts rendered for a random sample of the items; makes no call."""
    kind = kind_of(task)
    plan = plan_for(task, teacher, known, kind.styles())
    common = kind.frame(teacher, plan.style)
    chosen = rng.permutation(len(items))[:PROMPTS_SAMPLED]
    parts = [part for i in chosen for _, part in plan.windows(items[i], teacher.context_tokens or WINDOW_TOKENS)]
    prompts = [fill(common, item) for item in parts]
    sizes = np.array(
        [len(body_of(teacher, prompt, plan.asking(common, item))) for item, prompt in zip(parts, prompts, strict=True)],
        dtype=float,
    )
    # Long texts are asked in windows, which only the rendered sample tells.
    windows_an_item = len(parts) / len(chosen) if len(chosen) else 1.0
    calls = round(len(items) * windows_an_item * plan.calls_an_item)
    mean = float(sizes.mean()) if len(sizes) else 0.0
    # Sampling error of the mean, none if every prompt was rendered.
    spread = float(sizes.std(ddof=1)) if len(sizes) > 1 else 0.0
    unseen = 1.0 - len(chosen) / len(items) if items else 0.0
    margin = 1.96 * spread / math.sqrt(max(len(sizes), 1)) * math.sqrt(unseen)
    replies = calls * plan.n
    room = round(float(np.mean([reply_room(common, part) for part in parts]))) if parts else common.reply_tokens
    if plan.how == "decision":  # nothing is written
        room = 0
    output = round(REPLY_SHARE * room) if common.template else min(REPLY_TOKENS, room)
    if teacher.demonstrations and prompts:
        # Which examples an item will have is not known yet: they are about as long as what is asked about.
        turn = np.mean(
            [min(len(prompt.messages[-1].content.encode("utf-8", "replace")), MOST_BYTES) for prompt in prompts]
        )
        mean += teacher.demonstrations * (float(turn) + 4 * output + TURN_BYTES)
    price = price_of(teacher, table or load_prices())

    share = BATCH_SHARE if teacher.batch else 1.0

    def cost(bytes_a_call: float, bytes_a_token: float, output_tokens: int) -> float | None:
        if price is None:
            return None
        return share * price.cost_usd(calls * bytes_a_call / bytes_a_token, replies * output_tokens)

    return Estimate(
        calls=calls,
        input_tokens=calls * tokens_about(round(mean)),
        output_tokens=replies * output,
        cost_usd=cost(mean, 4.0, output),
        cost_lo_usd=cost(max(mean - margin, 0.0), BYTES_A_TOKEN_HIGH, output // 2),
        cost_hi_usd=cost(mean + margin, BYTES_A_TOKEN_LOW, room),
        method=f"{len(sizes)} prompts rendered, bytes/4 as tokens (3 to 5 in the interval), replies up to their limit",
    )


class BudgetGuard:
    """Keeps what all teachers spend under a cap: the worst case is reserved before a call, the true cost settled after.

    `spent_usd` starts at what earlier runs spent. What may have been charged without a reply (a timeout, a crash) counts
    at its worst case, in `in_doubt_usd`, which starts at that of earlier runs.
    """

    def __init__(self, cap_usd: float | None, spent_usd: float = 0.0, in_doubt_usd: float = 0.0) -> None:
        self.cap_usd = cap_usd
        self.spent_usd = spent_usd
        self.in_doubt_usd = in_doubt_usd
        self.reserved_usd = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def reserve(self, worst_usd: float) -> None:
        """Waits while calls in flight may still give money back; BudgetError when even that would not do."""
        while self.cap_usd is not None and worst_usd > 0 and not self._fits(worst_usd):
            if self.reserved_usd <= 0:
                raise BudgetError(
                    "the budget for the teacher is used up",
                    expected=f"${worst_usd:.4f} for the next call",
                    found=f"${max(self.left_usd, 0):.4f} left of ${self.cap_usd:.2f}",
                    fix="raise budget.teacher_usd and repeat the command; every reply that arrived is kept",
                )
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self.reserved_usd += worst_usd

    def owe(self, worst_usd: float) -> None:
        """Reserve what was asked for in an earlier run, whether it fits or not: it will be charged."""
        self.reserved_usd += worst_usd

    def settle(self, worst_usd: float, cost_usd: float, *, in_doubt: bool = False) -> None:
        """The call is over: what was reserved for it is free again, what it cost is spent."""
        self.reserved_usd -= worst_usd
        if self.reserved_usd < 1e-12:  # what is left of sums and differences of floats
            self.reserved_usd = 0.0
        if in_doubt:
            self.in_doubt_usd += cost_usd
        else:
            self.spent_usd += cost_usd
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)

    @property
    def left_usd(self) -> float:
        return math.inf if self.cap_usd is None else self.cap_usd - self.spent_usd - self.in_doubt_usd

    def _fits(self, worst_usd: float) -> bool:
        return worst_usd <= self.left_usd - self.reserved_usd


def check_price(teacher: Teacher, price: Price | None, guard: BudgetGuard) -> Price:
    """A cap cannot be kept where the price is unknown; without a cap, an unknown price counts as nothing."""
    if price is None and guard.cap_usd is not None:
        raise BudgetError(
            f"teacher {teacher.name}: the price of {teacher.model} is unknown, so the cap cannot be kept",
            expected=f'a line "{teacher.model}" = {{ input_usd = ..., output_usd = ... }} in a price file',
            found=f"a cap of ${guard.cap_usd:.2f} and no price",
            fix="give a price file, or remove budget.teacher_usd",
        )
    return price or FREE
