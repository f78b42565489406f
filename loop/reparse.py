"""Every stored reply read again with the present parser: what a better parser finds costs no call."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from kinds.kind import Kind
from loop.privacy import forms_as_asked
from loop.progress import Display, Step
from loop.project import Project, project_of, read_gold, same_task
from loop.teach import BOTH_ORDERS, CAPABILITIES, shown_again
from prompts.candidates import candidates_frame, with_candidates
from prompts.parse import Reading
from prompts.render import Frame
from stillhouse.errors import TeacherAuthError
from stillhouse.label_mapping import CARRIED
from stillhouse.ledger import BatchNote, StoredReply
from stillhouse.records import Demonstration, Item, Vote
from stillhouse.settings import Teacher
from stillhouse.store import ReadVote, Store
from teacher.calls import NoRecordingError
from teacher.capabilities import memory_key
from teacher.engine import ask_sync
from teacher.prices import BudgetGuard
from teacher.privacy import FormsOf, hide
from teacher.privacy_table import Form
from teacher.reading import read_replies

VOTES_A_BLOCK = 1_000
NOWHERE = "http://127.0.0.1:9/v1"  # nothing is sent there

# Why a vote was left as it was.
NO_REPLY = "no stored reply"
NO_ITEM = "item unknown"
OTHER_PROMPT = "asked with a prompt that is no more"
NO_KEY = "asked in several calls, which cannot be told apart without the teacher's key in the environment"
NOT_PROBED = "asked in several calls, of a teacher that nobody has probed"
OTHER_TEACHER = "teacher no longer in the task"
OTHER_LABELS = "said of labels that have changed since"


@dataclass(slots=True)
class Reparsed:
    """What reading again changed. `status` counts "unreadable -> ok" and the like, `value` votes of the same status
    that now say something else, `left` votes that were not read again, by reason.
    """

    votes: int = 0
    read: int = 0
    value: int = 0
    status: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    @property
    def changed(self) -> int:
        return self.value + self.status.total()

    def to_json(self) -> dict[str, Any]:
        return {
            "votes": self.votes,
            "read": self.read,
            "changed": self.changed,
            "by_status": dict(sorted(self.status.items())),
            "by_value": self.value,
            "left": dict(sorted(self.left.items())),
        }

    def text(self) -> str:
        lines = [f"{self.votes:,} votes, {self.read:,} of them read again, {self.changed:,} changed; no call was made"]
        lines += [f"  {count:,} {change}" for change, count in sorted(self.status.items())]
        lines += [f"  {self.value:,} say something else"] if self.value else []
        lines += [f"  {count:,} left as they were: {reason}" for reason, count in sorted(self.left.items())]
        return "\n".join(lines)


class LedgerAlone:
    """The replies of a store, and no way to send anything: an item that would need a call gets no vote."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def known(self, request_keys: Sequence[str]) -> dict[str, StoredReply]:
        return self._store.known(request_keys)

    def sending(self, request_key: str, item_id: str, source: str, worst_usd: float = 0.0) -> None:  # noqa: ARG002
        raise NoRecordingError(f"{item_id} is not in the ledger")

    def arrived(self, reply: StoredReply) -> None:
        raise AssertionError(f"nothing was sent, but {reply.request_key} arrived")

    def failed(self, request_key: str) -> None:
        """Nothing was sent, so there is nothing to take back."""

    def note_batch(self, note: BatchNote) -> None:
        raise NoRecordingError(f"batch {note.name} is not handed in")

    def batches(self, source: str) -> list[BatchNote]:
        return self._store.batches(source)

    def record_votes(self, votes: Iterable[Vote]) -> None:
        """The votes that `ask` returns are compared before they are kept."""


def reparse(folder: Path, *, quiet: bool = True) -> Reparsed:
    """Read all stored replies of a run again and replace the votes that change, in one transaction.

    Raises StoreError where there is no run, where another command holds it, or where the task's labels have changed.
    A run that goes on afterwards takes the new votes as it took the old ones.
    """
    project = project_of(folder)
    tally = Reparsed()
    display = Display(quiet=quiet)
    # Two connections: one reads on while the other holds the transaction. Nobody else writes, as the store is locked.
    with Store(project.folder) as store, Store(project.folder, read_only=True) as reader:
        same_task(project, store)
        total = Counter(reader.vote_counts())
        with display.bar("replies read again", total.total()) as bar, forms_as_asked(project) as forms_of:
            store.record_votes(_changed(project, reader, tally, bar, forms_of))
    tally.votes = total.total()
    gone = tally.votes - sum(total[teacher.name] for teacher in project.task.teachers)
    if gone:
        tally.left[OTHER_TEACHER] += gone
    return tally


def _changed(project: Project, reader: Store, tally: Reparsed, bar: Step, forms_of: FormsOf | None) -> Iterator[Vote]:
    gold = cache(lambda: _gold_items(project))  # read only where votes are about it
    done = 0
    for teacher in project.task.teachers:
        again = _Teacher(project, reader, teacher, forms_of)
        votes = reader.read_votes(teacher.name)
        while block := list(islice(votes, VOTES_A_BLOCK)):
            known = [one if one.item else replace(one, item=gold().get(one.vote.item_id)) for one in block]
            for old, new in again.read(known, tally):
                if _counted(old, new, tally):
                    yield new
            done += len(block)
            bar(done, f"{tally.changed:,} changed")


class _Teacher:
    """One teacher's replies and how they are read: by the frame of the prompt that was asked."""

    def __init__(self, project: Project, reader: Store, teacher: Teacher, forms_of: FormsOf | None) -> None:
        self._project, self._reader, self._teacher = project, reader, teacher
        self._forms_of = forms_of or _nothing_hidden
        self._kind: Kind = project.kind
        self._capabilities = reader.note(CAPABILITIES, {})
        self._often = reader.asked_often(teacher.name)
        ways = [teacher.model_copy(update={"demonstrations": examples}) for examples in (1, 0)]
        every = [self._kind.frame(way, style) for way in ways for style in sorted(self._kind.styles())]
        few = [candidates_frame(project.task, way) for way in ways] if project.task.kind == "single_label" else []
        self._frames = {frame.prompt_id: frame for frame in (*every, *few)}
        self._verbalised = next((frame for frame in every if frame.style == "verbalised"), None)

    def read(self, block: Sequence[ReadVote], tally: Reparsed) -> Iterator[tuple[Vote, Vote]]:
        """Pairs of old and new; what cannot be read again is counted as left."""
        several: dict[str, tuple[Vote, Item]] = {}
        items = [one.item for one in block if one.item is not None]
        hidden = hide(items, self._project.task, self._teacher, self._forms_of)
        sent = {item.id: item for item in hidden.items}
        for one in block:
            vote, item, reply = one.vote, one.item, one.reply
            if item is None or reply is None:
                tally.left[NO_ITEM if item is None else NO_REPLY] += 1
            elif CARRIED in vote.findings:
                tally.left[OTHER_LABELS] += 1
            elif reply.item_id in self._often:
                several[item.id] = vote, item
            else:
                reading = self._reading(vote, sent[item.id], reply)
                if reading is None:
                    tally.left[OTHER_PROMPT] += 1
                else:
                    yield vote, _with(vote, hidden.reading(item.id, reading))
        votes, why = self._as_asked(list(several.values()))
        for item_id, (vote, _) in several.items():
            # An item may also have been asked by guidelines that came later, or were only tested: those are other votes.
            if item_id in votes and votes[item_id].prompt_id == vote.prompt_id:
                yield vote, replace(votes[item_id], cost_usd=vote.cost_usd, guidelines=vote.guidelines)
            else:
                tally.left[why] += 1

    def _reading(self, vote: Vote, item: Item, reply: StoredReply) -> Reading | None:
        """One reply is the whole of what was said. The letters of another prompt may have stood for other labels, so of
        those only words are read, and only for the better.
        """
        frame = self._frames.get(
            vote.prompt_id.partition(".")[0]
        )  # after the dot: the examples, which no reply depends on
        if frame is not None:
            return self._read(with_candidates(frame, vote.candidates) if vote.candidates else frame, item, reply)
        if self._verbalised is None or vote.origin not in {"verbalised", "sample"}:
            return None
        reading = self._read(self._verbalised, item, reply)
        return reading if reading.usable or not vote.usable else None

    def _read(self, frame: Frame, item: Item, reply: StoredReply) -> Reading:
        return read_replies(self._kind, frame, item, [reply])

    def _as_asked(self, several: Sequence[tuple[Vote, Item]]) -> tuple[dict[str, Vote], str]:
        """Items with several replies: which is a sample, a window, an order of the labels or a repair only the engine
        knows, so it asks for them as it did, of a ledger that sends nothing. Second: why others have no vote.
        """
        teacher = self._teacher.model_copy(update={"batch": False})  # nothing is handed in, whatever came from one
        if teacher.recording is not None or teacher.vllm is not None:
            teacher = teacher.model_copy(update={"base_url": NOWHERE})  # as in a run, it is on this machine
        if teacher.recording is None and memory_key(teacher) not in self._capabilities:
            return {}, NOT_PROBED  # it would have to be probed first, and that is a call
        votes: list[Vote] = []
        for both in (False, True):
            asked = [(vote, item) for vote, item in several if (BOTH_ORDERS in vote.prompt_id) == both]
            try:
                votes += ask_sync(
                    [item for _, item in asked],
                    self._project.task,
                    teacher,
                    LedgerAlone(self._reader),
                    budget=BudgetGuard(None),
                    capabilities=dict(self._capabilities),
                    forms_of=self._forms_of,
                    more=shown_again([vote for vote, _ in asked], self._answered, both_orders=both),
                )
            except TeacherAuthError:
                return {}, NO_KEY
        return {vote.item_id: vote for vote in votes}, OTHER_PROMPT

    @cached_property
    def _answered(self) -> dict[str, Demonstration]:
        from loop.view import agreed  # what a run believes is heavy to import, and seldom needed here

        labels, _ = agreed(self._reader.answers())
        return {item.id: Demonstration(item, labels[item.id]) for item in self._reader.items() if item.id in labels}


def _nothing_hidden(items: Sequence[Item], source: str) -> dict[str, Form]:  # noqa: ARG001
    """A run without pseudonyms was asked about its texts as they are, whatever its task wants now."""
    return {}


def _with(vote: Vote, reading: Reading) -> Vote:
    """What was asked and paid stays; what was said is as it is read now. The vote itself where that is the same."""
    said: dict[str, Any] = {
        "probs": reading.probs,
        "residual": reading.residual,
        "origin": reading.origin,
        "status": reading.status,
        "value": reading.value if reading.usable else None,
        "findings": reading.findings,
    }
    same = all(getattr(vote, name) == value for name, value in said.items())
    return vote if same else replace(vote, **said)


def _counted(old: Vote, new: Vote, tally: Reparsed) -> bool:
    tally.read += 1
    if new is old:
        return False
    if old.status != new.status:
        tally.status[f"{old.status} -> {new.status}"] += 1
    elif _said(old) != _said(new):
        tally.value += 1
    return old != new


def _said(vote: Vote) -> tuple[object, ...]:
    return vote.probs, vote.residual, vote.origin, vote.value, vote.findings


def _gold_items(project: Project) -> dict[str, Item]:
    """Gold is asked about as the pool is, but never stored with it."""
    gold = read_gold(project, [])
    return {item.id: item for item in gold.items} if gold else {}
