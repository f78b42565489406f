"""Ray: each job a task of a cluster that exists, or of this machine. Files are on a folder all of its machines see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.engine import PACKAGES, Job, Outcome
from jobs.local import LocalProcesses
from jobs.work import do
from stillhouse.errors import InputError, StillhouseError

MOST_TRIES = 5  # of one job whose worker is lost
OUTSTANDING_A_CPU = 4  # tasks handed in at a time: a plan of 10,000 shards is no load on the scheduler


@dataclass(frozen=True, slots=True)
class RayTasks:
    """`address` of a cluster as `ray start` prints it, "auto", or nothing for this machine. A task takes `cpus`, `gpus`."""

    address: str = ""
    cpus: float = 1.0
    gpus: float = 0.0
    name: str = "ray"
    shares_files: bool = True

    def run(self, work: str, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Raises InputError where Ray is not installed or no cluster answers."""
        ray = _connected(self.address)
        remote = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=MOST_TRIES - 1)(_said)
        most = max(2, int(ray.cluster_resources().get("CPU", 1)) * OUTSTANDING_A_CPU)
        waiting = iter(enumerate(jobs))
        out: dict[Any, int] = {}
        while True:
            while len(out) < most and (entry := next(waiting, None)) is not None:
                out[remote.remote(work, dict(entry[1]))] = entry[0]
            if not out:
                return
            for reference in ray.wait(list(out), num_returns=1)[0]:
                number = out.pop(reference)
                try:
                    result, failure = ray.get(reference)
                except ray.exceptions.RayError as error:
                    result, failure = None, f"{type(error).__name__}: {str(error).splitlines()[0]}"
                yield Outcome(number, result, failure)

    def place(self, path: Path) -> str:
        return str(path.absolute())

    def root_for(self, source: Path, target: Path) -> str:  # noqa: ARG002 - only the target counts here
        return str(target.absolute())

    def fetch(self, place: str, target: Path) -> None:
        LocalProcesses().fetch(place, target)


def _said(work: str, job: Job) -> tuple[dict[str, Any] | None, str]:
    """Failures as words: an exception would make Ray repeat what would fail again."""
    try:
        return dict(do(work, job)), ""
    except StillhouseError as error:
        return None, f"{type(error).__name__}: {error}"


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "Ray is not installed",
            expected="the extra ray",
            found=str(error),
            fix="in the checkout: pip install -c constraints.txt -e '.[ray]'",
        ) from error
    if not ray.is_initialized():
        environment = {"py_modules": [_folder(name) for name in PACKAGES]} if address else None
        try:
            ray.init(
                address=address or None,
                runtime_env=environment,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(
                f"no Ray cluster at {address or 'this machine'}",
                expected="an address as `ray start --head` prints it, or auto",
                found=str(error).splitlines()[0],
                fix="start the cluster, or correct --address",
            ) from error
    return ray


def _folder(package: str) -> str:
    return str(Path(__file__).parents[1] / package)
