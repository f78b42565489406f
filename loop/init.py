"""A commented task.toml for somebody's data, with every default as the models have it."""

import itertools
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from serving.tables import columns_of, is_whole, missing_columns, read_rows, write_rows
from serving.values import WANTED, names_in
from stillhouse.errors import InputError, TaskError
from stillhouse.settings import Budget, Data, Desk, Selection, Stop, Student, Teacher
from stillhouse.task import QUESTIONS, KindName, Task
from stillhouse.task_file import load_task

TEXT_NAMES = ("text", "body", "message", "sentence", "utterance", "content", "question", "comment", "review", "title")
LABEL_NAMES: dict[str, tuple[str, ...]] = {
    "single_label": ("label", "labels", "intent", "category", "class", "topic", "sentiment"),
    "multi_label": ("labels", "label", "topics", "categories", "emotions"),
    "spans": ("spans", "entities", "tags", "ner_tags", "label"),
    "tokens": ("tags", "upos", "pos", "pos_tags", "label"),
    "roles": ("tags", "roles", "label"),
    "fields": ("fields", "label"),
}
TOKEN_NAMES = ("tokens", "words")
FOCUS_NAMES = ("focus", "predicate_index", "target_index")
ROWS_LOOKED_AT = 2000
MOST_LABELS = 200
HUB = "hub:"
TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("budget", Budget),
    ("student", Student),
    ("selection", Selection),
    ("desk", Desk),
    ("stop", Stop),
)
TABLES_OF_THEIR_OWN = ("labels", "fields", "teachers", "rules")  # [[...]], as many as there are


@dataclass(frozen=True, slots=True)
class _Found:
    """What was seen in the data; the remarks say why, for whoever reads task.toml. No labels: none were found."""

    kind: KindName
    pool: str
    text: str
    text_remark: str
    tokens: str
    focus: str
    has_ids: bool
    labels: tuple[str, ...]
    labels_remark: str


def write_task(
    data: str, out: Path, *, name: str, text: str, label: str, split: str, kind: KindName = "single_label"
) -> Path:
    """Write `out`/task.toml and return its path; `data` is a file, or hub:NAME, which is saved as pool.jsonl in `out`.

    Raises InputError where there is a task already, the data cannot be read, or its labels cannot be used.
    """
    target = out / "task.toml"
    _refuse(target)
    if data.startswith(HUB):
        _refuse(out / "pool.jsonl")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{out} cannot be made", expected="a folder to write into", found=str(error), fix="choose another --out"
        ) from error
    pool = _from_hub(data.removeprefix(HUB), split, out) if data.startswith(HUB) else Path(data)
    found = _look(pool, out, text, label, kind)
    part = out / ".task.toml.part"
    try:
        part.write_text(_toml(_slug(name), found), encoding="utf-8")
        load_task(part)  # what is written must be readable
        part.replace(target)
    except TaskError as error:
        raise InputError(
            f"the labels of {pool} cannot be used as they are",
            expected="names that differ by more than case and blanks",
            found="; ".join(error.problems),
            fix="mend them in the data, or name another column with --label",
        ) from error
    except OSError as error:
        raise InputError(
            f"{target} cannot be written",
            expected="a folder to write into",
            found=str(error),
            fix="choose another --out",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _refuse(target: Path) -> None:
    if target.exists():
        raise InputError(
            f"{target} exists", expected=f"no {target.name} there yet", found="one", fix="choose another --out"
        )


def _from_hub(name: str, split: str, out: Path) -> Path:
    try:
        import datasets

        loaded = datasets.load_dataset(name, split=split)
        names, features = list(loaded.column_names), loaded.features
    except Exception as error:  # the library raises dozens of kinds, none of which may leave a command
        raise InputError(
            f"the dataset {name!r} cannot be loaded",
            expected=f"the name of a dataset on the Hub, or a local folder of one, with a split {split!r}",
            found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            fix="check name, split and network, or download it and give the file",
        ) from error
    rows = ({n: _plain(features[n], row[n]) for n in names} for row in loaded)
    write_rows(out / "pool.jsonl", rows, names)
    return out / "pool.jsonl"


def _plain(feature: Any, value: Any) -> Any:
    """A class number as its name (-1 is Hub's "no label"); what JSON cannot hold as text."""
    if hasattr(feature, "int2str") and isinstance(value, int):
        return feature.int2str(value) if value >= 0 else None
    return value if value is None or isinstance(value, str | int | float | bool | list | dict) else str(value)


def _look(pool: Path, out: Path, text: str, label: str, kind: KindName) -> _Found:
    columns = columns_of(pool, [name for name in (text, label, "id") if name])
    for flag, wanted in (("--text", text), ("--label", label)):
        if wanted and (problems := missing_columns([wanted], columns)):
            raise InputError(f"{pool}: {problems[0]}", fix=f"correct {flag}")
    text_column, text_remark = (text, "as --text says") if text else _guess_text(pool, columns)
    guess = "" if label else _usual(LABEL_NAMES[kind], [name for name in columns if name != text_column])
    labels, labels_remark = _labels(pool, label or guess, kind, given=bool(label))
    return _Found(
        kind,
        _relative(pool, out),
        text_column,
        text_remark,
        "" if kind == "single_label" else _usual(TOKEN_NAMES, columns),
        _usual(FOCUS_NAMES, columns) if kind == "roles" else "",
        "id" in columns,
        labels,
        labels_remark,
    )


def _guess_text(pool: Path, columns: Sequence[str]) -> tuple[str, str]:
    """A column with a usual name, else the one with the longest strings; and why."""
    rows = [row for _, row in itertools.islice(read_rows(pool), ROWS_LOOKED_AT)]
    lengths = {
        name: sum(len(row[name]) for row in rows if isinstance(row.get(name), str)) for name in columns if name != "id"
    }
    texts = [name for name in columns if lengths.get(name)]
    if not texts:
        raise InputError(
            f"{pool} has no column of texts", expected="strings", found=", ".join(columns), fix="name it with --text"
        )
    usual = _usual(TEXT_NAMES, texts)
    others = f"; found: {', '.join(columns)}"
    if usual:
        return usual, f"guessed by its name{others}"
    return max(texts, key=lambda name: (lengths[name], name)), f"guessed: it has the longest strings{others}"


def _usual(usual: Sequence[str], columns: Sequence[str]) -> str:
    folded = {name.casefold(): name for name in reversed(columns)}
    return next((folded[name] for name in usual if name in folded), "")


def _labels(pool: Path, column: str, kind: KindName, *, given: bool) -> tuple[tuple[str, ...], str]:
    """The different names of a column, sorted. A column nobody named that does not fit is left out, and this is said."""
    what = "fields" if kind == "fields" else "labels"
    if not column:
        return (), f"No column of {what} was found: replace these two by your {what}."
    found: set[str] = set()
    for place, row in read_rows(pool):
        try:
            found.update(names_in(kind, row.get(column)))
        except ValueError as error:
            if not given:
                return (
                    (),
                    f"The column {column!r} holds no {what} ({error} in {place}): replace these two by your {what}.",
                )
            raise InputError(
                f"column {column!r} of {pool} does not hold {what}",
                expected=f"{WANTED[kind]} a row",
                found=f"{error} in {place}",
                fix=f"name another column with --label, or leave it out and write the {what} by hand",
            ) from error
    found.discard("")
    fewest = 2 if kind == "single_label" else 1
    if fewest <= len(found) <= MOST_LABELS and all(map(is_whole, found)):
        return tuple(sorted(found)), f"The {len(found)} values of the column {column!r}."
    if not given:
        return (), f"The column {column!r} has {len(found):,} different values: replace these two by your {what}."
    raise InputError(
        f"column {column!r} of {pool} does not look like {what}",
        expected=f"{fewest} to {MOST_LABELS} different names",
        found=f"{len(found):,}",
        fix=f"name another column with --label, or leave it out and write the {what} by hand",
    )


def _toml(name: str, found: _Found) -> str:
    parts = [
        "# A task for Stillhouse. A line that begins with # is a remark, or a default that holds until you change it.",
        f"name = {_string(name)}",
        "",
        "# `guidelines` is read by the teacher and by people, `people_guidelines` by people alone; a file name that ends",
        "# in .md or .txt is read from beside this file.",
        *([] if found.kind == "single_label" else [f"kind = {_string(found.kind)}"]),
        f"# question = {_string(QUESTIONS[found.kind])}",
        *_defaults(
            Task,
            leave_out=("name", "question", *TABLES_OF_THEIR_OWN, *(("kind",) if found.kind != "single_label" else ())),
        ),
        "",
        "[data]   # paths start at this file; JSONL, CSV or Parquet",
        f"pool = {_string(found.pool)}",
        f"text = {_string(found.text)}   # {_one_line(found.text_remark)}",
        *_token_columns(found),
        *([] if found.has_ids else ["# there is no column of ids: they are made from the texts"]),
        "# gold: labelled texts that are never trained on; without them the blind random share measures",
        *_defaults(Data, leave_out=("pool", "text", *(line.split()[0] for line in _token_columns(found)))),
        "",
        f"# {_one_line(found.labels_remark)}",
        "# Describe each in a sentence: the teacher sees it, and so do people.",
    ]
    for label in found.labels or ("first", "second"):
        parts += [
            "[[fields]]" if found.kind == "fields" else "[[labels]]",
            f"name = {_string(label)}",
            'description = ""',
        ]
    parts += [
        "",
        "# One table for each teacher; two with different label_order show where its answer hangs on the order.",
        "# base_url is any OpenAI-compatible address; api_key_env names the variable of the key, which never stands here.",
        "[[teachers]]",
        'name = "teacher"',
        'model = "gpt-4.1-mini"',
        *_defaults(Teacher, leave_out=("name", "model")),
        "",
        "# What you know of keywords and patterns votes too: a table [[rules]] each, see docs/how-to/rules.md.",
    ]
    for table, model in TABLES:
        parts += ["", f"[{table}]", *_defaults(model)]
    return "\n".join(parts) + "\n"


def _token_columns(found: _Found) -> list[str]:
    """The columns of given tokens, which some kinds cannot do without: what is not there is asked for by its name."""
    tokens = found.tokens or ("tokens" if found.kind in {"tokens", "roles"} else "")
    focus = found.focus or ("focus" if found.kind == "roles" else "")
    guess = {True: "guessed by its name", False: "no such column was found: name yours"}
    lines = [f"tokens = {_string(tokens)}   # {guess[bool(found.tokens)]}"] if tokens else []
    return lines + ([f"focus = {_string(focus)}   # {guess[bool(found.focus)]}"] if focus else [])


def _defaults(model: type[BaseModel], leave_out: Sequence[str] = ()) -> list[str]:
    """A commented line for each key that has a plain default."""
    lines = []
    for name, field in model.model_fields.items():
        if name in leave_out or field.is_required() or isinstance(field.default, BaseModel):
            continue
        lines.append(f"# {name} = ...   # not set" if field.default is None else f"# {name} = {_value(field.default)}")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return _string(value) if isinstance(value, str) else str(value)


def _string(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(remark: str) -> str:
    """A remark must not end in the middle: names of columns may hold line breaks."""
    return "".join(c if c.isprintable() else " " for c in remark)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "task"


def _relative(pool: Path, out: Path) -> str:
    return Path(os.path.relpath(pool.resolve(), out.resolve())).as_posix()
