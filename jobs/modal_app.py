"""Stillhouse on Modal: one app, its images and volumes, and the work each of its functions does.

    modal run -m jobs.modal_app                     # what is on the volume, and that everything starts
    modal deploy -m jobs.modal_app                  # for `--on modal` from anywhere, and the web endpoint

The functions are thin: a job is a JSON object that names files on the volume, `jobs.work` does it as on any machine, and
the volume is committed before the outcome is returned. A function may be killed at any moment and called again.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import modal

from jobs.engine import PACKAGES

MINUTES = 60
HOURS = 60 * MINUTES
NAME = "stillhouse"
DATA = "/data"  # texts, plans, labels, students
HUB = "/hub"  # weights of models, fetched once
HOME = "/root"  # where Modal looks for sources
ROOT = Path(__file__).parents[1]

# First what is wanted, then what is taken while that is not to be had. STILLHOUSE_GPU puts another first.
WANTED = [gpu for gpu in os.environ.get("STILLHOUSE_GPU", "").split(",") if gpu]
TRAINING_GPUS = WANTED or ["H100", "A100-80GB", "L40S"]
LABELLING_GPUS = WANTED or ["L4", "A10", "T4"]
TEACHING_GPUS = WANTED or ["H100", "A100-80GB", "L40S"]
LOOK_EVERY_S = 1.0  # for a new checkpoint: no commit is made without one

# The versions all tests passed with, as in constraints.txt; torch comes with CUDA from the package index.
PINS = (
    "accelerate==1.15.0",
    "aiohttp==3.14.5",
    "fastapi==0.165.0",
    "fsspec==2026.9.0",
    "jinja2==3.1.6",
    "numpy==2.4.6",
    "orjson==3.13.0",
    "peft==0.21.2",
    "prometheus-client==0.26.0",
    "pyarrow==26.0.1",
    "pydantic==2.14.4",
    "safetensors==0.8.0",
    "scikit-learn==1.9.1",
    "scipy==1.17.1",
    "tokenizers==0.23.3",
    "torch==2.13.0",
    "transformers==5.24.0",
    "zstandard==0.25.0",
)

# A teacher's machine has what vLLM brings along, torch and transformers among it; the rest is what asking needs.
TEACHING_PINS = ("vllm==0.33.0", "aiohttp", "fsspec", "jinja2", "orjson", "pyarrow", "pydantic", "zstandard")

app = modal.App(NAME)
data = modal.Volume.from_name("stillhouse-data", create_if_missing=True)
hub = modal.Volume.from_name("stillhouse-hub", create_if_missing=True)
# By name, so that no key is ever in code or on the command line: STILLHOUSE_MODAL_SECRETS="hub-token,teacher-key"
secrets = [modal.Secret.from_name(n) for n in os.environ.get("STILLHOUSE_MODAL_SECRETS", "").split(",") if n]


def image_with(pins: tuple[str, ...]) -> modal.Image:
    """Packages in these versions, weights kept on the volume, and our sources on top."""
    built = modal.Image.debian_slim(python_version="3.11").uv_pip_install(*pins).env({"HF_HOME": HUB})
    for package in PACKAGES:  # whole folders: prompts are files beside the code
        built = built.add_local_dir(ROOT / package, f"{HOME}/{package}", ignore=["**/__pycache__", "**/*.pyc"])
    return built


image, teaching_image = image_with(PINS), image_with(TEACHING_PINS)
PLACES: dict[str | os.PathLike[str], Any] = {DATA: data, HUB: hub}
AGAIN = modal.Retries(max_retries=3, initial_delay=1.0, backoff_coefficient=2.0)


def on_volume(work: str, job: dict[str, Any]) -> dict[str, Any]:
    """A job of `jobs.work`, with what others have committed, and committed before its outcome is told."""
    from jobs.work import do

    data.reload()
    result = dict(do(work, job))
    data.commit()
    return result


@app.function(image=image, volumes=PLACES, secrets=secrets, timeout=20 * MINUTES, retries=AGAIN, cpu=2.0)
def on_cpu(work: str, number: int, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """What needs no GPU: plans, exports."""
    return number, on_volume(work, job)


@app.function(
    image=image,
    gpu=LABELLING_GPUS,
    volumes=PLACES,
    secrets=secrets,
    timeout=2 * HOURS,
    retries=AGAIN,
    cpu=4.0,  # tokenising feeds the GPU
    max_containers=100,
)
def label(work: str, number: int, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """One shard of a job, with the student kept from shard to shard."""
    return number, on_volume(work, job)


@app.function(
    image=image, gpu=TRAINING_GPUS, volumes=PLACES, secrets=secrets, timeout=12 * HOURS, retries=AGAIN, max_containers=4
)
def train(work: str, number: int, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """One student, on all GPUs of the container. Killed, it goes on from its last checkpoint on the volume."""
    with checkpoints_committed(str(job.get("checkpoints", ""))):
        return number, on_volume(work, job)


@contextmanager
def checkpoints_committed(folder: str) -> Iterator[None]:
    """The volume is committed when there is a new checkpoint in the folder: a kill costs the steps since the last one."""
    over = threading.Event()

    def there() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in Path(folder).glob("*.safetensors")}

    def watch() -> None:
        seen = there()
        while not over.wait(LOOK_EVERY_S):
            now = there()
            if now != seen:
                with suppress(modal.exception.Error):  # one that did not work is made again with the next look
                    data.commit()
                    seen = now

    watching = threading.Thread(target=watch, daemon=True)
    if folder:
        watching.start()
    try:
        yield
    finally:
        over.set()
        if folder:
            watching.join()


@app.cls(
    image=teaching_image,
    gpu=TEACHING_GPUS,
    volumes=PLACES,
    secrets=secrets,
    timeout=4 * HOURS,
    retries=AGAIN,
    scaledown_window=2 * MINUTES,
    max_containers=20,
)
class Teaching:
    """A teacher under vLLM, loaded once a container and kept from shard to shard."""

    model: str = modal.parameter()
    teacher: str = modal.parameter()

    @modal.enter()
    def load(self) -> None:
        from jobs.teaching import engine_for

        data.reload()
        engine_for(self.model, self.teacher)

    @modal.method()
    def teach(self, work: str, number: int, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The teacher's replies about the items of one shard."""
        return number, on_volume(work, job)


@app.function(image=image, volumes=PLACES, secrets=secrets, timeout=24 * HOURS, retries=AGAIN)
def coordinate(work: str, jobs: list[dict[str, Any]]) -> list[str]:
    """All jobs of a batch without anybody watching (`--detach`); what was said of those that failed."""
    calls = [(work, number, job) for number, job in enumerate(jobs)]
    said = function_for(work, jobs[0]).starmap(calls, return_exceptions=True)
    return [f"{type(one).__name__}: {one}" for one in said if isinstance(one, BaseException)]


def function_for(work: str, job: dict[str, Any], *, deployed: bool = False) -> Any:
    """Which function does a kind of work, by the machine it needs: this app's, or that of the deployed one."""
    if work == "teach":
        cls: Any = modal.Cls.from_name(NAME, "Teaching") if deployed else Teaching
        return cls(model=job["model"], teacher=job["teacher"]).teach
    name = work if work in FUNCTIONS else "on_cpu"
    return modal.Function.from_name(NAME, name) if deployed else FUNCTIONS[name]


FUNCTIONS = {"on_cpu": on_cpu, "label": label, "train": train, "coordinate": coordinate}


@app.local_entrypoint()
def check() -> None:
    """That images build, containers start, and the volume can be read and written."""
    for name in ("on_cpu", "label", "train"):
        print(name, FUNCTIONS[name].remote("echo", 0, {"said": "is ready"})[1]["said"])
