"""The records that pass between the stations: items, votes, answers, predictions, picks, askings, intervals."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Origin = Literal["decision", "logprob", "sample", "verbalised", "likelihood"]
VoteStatus = Literal["ok", "repaired", "refused", "truncated", "unreadable"]
# How a person is asked: for a label; for yes or no to a confident suggestion; for a second opinion, without seeing the
# first; to decide between opinions that are shown.
Way = Literal["label", "verify", "second", "adjudicate"]
MetadataValue = str | int | float
CharSpan = tuple[int, int]  # start and end (exclusive) in characters of a text
# What an item is labelled with, as JSON. single_label: a name. multi_label: a list of names in the task's order.
# spans, roles: a list of {"start", "end", "label"} in order. tokens: a list of tags, one for each given token.
# fields: an object that has every field: a text, a list of texts where there may be many, or null where missing.
Value = str | list[Any] | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One text of the pool, known by a stable id (never by a position).

    `pair` is a second text the question is about (a target, a premise). `tokens` are the given tokens as character
    spans of the text, where the task has them; `focus` is the span a question is about (a predicate). `image` is the
    address of a picture for a teacher that can see.
    """

    id: str
    text: str
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    pair: str = ""
    tokens: tuple[CharSpan, ...] | None = None
    focus: CharSpan | None = None
    image: str = ""


@dataclass(frozen=True, slots=True)
class Vote:
    """What one teacher call said of one item.

    single_label: `probs` follow the order of the task's labels; what the reply left open is `residual`, so that
    sum(probs) + residual = 1. multi_label: `probs` are each label's chance to apply, residual is 0. All other kinds:
    `value` is what was said, as a Value whose spans, tags or fields may carry their probability "p"; probs are empty.
    A vote that is not ok or repaired abstains: probs are all 0, residual is 1, value is None.
    `source` names teacher and prompt variant (one column of the consensus). `demonstrations` are the ids of the items that
    the prompt showed as examples, `candidates` the labels it showed where it did not show all.
    """

    item_id: str
    source: str
    probs: tuple[float, ...]
    residual: float
    origin: Origin
    status: VoteStatus
    prompt_id: str
    request_key: str
    cost_usd: float
    value: Value | None = None
    findings: Mapping[str, int] = field(default_factory=dict)  # what did not fit, by name: unaligned, ambiguous ...
    demonstrations: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    guidelines: str = ""  # the version that the prompt held (Task.guidelines_id); "" where it is not known

    @property
    def usable(self) -> bool:
        return self.status in {"ok", "repaired"}


@dataclass(frozen=True, slots=True)
class Demonstration:
    """An item that a prompt shows as an example, with what people say of it."""

    item: Item
    value: Value


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person said of one item. `label` is None where the person passed (discarded the item).

    `blind` is true where no suggestion was shown. `rehearsed` is true where no person was there: a simulated
    expert answered from known labels. `answered_at` is ISO 8601 in UTC. `way` is how the person was asked, `suggested`
    what they were shown, if anything, `guidelines` the version they could read (Task.guidelines_id), "" if not known.
    `seconds` is the time between this submission and what the person did before it, where that can be told.
    """

    item_id: str
    annotator: str
    label: Value | None
    blind: bool
    rehearsed: bool
    answered_at: str
    seconds: float | None = None
    way: Way = "label"
    suggested: Value | None = None
    guidelines: str = ""


@dataclass(frozen=True, slots=True)
class Pick:
    """Why an item was chosen for people in a round.

    `inclusion_probability` is the chance that this item was in the uniformly random share of its batch, given what
    was unanswered then; None for a targeted pick, whose choice was not randomised.
    """

    item_id: str
    round: int
    reason: str
    score: float
    inclusion_probability: float | None
    blind: bool


@dataclass(frozen=True, slots=True)
class Asking:
    """A picked item asked in another way than for a label, or for a label after all; `round` is that of its pick.

    Stored before anybody sees it, so that what was once asked is known whatever the answers have become. `reason` is in
    words; `score` is larger where the answer matters more. `assigned` and `not_by` say who is to answer and who must not.
    """

    item_id: str
    way: Way
    round: int
    reason: str
    score: float
    assigned: tuple[str, ...] = ()
    not_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the desk shows a person as a starting point: a value, how sure (0 to 1), and who says so.

    `doubt` names the part that is least sure, in words ("app 'GitLab'"); `part_scores` are those of a value's spans,
    in their order.
    """

    label: Value
    score: float
    agent: str
    doubt: str = ""
    part_scores: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured value with its interval; `on` names the items it was measured on and `method` how."""

    value: float
    lo: float
    hi: float
    n: int
    on: str
    method: str

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    def percent(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.lo:.1f}, {100 * self.hi:.1f}]"


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """What a finished round left behind."""

    round: int
    human_labels: int
    student_dir: str
    metrics: Mapping[str, object]
    cost_usd: float
    seconds: float
    decision: str
    reason: str
