"""Modal: jobs are calls of the app's functions; files travel through its volume."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Self

from jobs.content import content_of
from jobs.engine import Job, Outcome
from stillhouse.errors import InputError


@dataclass(slots=True)
class ModalApp:
    """The app, started when first needed and stopped at the end; a deployed one if `deployed`. Use as a context manager.

    With `detached` what was handed in goes on when this process ends.
    """

    deployed: bool = False
    detached: bool = False
    name: str = "modal"
    shares_files: bool = False
    _stack: ExitStack = field(default_factory=ExitStack)
    _started: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._started = False

    def run(self, work: str, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Modal repeats a job whose container is lost; a job that fails three times more comes back as a failure."""
        if not jobs:
            return
        calls = [(work, number, dict(job)) for number, job in enumerate(jobs)]
        function = self._function(work, jobs[0])
        seen: set[int] = set()
        failures: list[str] = []
        for said in function.starmap(calls, order_outputs=False, return_exceptions=True):
            if isinstance(said, BaseException):
                failures.append(f"{type(said).__name__}: {said}")
                continue
            number, result = said
            seen.add(number)
            yield Outcome(number, result)
        # An exception does not say which job it was of: what is left over failed.
        for number in sorted(set(range(len(jobs))) - seen):
            yield Outcome(number, None, failures.pop(0) if failures else "no outcome")

    def hand_in(self, work: str, jobs: Sequence[Job]) -> str:
        """All jobs to a coordinator in a container; the id of its call."""
        call = self._function("coordinate", {}).spawn(work, [dict(job) for job in jobs])
        return str(call.object_id)

    def wait(self, call_id: str) -> None:
        """Until what was handed in has ended, well or not: what came of it is read off receipts."""
        import modal

        try:
            modal.FunctionCall.from_id(call_id).get()
        except Exception as error:  # noqa: BLE001 - whatever became of the coordinator, work goes on from the receipts
            print(f"what was handed in ended with {type(error).__name__}: {error}", file=sys.stderr)

    def place(self, path: Path) -> str:
        """On the volume under a name that is its content: what is there already is not carried again."""
        from jobs.modal_app import DATA, data

        name = f"placed/{content_of(path)}/{path.name}"
        if not _there(data, name):
            with data.batch_upload(force=True) as batch:
                if path.is_dir():
                    batch.put_directory(path, f"/{name}")
                else:
                    batch.put_file(path, f"/{name}")
        return f"{DATA}/{name}"

    def root_for(self, source: Path, target: Path) -> str:
        """By the target's name and where it is: two people's targets of one name are two jobs."""
        from jobs.modal_app import DATA

        where = hashlib.sha256(f"{source.absolute()}\x1f{target.absolute()}".encode()).hexdigest()[:12]
        return f"{DATA}/jobs/{target.name}-{where}"

    def fetch(self, place: str, target: Path) -> None:
        from jobs.modal_app import DATA, data

        start = PurePosixPath(place).relative_to(DATA)
        for entry in data.listdir(str(start), recursive=True):
            if entry.type.name != "FILE":
                continue
            relative = PurePosixPath(entry.path).relative_to(start)
            file = target if str(relative) == "." else target / relative
            if file.name.startswith("part-") and file.exists() and file.stat().st_size == entry.size:
                continue  # named by its content: it has been fetched
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f".{file.name}.part")
            with part.open("wb") as out:
                for chunk in data.read_file(entry.path):
                    out.write(chunk)
            part.replace(file)

    def _function(self, work: str, job: Job) -> Any:
        from jobs import modal_app

        if not self._started:
            import modal

            with with_an_account():
                if self.deployed:
                    modal.App.lookup(modal_app.NAME)
                else:
                    self._stack.enter_context(modal_app.app.run(detach=self.detached))
            self._started = True
        return modal_app.function_for(work, dict(job), deployed=self.deployed)


def serve_on_modal(
    student: Path, base: Path | None, *, name: str, threshold: float, token: str, limits: Mapping[str, Any]
) -> str:
    """Deploy a student as a web endpoint of its own, which is there when somebody asks; its address.

    A later call with the same `name` replaces it. Raises InputError without an account.
    """
    with with_an_account():
        engine = ModalApp()
        said = {
            "name": name,
            "student": engine.place(student),
            "base": engine.place(base) if base is not None else "",
            "threshold": threshold,
            "limits": dict(limits),
        }
        os.environ["STILLHOUSE_SERVED"] = json.dumps(said)  # read where the app is declared
        os.environ["STILLHOUSE_SERVE_TOKEN"] = token
        from jobs import modal_serve

        modal_serve.app.deploy()
        return str(modal_serve.web.get_web_url())


@contextmanager
def with_an_account() -> Iterator[None]:
    """Raises InputError where Modal knows no account of this machine."""
    import modal

    try:
        yield
    except modal.exception.AuthError as error:
        raise InputError(
            "no account on Modal",
            expected="a token, as `modal setup` makes it",
            found=str(error),
            fix="run `modal setup`, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET",
        ) from error


def _there(volume: Any, name: str) -> bool:
    import modal

    try:
        return bool(volume.listdir(name))
    except (modal.exception.NotFoundError, FileNotFoundError):
        return False
