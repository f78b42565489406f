"""What all commands share: flags, errors as text with an exit code, and answers as text or JSON."""

import errno
import gc
import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stillhouse.errors import INTERRUPTED_EXIT_CODE, DiskFullError, InputError, StillhouseError

OBJECTS_A_COLLECTION = 50_000

TaskFile = Annotated[Path, typer.Argument(metavar="TASK", help="The task.toml.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="The run's folder.", show_default="runs/<name of the task>")
]
StudentOption = Annotated[
    Path | None,
    typer.Option("--student", help="The folder of a student or an export.", show_default="the run's last student"),
]
Threshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Abstain below this probability.", show_default="what --max-error takes"),
]
MaxError = Annotated[
    float | None,
    typer.Option(
        help="Abstain where no more than this share may be wrong.", show_default="the task's student.max_error"
    ),
]
CascadeOption = Annotated[
    bool, typer.Option("--cascade", help="What the student abstains on goes to the teachers, then to people's desk.")
]
TeacherThreshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Of the teachers in a cascade.", show_default="the student's threshold"),
]
CascadeBudget = Annotated[
    float | None,
    typer.Option("--budget", min=0, help="US dollars the cascade may spend in all.", show_default="the task's budget"),
]
ExportTarget = Literal["safetensors", "openvino", "openvino-int8", "onnx"]
On = Annotated[
    Literal["local", "ray", "modal"] | None,
    typer.Option("--on", help="Other processes than this one.", show_default="this process"),
]
Address = Annotated[str, typer.Option("--address", help="Of a cluster, with --on ray.", show_default="this machine")]
Gpu = Annotated[
    str, typer.Option("--gpu", help="Its kind, with --on modal, such as L40S or H100:4.", show_default="by the work")
]
Deployed = Annotated[bool, typer.Option("--deployed", help="Use the app as it is deployed on Modal.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def collect_rarely() -> None:
    """Most objects of a command live to its end: to look for cycles every 700 new ones is a tenth of a teacher's CPU."""
    gc.set_threshold(OBJECTS_A_COLLECTION, 10, 10)


@contextmanager
def clear_errors() -> Iterator[None]:
    """A known error is three lines and its exit code; an interrupt is one line: everything so far is kept."""
    collect_rarely()
    try:
        yield
    except StillhouseError as error:
        print(error.text(), file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        full = DiskFullError(
            "no room left to write",
            expected="free disk space",
            found=str(error),
            fix="make room and repeat the command: everything committed so far is safe",
        )
        print(full.text(), file=sys.stderr)
        raise typer.Exit(full.exit_code) from error
    except KeyboardInterrupt as error:
        print("interrupted: everything so far is kept; repeat the command to go on", file=sys.stderr)
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from error


def say(result: dict[str, Any], text: str, *, as_json: bool) -> None:
    print(json.dumps(result, ensure_ascii=False, indent=1) if as_json else text)


def need_extra(extra: str, *packages: str) -> None:
    """Raises InputError where a package of an extra is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(
            "something that this command needs is not installed",
            expected=", ".join(packages),
            found=f"no {', '.join(missing)}",
            fix=f"in the checkout: pip install -c constraints.txt -e '.[{extra}]'",
        )
