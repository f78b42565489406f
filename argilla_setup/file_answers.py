"""What a line that a person filled in says: an answer, a no to the suggestion, nothing yet, or something that cannot be."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from argilla_setup.desk import Denial, is_rehearsed, value_denied
from argilla_setup.file_lines import Line, item_of, located
from kinds.kind import Kind
from stillhouse.records import Answer, Value, Way

Key = tuple[str, Way]  # the item and the way it is asked
Published = Mapping[Key, Line]
_YES, _NO = ("yes", "true", True), ("no", "false", False)


def key_of(content: Mapping[str, Any]) -> Key:
    """The key of a published line."""
    return str(content["id"]), content.get("way", "label")


def content_of(published: Published, key: Key) -> dict[str, Any]:
    content = published[key].content
    assert isinstance(content, dict)
    return content


def suggested(kind: Kind, content: Mapping[str, Any]) -> Value | None:
    shown = content.get("suggestion")
    return None if shown is None else kind.normal(item_of(content), shown)


def asked_by(content: Mapping[str, Any], published: Published) -> Key | None:
    """Which published line this one answers; without a way the first that the item was asked in, and that fits."""
    item_id = str(content.get("id"))
    ways: tuple[Way, ...] = ("verify",) if "right" in content else ("label", "second", "adjudicate")
    if "way" in content:
        ways = tuple(way for way in (*ways, "verify") if way == content["way"])
    return next(((item_id, way) for way in ways if (item_id, way) in published), None)


def problem(kind: Kind, line: Line, published: Published) -> str:
    """What was expected and found, or nothing."""
    content = line.content
    if line.problem or not isinstance(content, dict):
        return line.problem or f"expected an object, found {type(content).__name__}"
    filled = "right" if "right" in content else "label"
    if missing := [name for name in ("id", filled) if name not in content]:
        return f"the field {missing[0]!r} is missing"
    key = asked_by(content, published)
    if key is None:
        return _never_published(content, published)
    if not isinstance(content.get("annotator", ""), str):
        return "the annotator must be a text"
    return "" if content[filled] in (None, "") else _problem(kind, annotator(line), content[filled], published[key])


def _never_published(content: Mapping[str, Any], published: Published) -> str:
    item_id, way = str(content["id"]), content.get("way")
    ways = [known for known_id, known in published if known_id == item_id]
    if ways == ["verify"] and way in {None, "verify"}:
        return 'expected "right", because yes or no is asked, found "label"'
    how = f" in the way {way!r}" if ways and way else ""
    return f"the id {item_id!r} was never published{how}"


def _problem(kind: Kind, who: str, said: object, asked: Line) -> str:
    content = asked.content
    assert isinstance(content, dict)
    if who in content.get("not_by", ()):
        return f"expected somebody else than {who!r}, who has answered it before"
    if "right" in content:
        return "" if _yes(said) is not None else f'expected "yes", "no" or null, found {said!r}'
    item = item_of(content)
    value, problems = located(kind, item, said)
    return "; ".join(problems or kind.problems(item, value))


def said_by(kind: Kind, line: Line, published: Published) -> Answer | Denial | None:
    """What a line without a problem says; None where it is not filled in yet."""
    content = line.content
    assert isinstance(content, dict)
    filled = content["right"] if "right" in content else content["label"]
    if filled == "":
        return None
    key = asked_by(content, published)
    assert key is not None
    asked = content_of(published, key)
    item, shown, who = item_of(asked), suggested(kind, asked), annotator(line)
    moment = dt.datetime.fromtimestamp(line.path.stat().st_mtime, tz=dt.UTC).isoformat()
    label: Value | None = None
    if "right" in content and filled is not None:
        assert shown is not None
        label = shown if _yes(filled) else value_denied(kind.task.label_names, kind.task.kind, shown)
        if label is None:
            return Denial(
                item_id=item.id,
                annotator=who,
                value=shown,
                rehearsed=is_rehearsed(who),
                denied_at=moment,
                guidelines=asked.get("guidelines", ""),
            )
    elif filled is not None:
        label = kind.normal(item, located(kind, item, filled)[0])
    return Answer(
        item_id=item.id,
        annotator=who,
        label=label,
        blind=bool(asked.get("blind")),
        rehearsed=is_rehearsed(who),
        answered_at=moment,
        way=key[1],
        suggested=shown,
        guidelines=asked.get("guidelines", ""),
    )


def annotator(line: Line) -> str:
    """The one named in the line, or the name of the file."""
    named = line.content.get("annotator") if isinstance(line.content, dict) else None
    return named or line.path.stem


def _yes(said: object) -> bool | None:
    word = said.strip().casefold() if isinstance(said, str) else said
    return True if word in _YES else False if word in _NO else None
