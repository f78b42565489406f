"""docs/reference/cli.md, written from the commands' own help: python -m loop.cli_docs [--check]."""

import sys
from pathlib import Path
from typing import Any

import typer.main

from loop.cli import EXIT_CODES, app

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "cli.md"


def page() -> str:
    """The whole page; depends on nothing but the commands."""
    root = typer.main.get_command(app)
    parts = [
        "# The command line",
        "",
        "Written from the commands' own help by `make docs`.",
        "",
        EXIT_CODES.strip(),
        "",
    ]
    _describe(root, "stillhouse", parts)
    return "\n".join(parts).rstrip() + "\n"


def _describe(command: Any, name: str, parts: list[str]) -> None:
    """A group's commands, or one command: its help, its usage, its options. Typer carries its own click, untyped."""
    children = getattr(command, "commands", None)
    if children is not None:
        for child_name, child in children.items():
            _describe(child, f"{name} {child_name}", parts)
        return
    arguments = [str(p.metavar or p.name).upper() for p in command.params if p.param_type_name == "argument"]
    parts += [f"## {name}", ""]
    for line in filter(None, map(str.strip, (command.help or "").splitlines())):
        # A blank line before each: without it Markdown would run an example into the paragraph above.
        parts += [f"    {line}" if line.startswith("stillhouse ") else line, ""]
    parts.pop()
    parts += [
        "",
        f"Usage: `{' '.join([name, *arguments, '[OPTIONS]'])}`",
        "",
        "| argument or option | meaning |",
        "|---|---|",
    ]
    for param in command.params:
        shown = (
            ", ".join([*param.opts, *param.secondary_opts])
            if param.param_type_name == "option"
            else str(param.metavar or param.name).upper()
        )
        parts.append(f"| `{shown}` | {param.help or ''} |")
    parts.append("")


def main() -> int:
    wanted = page()
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted:
            return 0
        print(f"{PAGE.name} is not what the commands say: run `make docs`", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
