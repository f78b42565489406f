"""A run's student behind HTTP, until it is told to stop."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from loop.labeller import Asking, kind_of_student, student_folder
from loop.project import project_of
from serving.api import Limits, create_app
from serving.service import Serving
from serving.student import labeller_of
from stillhouse.errors import InputError
from stillhouse.records import Item
from trainer.engines import model_id_in

if TYPE_CHECKING:
    import uvicorn

TOKEN_ENV = "STILLHOUSE_SERVE_TOKEN"  # noqa: S105 - the name of a variable, not a secret
LOOPBACK = ("127.0.0.1", "localhost", "::1")
GRACE_S = 30  # for what is in flight when the server is told to stop


def serve_with(
    folder: Path,
    asking: Asking,
    *,
    host: str,
    port: int,
    limits: Limits,
    threads: int,
    told: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT; what is in flight then is answered first. `told` gets the address, once it is ready.

    Raises InputError for a host that others can reach without a token in STILLHOUSE_SERVE_TOKEN, or a port that is taken.
    """
    token = os.environ.get(TOKEN_ENV, "")
    if host not in LOOPBACK and not token:
        raise InputError(
            f"{host} can be reached from other machines",
            expected=f"a token in the environment variable {TOKEN_ENV}",
            found="none",
            fix=f"export {TOKEN_ENV}=..., or leave --host out",
        )
    project = project_of(folder)
    where = asking.student or student_folder(project)
    kind = kind_of_student(project, where, cascade=asking.cascade)
    with asking.steps(project, waited_for=True) as steps:
        what = Serving(
            student=labeller_of(where, kind),
            kind=kind,
            model_id=model_id_in(where),
            threshold=asking.threshold,
            cascade=steps.cascade if steps else None,
            threads=threads,
        )
        if kind.per_text:
            what.student.predict(
                what.student.prepare([Item("", "ready")])
            )  # what is made at the first call is made now
        run_server(what, host=host, port=port, told=told, limits=limits, token=token)


def run_server(
    what: Serving,
    *,
    host: str,
    port: int,
    told: Callable[[str], None],
    limits: Limits | None = None,
    token: str = "",
) -> None:
    """Until a signal says stop. Raises InputError for an address that cannot be had."""
    import uvicorn

    config = uvicorn.Config(
        create_app(what, limits=limits, token=token),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    bound = _bound(config)
    shown = f"[{host}]" if ":" in host else host
    told(f"http://{shown}:{bound.getsockname()[1]}")
    # uvicorn raises the signal that stopped it once more when it is done: that it was told to stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[bound])


def _bound(config: "uvicorn.Config") -> socket.socket:
    """Before the server starts, so that its port is known and a taken one is an error of ours."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((config.host, config.port))
        bound.listen(config.backlog)  # from here on nobody is turned away: who comes early waits
    except OSError as error:
        bound.close()
        raise InputError(
            f"nothing can be served at {config.host}:{config.port}",
            expected="an address of this machine and a free port",
            found=str(error),
            fix="choose another --port, or 0 for any",
        ) from error
    return bound
