"""A commented task.toml for somebody's data, with every default as the models have it."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from serving.tables import read_rows, write_rows
from stillhouse.errors import InputError
from stillhouse.task import Budget, Desk, Selection, Stop, Student, load_task

TEXT_NAMES = ("text", "body", "message", "sentence", "utterance", "content", "question", "comment", "review", "title")
LABEL_NAMES = ("label", "labels", "intent", "category", "class", "topic", "sentiment")
ROWS_LOOKED_AT = 2000
MOST_LABELS = 200
HUB = "hub:"


def write_task(data: str, out: Path, *, name: str, text: str, label: str, split: str) -> Path:
    """Write `out`/task.toml and return its path. Raises InputError where there is one already or the data cannot be read."""
    target = out / "task.toml"
    if target.exists():
        raise InputError(
            f"{target} exists", expected="no task there yet", found="one", fix="choose another folder with --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    pool = _from_hub(data.removeprefix(HUB), split, out) if data.startswith(HUB) else Path(data)
    rows = [row for _, row in itertools.islice(read_rows(pool), ROWS_LOOKED_AT)]
    text_column = _column(text, rows, pool) or _guess_text(rows, pool)
    id_column = "id" if "id" in rows[0] else ""
    labels = _labels(pool, label or next((n for n in LABEL_NAMES if n in rows[0]), ""), given=bool(label))
    target.write_text(_toml(_slug(name), _relative(pool, out), text_column, id_column, labels), encoding="utf-8")
    load_task(target)  # what is written must be readable
    return target


def _from_hub(name: str, split: str, out: Path) -> Path:
    try:
        import datasets

        loaded = datasets.load_dataset(name, split=split)
    except Exception as error:  # the library raises dozens of kinds, none of which may leave a command
        raise InputError(
            f"the dataset {name!r} cannot be loaded",
            expected="the name of a dataset on the Hub, or a local folder of one, with that split",
            found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            fix="check name, split and network, or download it and give the file",
        ) from error
    names = loaded.column_names
    features = loaded.features
    rows = ({n: _plain(features[n], row[n]) for n in names} for row in loaded)
    write_rows(out / "pool.jsonl", rows, names)
    return out / "pool.jsonl"


def _plain(feature: Any, value: Any) -> Any:
    """A class number as its name; other values as they are."""
    return feature.int2str(value) if hasattr(feature, "int2str") and isinstance(value, int) and value >= 0 else value


def _column(wanted: str, rows: list[dict[str, Any]], pool: Path) -> str:
    if wanted and wanted not in rows[0]:
        raise InputError(
            f"{pool} has no column {wanted!r}",
            expected=f"one of {', '.join(rows[0])}",
            found=wanted,
            fix="correct --text",
        )
    return wanted


def _guess_text(rows: list[dict[str, Any]], pool: Path) -> str:
    """A column with a usual name, else the one with the longest strings."""
    for usual in TEXT_NAMES:
        if usual in rows[0]:
            return usual
    lengths = {
        name: sum(len(row[name]) for row in rows if isinstance(row.get(name), str)) for name in rows[0] if name != "id"
    }
    best = max(lengths, key=lambda name: (lengths[name], name), default="")
    if not best or not lengths[best]:
        raise InputError(
            f"{pool} has no column of texts", expected="strings", found=", ".join(rows[0]), fix="name it with --text"
        )
    return best


def _labels(pool: Path, column: str, *, given: bool) -> list[str]:
    if not column:
        return []
    found = sorted({str(row[column]) for _, row in read_rows(pool) if row.get(column) not in {None, ""}})
    if len(found) > MOST_LABELS or len(found) < 2:
        if not given:
            return []
        raise InputError(
            f"column {column!r} of {pool} does not look like labels",
            expected=f"2 to {MOST_LABELS} different values",
            found=str(len(found)),
            fix="name another column with --label, or leave it out and write the labels by hand",
        )
    return found


def _toml(name: str, pool: str, text: str, id_column: str, labels: list[str]) -> str:
    shown = labels or ["first", "second"]
    parts = [
        "# A task for Stillhouse. What stands behind # is a default, or a remark; see docs/reference.",
        f"name = {_string(name)}",
        'question = "Which label fits the text best?"',
        "# Read by the teacher and by people; a file name ending in .md or .txt is read from beside this file.",
        'guidelines = ""',
        '# people_guidelines = "policy.md"   # what only people are told',
        "# seed = 0",
        "",
        "[data]",
        f"pool = {_string(pool)}   # JSONL, CSV or Parquet",
        f"text = {_string(text)}",
        f"id = {_string(id_column)}"
        if id_column
        else '# id = "id"   # without such a column ids are made from the texts',
        '# gold = "gold.jsonl"   # labelled texts that are never trained on; without them the blind random share measures',
        '# gold_label = "label"',
        '# duplicate_texts = "error"   # or "drop"',
        "",
        "# Describe each label in a sentence: the teacher sees it, and so do people."
        if labels
        else "# Replace these two by your labels.",
    ]
    for label in shown:
        parts += ["[[labels]]", f"name = {_string(label)}", 'description = ""']
    parts += [
        "",
        "# One table for each teacher; two with different label_order show where its answer hangs on the order.",
        "[[teachers]]",
        'name = "teacher"',
        'model = "gpt-4.1-mini"',
        'base_url = "https://api.openai.com/v1"   # any OpenAI-compatible address: vLLM, SGLang, llama.cpp, Ollama ...',
        'api_key_env = "OPENAI_API_KEY"   # the environment variable with the key; the key itself never stands here',
        "",
    ]
    for table, model in (
        ("budget", Budget),
        ("student", Student),
        ("selection", Selection),
        ("desk", Desk),
        ("stop", Stop),
    ):
        parts += [f"[{table}]", *_defaults(model), ""]
    return "\n".join(parts)


def _defaults(model: type[BaseModel]) -> list[str]:
    lines = []
    for name, field in model.model_fields.items():
        value = field.default
        lines.append(f"# {name} = ...   # not set" if value is None else f"# {name} = {_value(value)}")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _string(value) if isinstance(value, str) else str(value)


def _string(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "task"


def _relative(pool: Path, out: Path) -> str:
    import os

    return Path(os.path.relpath(pool.resolve(), out.resolve())).as_posix()
