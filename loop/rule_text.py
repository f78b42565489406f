"""The table of a task's rules for a terminal."""

from loop.rule_table import RuleRow, RuleTable


def table_text(table: RuleTable) -> str:
    """The table for a terminal."""
    head = ("rule", "says", "coverage", "overlaps", "conflicts", "right", "wrong", "accuracy on blind answers", "worth")
    lines = [head, *(_cells(row) for row in table.rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text += [
        "",
        f"{len(table.rows)} rules, {table.items:,} items, {table.covered:.1%} covered; {table.answers:,} items answered.",
        "right, wrong: of answered items, most of them picked for being hard; only blind answers say how good a rule is.",
        f"worth: the estimated chance that it is right{table.estimate}.",
    ]
    if table.examples:
        text.append("")
    for example in table.examples:
        said = f"; {example.against or 'others'}: {example.other}" if example.other else ""
        mark = "! " if example.against else "  "
        text.append(f"{mark}{example.item_id}  rule: {example.rule}{said}\n    {' '.join(example.text.split())[:200]}")
    return "\n".join(text)


def _cells(row: RuleRow) -> tuple[str, ...]:
    says = ", ".join(row.says[:3]) + (f" and {len(row.says) - 3} more" if len(row.says) > 3 else "")
    shares = (f"{share:.1%}" for share in (row.coverage, row.overlaps, row.conflicts))
    blind = f"{row.blind.percent()} of {row.blind.n}" if row.blind else "–"
    worth = "–" if row.estimated is None else f"{row.estimated:.2f}"
    return (row.name, says, *shares, str(row.right), str(row.wrong), blind, worth)
