"""Modal: jobs are calls of the app's functions; files travel through its volume."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Self

from jobs.engine import Job, Outcome
from stillhouse.errors import InputError

CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class ModalApp:
    """The app, started when first needed and stopped by `close`; a deployed one if `deployed`. Use as a context manager.

    With `detached` work goes on when this process ends, and `run` only hands it in.
    """

    deployed: bool = False
    detached: bool = False
    name: str = "modal"
    shares_files: bool = False
    _stack: ExitStack = field(default_factory=ExitStack)
    _functions: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._functions.clear()

    def run(self, work: str, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Modal repeats a job whose container is lost; a job that fails three times more comes back as a failure."""
        calls = [(work, number, dict(job)) for number, job in enumerate(jobs)]
        function = self._function(work)
        if self.detached:
            call = self._function("coordinate").spawn(work, [dict(job) for job in jobs])
            raise DetachedError(call.object_id)
        seen: set[int] = set()
        failures: list[str] = []
        for said in function.starmap(
            calls, order_outputs=False, return_exceptions=True, wrap_returned_exceptions=False
        ):
            if isinstance(said, BaseException):
                failures.append(f"{type(said).__name__}: {said}")
                continue
            number, result = said
            seen.add(number)
            yield Outcome(number, result)
        # An exception does not say which job it was of: what is left over failed.
        for number in sorted(set(range(len(jobs))) - seen):
            yield Outcome(number, None, failures.pop(0) if failures else "no outcome")

    def place(self, path: Path) -> str:
        """On the volume under a name that is its content: what is there already is not carried again."""
        from jobs.modal_app import DATA, data

        name = f"placed/{_content_of(path)}/{path.name}"
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

    def _function(self, work: str) -> Any:
        import modal

        from jobs import modal_app

        if not self._functions:
            try:
                if self.deployed:
                    modal.App.lookup(modal_app.NAME)
                else:
                    self._stack.enter_context(modal_app.app.run(detach=self.detached))
            except modal.exception.AuthError as error:
                raise InputError(
                    "no account on Modal",
                    expected="a token, as `modal setup` makes it",
                    found=str(error),
                    fix="run `modal setup`, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET",
                ) from error
            self._functions["started"] = True
        if work not in self._functions:
            name = modal_app.name_for(work)
            here = modal_app.FUNCTIONS[name]
            self._functions[work] = modal.Function.from_name(modal_app.NAME, name) if self.deployed else here
        return self._functions[work]


class DetachedError(Exception):
    """Not a fault: the work has been handed in, and its id on Modal is `args[0]`."""


def _content_of(path: Path) -> str:
    """A hash of a file, or of all files of a folder with their names."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(str(file.relative_to(path)).encode())
            with file.open("rb") as content:
                while chunk := content.read(CHUNK_BYTES):
                    digest.update(chunk)
    return digest.hexdigest()[:16]


def _there(volume: Any, name: str) -> bool:
    import modal

    try:
        return bool(volume.listdir(name))
    except (modal.exception.NotFoundError, FileNotFoundError):
        return False
