"""Makes the replies and the experts' knowledge that nobody recorded, out of those that were: topics and fields.

    python examples/helpdesk/derive.py

`replies_derived.jsonl`: what the teacher would have said of *topics*, from its recorded `route` replies (the queue with
its confidence c, the runner-up with 1 - c), and of *fields*, from its recorded tagged messages (each tagged surface is
a value of the field of its type). `experts_annotated.jsonl` and `gold_fields.jsonl`: the annotated entities of the pool
and of gold, the same entities as fields beside them. No model was asked for any of it.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TYPES = ("PERSON", "DEVICE", "APP", "LOCATION", "CODE", "TIME")
TAG = re.compile(rf"\[({'|'.join(TYPES)})\|([^\]]*)\]")


def topics_of_route(reply: dict[str, Any]) -> dict[str, float]:
    """The recorded confidence as the chance that the queue's topic applies, what it leaves for the runner-up's."""
    sure = float(reply["confidence"])
    return {reply["label"]: sure, reply["second"]: round(1.0 - sure, 4)}


def fields_of(found: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """(type, surface) pairs as fields: the distinct surfaces of each type, in order."""
    fields: dict[str, list[str]] = {name.lower(): [] for name in TYPES}
    for name, surface in found:
        if surface.strip() and surface.strip() not in fields[name.lower()]:
            fields[name.lower()].append(surface.strip())
    return fields


def fields_of_tagged(tagged: str) -> dict[str, list[str]]:
    """A line break of the message stands as " / " in a recording."""
    return fields_of((name, surface.replace(" / ", "\n")) for name, surface in TAG.findall(tagged))


def fields_of_entities(text: str, entities: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    ordered = sorted(entities, key=lambda entity: int(entity["start"]))
    return fields_of((entity["label"], text[entity["start"] : entity["end"]]) for entity in ordered)


def main() -> None:
    replies = read("replies.jsonl")
    derived: list[dict[str, Any]] = [
        {"id": reply["id"], "task": "topics", "variant": reply["variant"], "labels": topics_of_route(reply)}
        for reply in replies
        if reply["task"] == "route"
    ]
    derived += [
        {"id": reply["id"], "task": "fields", "variant": reply["variant"], **fields_of_tagged(reply["tagged"])}
        for reply in replies
        if reply["task"] == "entities"
    ]
    write("replies_derived.jsonl", derived)
    known = {row["id"]: row["entities"] for row in read("experts.jsonl") if row["entities"] is not None}
    pool = [row for row in read("pool_annotated.jsonl") if row["id"] in known]
    write("experts_annotated.jsonl", [annotated(row["id"], row["text"], known[row["id"]]) for row in pool])
    gold = read("gold_annotated.jsonl")
    fields = [{"text": row["text"], **annotated(row["id"], row["text"], row["entities"])} for row in gold]
    write("gold_fields.jsonl", fields)


def annotated(item_id: str, text: str, entities: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": item_id, "entities": entities, "fields": fields_of_entities(text, entities)}


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


def write(name: str, rows: Iterable[dict[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (HERE / name).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
