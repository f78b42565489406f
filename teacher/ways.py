"""The ways each item is put to a teacher: its frame, the examples it is shown, the labels, the order they stand in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kinds.demonstrate import example_of
from kinds.kind import Kind
from prompts.candidates import candidates_frame, with_candidates
from prompts.render import Example, Frame
from stillhouse.records import Demonstration, Item
from stillhouse.settings import Teacher
from teacher.capabilities import Capabilities, Plan, plan_for

OTHER_ORDER = {"as_given": "reversed", "reversed": "as_given"}


@dataclass(frozen=True, slots=True)
class Shown:
    """What single items are shown, by their ids, beside what is common to all: examples, and the only labels that stand
    in the prompt. With `both_orders` every item is asked with the labels in both orders.
    """

    demonstrations: Mapping[str, Sequence[Demonstration]] = field(default_factory=dict)
    candidates: Mapping[str, Sequence[str]] = field(default_factory=dict)
    both_orders: bool = False


NOTHING_MORE = Shown()


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask about an item. `demonstrations` are the ids of the items behind the examples."""

    plan: Plan
    common: Frame
    examples: tuple[Example, ...] = ()
    demonstrations: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()


class Ways:
    """Frames and examples are made once, and shared by all items that need the same."""

    def __init__(self, kind: Kind, teacher: Teacher, known: Capabilities | None, more: Shown = NOTHING_MORE) -> None:
        self._kind, self._more = kind, more
        self._orders = [teacher]
        if more.both_orders:
            self._orders.append(teacher.model_copy(update={"label_order": OTHER_ORDER[teacher.label_order]}))
        self._plans = [plan_for(kind.task, each, known, kind.styles()) for each in self._orders]
        self._frames: dict[tuple[str, bool, bool], Frame] = {}
        self._examples: dict[tuple[str, str], Example | None] = {}

    @property
    def plan(self) -> Plan:
        """What does not depend on the order of labels."""
        return self._plans[0]

    def of(self, item: Item) -> Iterator[Way]:
        """One way, or one for each order of the labels."""
        demonstrations = self._more.demonstrations.get(item.id, ())
        candidates = tuple(self._more.candidates.get(item.id, ())) if self.plan.style == "codes" else ()
        for teacher, plan in zip(self._orders, self._plans, strict=True):
            # Who waits for answers, or has none that fits, asks without: its words must not speak of examples then.
            common = self._frame(teacher, plan, examples=bool(demonstrations), few_labels=bool(candidates))
            if candidates:
                common = with_candidates(common, candidates)
            pairs = [(each.item.id, self._example(common, each, candidates)) for each in demonstrations]
            shown = {item_id: example for item_id, example in pairs if example is not None}
            if demonstrations and not shown:
                common = self._frame(teacher, plan, examples=False, few_labels=bool(candidates))
                common = with_candidates(common, candidates) if candidates else common
            yield Way(plan, common, tuple(shown.values()), tuple(shown), candidates)

    def _frame(self, teacher: Teacher, plan: Plan, *, examples: bool, few_labels: bool) -> Frame:
        key = (teacher.label_order, examples, few_labels)
        if key not in self._frames:
            worded = teacher.model_copy(update={"demonstrations": int(examples)})
            self._frames[key] = (
                candidates_frame(self._kind.task, worded) if few_labels else self._kind.frame(worded, plan.style)
            )
        return self._frames[key]

    def _example(self, common: Frame, shown: Demonstration, candidates: Sequence[str]) -> Example | None:
        if candidates:  # the codes are the item's own
            return example_of(self._kind, common, shown)
        key = (common.prompt_id, shown.item.id)
        if key not in self._examples:
            self._examples[key] = example_of(self._kind, common, shown)
        return self._examples[key]
