"""The figures of a run's people as lines for a terminal."""

from collections.abc import Sequence

from loop.people import Annotator, Conflict, People, Seconds
from stillhouse.records import Interval

MOST_CONFLICTS = 20
MOST_CLASSES = 20
LONGEST_TEXT = 80
SIMULATED = " (simulated)"
SHOWN = {"label": "that were filled in", "verify": "that were asked for yes or no"}


def people_text(people: People) -> str:
    """All tables; what nothing is known of is left out or a dash. Texts of the pool cannot steer the terminal."""
    if not people.annotators:
        return "Nobody has answered anything yet."
    parts = [
        _people(people),
        _agreement(people),
        _classes(people),
        _anchoring(people),
        _conflicts(people),
        _time(people),
    ]
    return "\n\n".join(part for part in parts if part)


def _people(people: People) -> str:
    header = ("annotator", "answers", "passes", "agreement", "kappa", "accuracy", "kept suggestions", "seconds")
    rows = [_row(one) for one in people.annotators]
    lines = [table([header, *rows])]
    lines.append(f"agreement: with the others, {people.score_name}. accuracy: {_on(people.annotators)}.")
    return "\n".join(lines)


def _on(annotators: Sequence[Annotator]) -> str:
    found = sorted({one.accuracy.on for one in annotators if one.accuracy})
    return "; ".join(found) if found else "nothing to hold answers against yet"


def _row(one: Annotator) -> tuple[str, ...]:
    return (
        plain(one.name) + (SIMULATED if one.rehearsed else ""),
        f"{one.answers:,}",
        f"{one.passes:,}",
        percent(one.agreement),
        share(one.kappa),
        percent(one.accuracy),
        percent(one.kept),
        seconds(one.seconds),
    )


def _agreement(people: People) -> str:
    if not people.figures:
        return "Agreement: no item has answers of two people who did not see each other's (desk.min_submitted, desk.second_opinions)."
    rows = [("agreement of people", "value", "on")]
    rows += [(one.name, share(one.interval), one.interval.on) for one in people.figures]
    text = table(rows)
    if people.second_opinions:
        text += "\nSecond opinions are asked where the first answer was unlikely: people agree less there than they do in general."
    return text


def _classes(people: People) -> str:
    if not people.by_class:
        return ""
    rows = [("the least agreed on first", "another says the same", "kappa", "items")]
    for one in people.by_class[:MOST_CLASSES]:
        same = "-" if one.same is None else f"{100 * one.same:.1f} %"
        rows.append((plain(one.name), same, share(one.kappa), f"{one.kappa.n}" if one.kappa else "-"))
    more = len(people.by_class) - MOST_CLASSES
    return table(rows) + (f"\n... and {more} more: --json has all" if more > 0 else "")


def _anchoring(people: People) -> str:
    lines = []
    for way, found in people.anchoring.items():
        lines.append(f"Suggestions {SHOWN[way]}: {percent(found.kept)} of {found.kept.n:,} were kept.")
        if found.blind is not None:
            lines.append(
                f"  Blind answers say what would have been suggested in {percent(found.blind)} of {found.blind.n:,}; most are to "
                "easier items, so the two are not comparable."
            )
        if found.difference is None:
            lines.append("  No blind answer is to an item like those: nothing is said of anchoring.")
            continue
        lines.append(
            f"  Among items of one round and like score: {points(found.difference)} points more often the same with a "
            f"suggestion ({found.compared:,} of the shown answers have blind ones like them)."
        )
    return "\n".join(lines)


def _conflicts(people: People) -> str:
    if not people.conflicts:
        return ""
    head = f"Conflicts: {len(people.conflicts):,}, {people.open_conflicts:,} of them open" + (
        f" ({people.link})" if people.link and people.open_conflicts else ""
    )
    rows: list[tuple[str, ...]] = [("item", "who said what", "counts", "text")]
    rows += [_conflict(one) for one in people.conflicts[:MOST_CONFLICTS]]
    more = len(people.conflicts) - MOST_CONFLICTS
    return f"{head}\n{table(rows)}" + (f"\n... and {more} more: --json has all" if more > 0 else "")


def _conflict(one: Conflict) -> tuple[str, ...]:
    said = "; ".join(f"{opinion.annotator}: {opinion.value}" for opinion in one.said)
    settled = "open" if one.settled is None else plain(one.settled)
    settled += "" if one.probability is None else f" ({one.probability:.0%})"
    return plain(one.item_id), plain(said), settled, plain(one.text)


def _time(people: People) -> str:
    if not people.timed:
        return "Time: not known." if people.untimed else "Time: none is claimed, the experts are simulated."
    untimed = f"; the time of {people.untimed:,} more is not known" if people.untimed else ""
    return f"Time: {people.minutes:.1f} minutes for {people.timed:,} answers, ${people.usd:.2f}{untimed}."


def table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def plain(text: str) -> str:
    """One short line without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"


def percent(interval: Interval | None) -> str:
    return "-" if interval is None else interval.percent()


def share(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.value:.3f} [{interval.lo:.3f}, {interval.hi:.3f}]"


def points(interval: Interval) -> str:
    return f"{100 * interval.value:+.1f} [{100 * interval.lo:+.1f}, {100 * interval.hi:+.1f}]"


def seconds(found: Seconds | None) -> str:
    return "-" if found is None else f"{found.median:.0f} [{found.lower:.0f}, {found.upper:.0f}] of {found.n:,}"
