"""Pseudonyms: what a teacher is sent has surrogates in it, and what it says of them is brought back to the originals."""

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kinds.words import word_spans
from prompts.parse import Reading
from stillhouse.errors import InputError, StillhouseError
from stillhouse.ledger import BatchNote, Ledger, StoredReply
from stillhouse.records import Demonstration, Item, Value, Vote
from stillhouse.settings import Privacy, Teacher
from stillhouse.task import Task
from teacher.addresses import leaves_the_machine
from teacher.privacy_find import Entity, Finder
from teacher.privacy_surrogates import Surrogates, pieces_of
from teacher.privacy_table import Form, PseudonymTable
from teacher.privacy_text import Rewritten
from teacher.privacy_values import value_back, value_to

RULES = "1"  # another number when something is found or shaped in another way, so that forms are made anew


@dataclass(frozen=True)
class Hidden:
    """Items as they are sent, and the way back. Without forms, nothing is hidden."""

    task: Task
    items: tuple[Item, ...]
    forms: Mapping[str, Form] = field(default_factory=dict)

    def vote(self, vote: Vote) -> Vote:
        value = self._back(vote.item_id, vote.value)
        return vote if value is vote.value else replace(vote, value=value)

    def reading(self, item_id: str, reading: Reading) -> Reading:
        value = self._back(item_id, reading.value)
        return reading if value is reading.value else replace(reading, value=value)

    def ledger(self, ledger: Ledger) -> Ledger:
        """Replies are kept as they are, votes as they are of the original texts."""
        return _VotesBrought(ledger, self) if self.forms else ledger

    def _back(self, item_id: str, value: Value | None) -> Value | None:
        form = self.forms.get(item_id)
        return value if form is None or value is None else value_back(self.task, form, value)


# Items and the name of their teacher to items that may be sent; see `Pseudonyms.forms`.
FormsOf = Callable[[Sequence[Item], str], Mapping[str, Form]]


@dataclass
class Pseudonyms:
    """One project's: `table` is where they are kept, `finder` finds what to hide, `found_by` names its detector of names."""

    settings: Privacy
    table: PseudonymTable
    finder: Finder
    found_by: str = ""
    rng: random.Random = field(default_factory=random.SystemRandom)
    _surrogates: Surrogates | None = field(default=None, init=False)

    def forms(self, items: Sequence[Item], source: str) -> dict[str, Form]:
        """The form of every item, by its id, kept before it is returned. The same item has the same form for every
        teacher, and for good, unless the settings or its text change.

        Raises InputError for items with pictures, unless they are allowed.
        """
        self._check_images(items)
        rules = self._rules
        known = self.table.forms(items)
        alike = {item_id: form for (item_id, _), form in known.items() if form.rules == rules}
        new = [item for item in items if item.id not in alike]
        found = list(self.finder.find(new))
        if not new and all(known.get((item_id, source)) == form for item_id, form in alike.items()):
            return alike
        with self.table.turn():
            surrogates = self._all_surrogates(avoid=_words(new))
            for item, entities in zip(new, found, strict=True):
                alike[item.id] = Form(*_rewritten(item, entities, surrogates), rules)
            unkept = {
                (item_id, source): form for item_id, form in alike.items() if known.get((item_id, source)) != form
            }
            self.table.keep(surrogates.fresh, unkept)
            surrogates.fresh.clear()
        return alike

    def _all_surrogates(self, avoid: frozenset[str]) -> Surrogates:
        known = self.table.surrogates()
        if self._surrogates is None or self._surrogates.known is not known:
            self._surrogates = Surrogates(self.rng, known)
        self._surrogates.avoid = avoid
        return self._surrogates

    @property
    def _rules(self) -> str:
        parts = [RULES, self.found_by, self.settings.model_dump_json(), *self.finder.known_names]
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]

    def _check_images(self, items: Sequence[Item]) -> None:
        pictured = [item.id for item in items if item.image]
        if pictured and not self.settings.allow_images:
            raise InputError(
                "[privacy] is on, and nothing can be hidden in a picture",
                expected="items without data.image",
                found=f"{len(pictured):,} with one, such as {pictured[0]!r}",
                fix="leave data.image out, or set privacy.allow_images = true if the pictures may leave this machine",
            )


@dataclass(frozen=True)
class AsAsked:
    """The forms that items were sent in, whatever the settings are now; what was sent as it is has none."""

    table: PseudonymTable

    def forms(self, items: Sequence[Item], source: str) -> dict[str, Form]:
        return {item_id: form for (item_id, asked), form in self.table.forms(items).items() if asked == source}


def hide(items: Sequence[Item], task: Task, teacher: Teacher, forms_of: FormsOf | None) -> Hidden:
    """The items as this teacher may see them. What stays on this machine, a recording or a model of its own, sees all.

    Raises StillhouseError where the task wants privacy and nobody gives forms.
    """
    if not leaves_the_machine(teacher):
        return Hidden(task, tuple(items))
    if forms_of is None:
        if task.privacy is None:
            return Hidden(task, tuple(items))
        raise StillhouseError(
            f"teacher {teacher.name}: [privacy] is on, but the texts have no pseudonyms",
            expected="pseudonyms for every text that is sent",
            found="none: nothing was sent",
            fix="ask through `stillhouse run` or `trial`, or give `ask` the task's pseudonyms",
        )
    forms = {item_id: form for item_id, form in forms_of(items, teacher.name).items() if _changes(form)}
    return Hidden(task, tuple(_sent(item, forms.get(item.id)) for item in items), forms)


def hide_examples(
    examples: Mapping[str, Sequence[Demonstration]], task: Task, teacher: Teacher, forms_of: FormsOf | None
) -> Mapping[str, Sequence[Demonstration]]:
    """Demonstrations as this teacher may see them: the items, and what people say of them."""
    items = list({each.item.id: each.item for shown in examples.values() for each in shown}.values())
    hidden = hide(items, task, teacher, forms_of) if items else None
    if hidden is None or not hidden.forms:
        return examples
    sent = {item.id: item for item in hidden.items}
    return {
        item_id: [
            Demonstration(sent[each.item.id], value_to(task, hidden.forms[each.item.id], each.value))
            if each.item.id in hidden.forms
            else each
            for each in shown
        ]
        for item_id, shown in examples.items()
    }


@dataclass(frozen=True, slots=True)
class _VotesBrought:
    """A ledger that is given votes on hidden texts and keeps them on the original ones."""

    inner: Ledger
    hidden: Hidden

    def known(self, request_keys: Sequence[str]) -> dict[str, StoredReply]:
        return self.inner.known(request_keys)

    def sending(self, request_key: str, item_id: str, source: str, worst_usd: float = 0.0) -> None:
        self.inner.sending(request_key, item_id, source, worst_usd)

    def arrived(self, reply: StoredReply) -> None:
        self.inner.arrived(reply)

    def failed(self, request_key: str) -> None:
        self.inner.failed(request_key)

    def record_votes(self, votes: Iterable[Vote]) -> None:
        self.inner.record_votes(self.hidden.vote(vote) for vote in votes)

    def note_batch(self, note: BatchNote) -> None:
        self.inner.note_batch(note)

    def batches(self, source: str) -> list[BatchNote]:
        return self.inner.batches(source)


def _changes(form: Form) -> bool:
    return bool(form.text.pieces or form.pair.pieces)


def _sent(item: Item, form: Form | None) -> Item:
    if form is None:
        return item
    return replace(
        item,
        text=form.text.text,
        pair=form.pair.text,
        tokens=item.tokens and tuple(form.text.to(*token) for token in item.tokens),
        focus=item.focus and form.text.to(*item.focus),
        metadata={},
    )


def _rewritten(
    item: Item, found: tuple[list[Entity], list[Entity]], surrogates: Surrogates
) -> tuple[Rewritten, Rewritten]:
    given = [*(item.tokens or ()), *([item.focus] if item.focus else [])]
    cuts = sorted({edge for span in given for edge in span})
    made = []
    for text, entities, edges in ((item.text, found[0], cuts), (item.pair, found[1], [])):
        pieces = [piece for entity in entities for piece in pieces_of(text, entity, edges, surrogates)]
        made.append(Rewritten(text, tuple(pieces), tuple((entity.start, entity.end) for entity in entities)))
    return made[0], made[1]


def _words(items: Sequence[Item]) -> frozenset[str]:
    """Every word of the texts, in lower case."""
    return frozenset(
        text[start:end].casefold()
        for item in items
        for text in (item.text, item.pair)
        for start, end in word_spans(text).tolist()
    )
