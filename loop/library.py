"""What a prompt shows beside its item: answered items near to it, and where labels are many, those that may fit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kinds.demonstrate import example_of
from loop.learn import features_of
from loop.nearest import examples_for, label_scores, likeliest
from loop.progress import Display
from loop.project import Project
from loop.view import agreed
from prompts.candidates import SHOWN, few_of_many
from selector.batch import RANDOM
from serving.student import inputs_of
from stillhouse.measures import accuracy_interval
from stillhouse.records import Answer, Demonstration, Interval, Item, Pick, Value
from stillhouse.settings import DECISION_APIS, Teacher
from stillhouse.task import LABEL_KINDS, Task
from trainer.base import Base
from trainer.inputs import Inputs

ENOUGH_FOR_RECALL = 30  # answers, below which recall is not judged
LEAST_RECALL = 0.9  # of the right label among those shown; surely less, and all are shown


@dataclass(frozen=True, eq=False)
class Library:
    """What people have said by now of the pool. `drawn` are the items of the random share: their answers measure, so they
    are never shown to anybody.
    """

    project: Project
    base: Base
    display: Display
    pool: tuple[Item, ...]
    labels: Mapping[str, Value]
    drawn: frozenset[str]

    @cached_property
    def answered(self) -> list[Demonstration]:
        """What may be shown, by item id: agreed on, not of the random share, and written in a form that is read."""
        kind = self.project.kind
        common = kind.frame(self.project.task.teachers[0], "verbalised")
        found = [
            Demonstration(item, self.labels[item.id])
            for item in self.pool
            if item.id in self.labels and item.id not in self.drawn
        ]
        shown = [each for each in found if example_of(kind, common, each) is not None]
        return sorted(shown, key=lambda each: each.item.id)

    def demonstrations(self, teacher: Teacher, items: Sequence[Item]) -> dict[str, tuple[Demonstration, ...]]:
        """The teacher's examples for each item, the nearest last; none of them is the item, or as good as the item."""
        if not self.answered or not items:
            return {}
        chosen = examples_for(
            self.texts(items),
            self.texts([each.item for each in self.answered]),
            own=self._own(items),
            labels=[self._labels_of(each.value) for each in self.answered],
            count=teacher.demonstrations,
            cosine=self.project.task.selection.near_duplicate_cosine,
        )
        shown = {
            item.id: tuple(self.answered[row] for row in rows if _words(self.answered[row].item) != _words(item))
            for item, rows in zip(items, chosen, strict=True)
        }
        return {item_id: examples for item_id, examples in shown.items() if examples}

    def candidates(self, teacher: Teacher, items: Sequence[Item]) -> dict[str, tuple[str, ...]]:
        """The labels that may fit each item, the likeliest first; none where all are to be shown.

        That is where an API tells of all codes anyway, where the teacher is not asked by code, and where people's answers
        show that the right label is among too few of them. Whether the API gives logprobs is only known to who asks.
        """
        task = self.project.task
        by_code = teacher.ask in {"auto", "logprobs"} and teacher.api not in DECISION_APIS
        if not few_of_many(task) or not by_code:
            return {}
        if teacher.candidates == "never" or teacher.by_likelihood or teacher.recording is not None or not items:
            return {}
        if (recall := self.recall) is not None and recall.hi < LEAST_RECALL:
            self.display.line(f"  all labels are shown: of those that may fit, {recall.percent()} have the right one")
            return {}
        names = task.label_names
        return {
            item.id: tuple(names[at] for at in row)
            for item, row in zip(items, likeliest(self._scores(items), SHOWN), strict=True)
        }

    @cached_property
    def recall(self) -> Interval | None:
        """How often the right label is among those that would be shown: on the random share, whose answers have no part in
        the ranking; before that is large enough on all answers, each left out of its own ranking; None before there are any.
        """
        if self.project.task.kind != "single_label":
            return None
        known = [item for item in self.pool if item.id in self.labels]
        drawn = [item for item in known if item.id in self.drawn]
        measured, on = (drawn, "blind") if len(drawn) >= ENOUGH_FOR_RECALL else (known, "left out one by one")
        if len(measured) < ENOUGH_FOR_RECALL:
            return None
        names = self.project.task.label_names
        shown = likeliest(self._scores(measured), SHOWN)
        right = [self.labels[item.id] in [names[at] for at in row] for item, row in zip(measured, shown, strict=True)]
        confidence = self.project.task.stop.confidence
        return accuracy_interval(np.array(right), confidence, f"{len(measured)} answers, {on}")

    def texts(self, items: Sequence[Item]) -> NDArray[np.float32]:
        """(n, d): unit embeddings of the items by the base, those of the pool from what the run keeps."""
        rows = [self._row.get(item.id, -1) for item in items]
        others = [item for item, row in zip(items, rows, strict=True) if row < 0]
        known = np.array(rows, dtype=np.intp)
        out = np.zeros((len(items), self._pool_texts.shape[1]), dtype=np.float32)
        out[known >= 0] = self._pool_texts[known[known >= 0]]
        if others:
            out[known < 0] = self._embedded(others, "other texts")
        return out

    @cached_property
    def _row(self) -> dict[str, int]:
        return {item.id: number for number, item in enumerate(self.pool)}

    @cached_property
    def _pool_texts(self) -> NDArray[np.float32]:
        return self._embedded(self.pool, "the pool")

    def _embedded(self, items: Sequence[Item], name: str) -> NDArray[np.float32]:
        kind = self.project.kind
        inputs = inputs_of(kind, items) if kind.per_text else Inputs([item.text for item in items])
        return features_of(self.project, self.base, inputs, self.display, name)

    def _own(self, items: Sequence[Item]) -> NDArray[np.intp]:
        at = {each.item.id: row for row, each in enumerate(self.answered)}
        return np.array([at.get(item.id, -1) for item in items], dtype=np.intp)

    def _labels_of(self, value: Value) -> frozenset[str]:
        """None for kinds whose values are no labels of the text; "" where no label applies."""
        if self.project.task.kind not in LABEL_KINDS:
            return frozenset()
        return frozenset([value] if isinstance(value, str) else map(str, value) if value else [""])

    def _scores(self, items: Sequence[Item]) -> NDArray[np.float32]:
        task = self.project.task
        at = {name: number for number, name in enumerate(task.label_names)}
        return label_scores(
            self.texts(items),
            self._described,
            self.texts([each.item for each in self.answered]),
            np.array([at[str(each.value)] for each in self.answered], dtype=np.intp),
            self._own(items),
        )

    @cached_property
    def _described(self) -> NDArray[np.float32]:
        return features_of(self.project, self.base, Inputs(label_words(self.project.task)), self.display, "labels")


def _words(item: Item) -> tuple[str, ...]:
    """What makes two items one question to a reader; a base may see all texts alike, or a task keep near copies."""
    return tuple(" ".join(text.casefold().split()) for text in (item.text, item.pair))


def label_words(task: Task) -> list[str]:
    """What a label is looked up by before anybody has answered: name, aliases and description."""
    return [
        ", ".join([label.name.replace("_", " "), *label.aliases, *filter(None, [label.description])])
        for label in task.labels
    ]


def library_of(
    project: Project,
    base: Base,
    display: Display,
    pool: Sequence[Item],
    picks: Iterable[Pick],
    answers: Iterable[Answer],
) -> Library:
    labels, _ = agreed(answers)
    drawn = frozenset(pick.item_id for pick in picks if pick.inclusion_probability is not None or pick.reason == RANDOM)
    return Library(project, base, display, tuple(pool), labels, drawn)
