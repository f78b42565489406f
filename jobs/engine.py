"""What can run jobs: this machine, Modal or Ray, all behind three verbs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

# Our own sources, as far as work needs them: the folders that are carried to other machines.
STATIONS = ("teacher", "consensus", "selector", "argilla_setup", "trainer")
PACKAGES = ("stillhouse", "prompts", "kinds", *STATIONS, "serving", "jobs")
# A job is a JSON object that names files; so is what comes of it. Rows never travel, only files do.
Job = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one job of a batch: a result, or what was said when it failed for good."""

    number: int
    result: Mapping[str, Any] | None
    failure: str = ""


class Engine(Protocol):
    """Where work runs. Jobs may be run again at any time: each returns at once what it has finished before.

    An engine may repeat a job whose worker was lost, and need not remember anything: what is done is read off
    receipts and finished folders.
    """

    @property
    def name(self) -> str: ...

    @property
    def shares_files(self) -> bool:
        """Whether workers see the files of this machine under the same paths."""
        ...

    def run(self, work: str, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Each job of the kind `work` (a name in `jobs.work.WORK`), in the order in which they finish."""
        ...

    def place(self, path: Path) -> str:
        """Where workers find a file or folder of this machine; it is carried there first if need be."""
        ...

    def root_for(self, source: Path, target: Path) -> str:
        """Where workers write what becomes of a source; the same for the same two, so that a repeat finds it."""
        ...

    def fetch(self, place: str, target: Path) -> None:
        """A file or folder that workers made, on this machine."""
        ...
