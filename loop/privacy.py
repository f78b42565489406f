"""A run's pseudonyms: where they are kept, and who finds the names in its texts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from kinds.kind import Layout
from kinds.registry import kind_of
from loop.project import Project
from stillhouse.errors import InputError
from stillhouse.records import CharSpan, Item
from stillhouse.settings import Privacy
from stillhouse.task import Task
from teacher.privacy import AsAsked, FormsOf, Pseudonyms
from teacher.privacy_find import Finder, NameFinder, spacy_names
from teacher.privacy_table import FILE, PseudonymTable

TEXTS_A_GROUP = 512


@contextmanager
def forms_of_run(project: Project) -> Iterator[FormsOf | None]:
    """What the run's texts are sent as, kept in its folder; None where the task wants no privacy."""
    if project.task.privacy is None:
        yield None
        return
    with _table(project.folder / FILE) as table:
        yield _when_needed(project, project.task.privacy, table)


@contextmanager
def forms_as_asked(project: Project) -> Iterator[FormsOf | None]:
    """What the run's texts were sent as, whatever its task says now; None where none was ever hidden."""
    path = project.folder / FILE
    if not path.exists():
        yield None
        return
    with _table(path, read_only=True) as table:
        yield AsAsked(table).forms


@contextmanager
def forms_for_a_look(project: Project) -> Iterator[FormsOf | None]:
    """What a text would be sent as; nothing is written down, so that other surrogates may be taken in the end."""
    if project.task.privacy is None:
        yield None
        return
    with _table(None) as table:
        if (project.folder / FILE).exists():
            with _table(project.folder / FILE, read_only=True) as kept, table.turn():
                table.keep(kept.surrogates(), {})
        yield _when_needed(project, project.task.privacy, table)


def _when_needed(project: Project, settings: Privacy, table: PseudonymTable) -> FormsOf:
    """What finds names is loaded with the first text: a run that only goes on with what it has need not wait for it."""

    @cache
    def made() -> Pseudonyms:
        finder, found_by = finder_of(project, settings)
        return Pseudonyms(settings, table, finder, found_by)

    return lambda items, source: made().forms(items, source)


def finder_of(project: Project, settings: Privacy) -> tuple[Finder, str]:
    """What finds what is to be hidden, and what names its detector of names."""
    known = _listed(project.home / settings.names_file) if settings.names_file else ()
    finders: list[NameFinder] = []
    found_by = []
    if settings.names and settings.name_student:
        from trainer.artifact import model_id_of

        folder = project.home / settings.name_student
        found_by.append(model_id_of(folder))  # which also sees that it is whole
        finders.append(student_names(folder, settings.name_labels, settings.name_threshold))
    if settings.names and settings.spacy_model:
        path = project.home / settings.spacy_model
        finders.append(spacy_names(str(path) if path.exists() else settings.spacy_model, settings.name_labels))
        found_by.append(settings.spacy_model)
    return Finder(settings, _both(finders) if finders else None, known), " ".join(found_by)


def check_privacy(project: Project) -> str:
    """In a few words what is hidden. Raises InputError or ModelError where something that finds it is not there."""
    settings = project.task.privacy
    if settings is None:
        return "off: texts are sent to teachers as they are"
    finder, _ = finder_of(project, settings)
    finder.check()
    hidden = [name for name in ("names", "mails", "phones", "ids") if getattr(settings, name)]
    return f"{', '.join([*hidden, *(pattern.name for pattern in settings.patterns)]) or 'nothing'} get surrogates"


def student_names(folder: Path, labels: Sequence[str], threshold: float) -> NameFinder:
    """A student of spans as a detector: a word counts where the `labels` together have `threshold` of the probability.

    Neighbouring words that count are one name. Raises ModelError where it cannot be loaded, InputError where it does not
    mark spans or has none of the labels.
    """
    from serving.student import (
        inputs_of,
        loaded,  # which imports torch
    )
    from trainer.student import FittedStudent

    kind = kind_of(Task.model_validate_json((folder / "task.json").read_text(encoding="utf-8")))
    columns = [number for number, name in enumerate(kind.columns) if name[2:] in labels and name[0] in "BI"]
    if kind.task.kind != "spans" or not columns:
        raise InputError(
            f"privacy.name_student: {folder} finds no names",
            expected=f'a student of the kind "spans" with one of the labels {", ".join(labels)}',
            found=f'kind "{kind.task.kind}" with the labels {", ".join(kind.task.label_names)}',
            fix="name its labels of people in privacy.name_labels",
        )
    student = loaded(folder, kind)
    assert isinstance(student, FittedStudent)  # only fields can be written

    def find(texts: Sequence[str]) -> list[list[CharSpan]]:
        spans: list[list[CharSpan]] = []
        for start in range(0, len(texts), TEXTS_A_GROUP):
            items = [Item(str(number), text) for number, text in enumerate(texts[start : start + TEXTS_A_GROUP])]
            named = [item for item in items if item.text.strip()]
            found = dict(zip((item.id for item in named), _names(named), strict=True))
            spans += [found.get(item.id, []) for item in items]
        return spans

    def _names(items: Sequence[Item]) -> list[list[CharSpan]]:
        if not items:
            return []
        layout = Layout.of(kind, items)
        likely = student.predict(inputs_of(kind, items, layout))[:, columns].sum(axis=1) >= threshold
        return [_stretches(layout, likely, number) for number in range(len(items))]

    return find


def _stretches(layout: Layout, likely: np.ndarray[tuple[int], np.dtype[np.bool_]], number: int) -> list[CharSpan]:
    spans: list[CharSpan] = []
    before = False
    rows = layout.rows(number)
    for (start, end), counts in zip(layout.spans[rows].tolist(), likely[rows].tolist(), strict=True):
        if counts and before:
            spans[-1] = (spans[-1][0], end)
        elif counts:
            spans.append((start, end))
        before = counts
    return spans


def _both(finders: Sequence[NameFinder]) -> NameFinder:
    def find(texts: Sequence[str]) -> list[list[CharSpan]]:
        each = [finder(texts) for finder in finders]
        return [[span for spans in of_text for span in spans] for of_text in zip(*each, strict=True)]

    return find


def _listed(path: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"privacy.names_file: {path} cannot be read",
            expected="a text file in UTF-8, one name a line",
            found=str(error),
            fix="correct privacy.names_file in task.toml",
        ) from error


@contextmanager
def _table(path: Path | None, *, read_only: bool = False) -> Iterator[PseudonymTable]:
    table = PseudonymTable(path, read_only=read_only)
    try:
        yield table
    finally:
        table.close()
