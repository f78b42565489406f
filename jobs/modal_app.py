"""Stillhouse on Modal: one app, its images and volumes, and the work each of its functions does.

    modal run -m jobs.modal_app                     # what is on the volume, and that everything starts
    modal deploy -m jobs.modal_app                  # for `--on modal` from anywhere, and the web endpoint

The functions are thin: a job is a JSON object that names files on the volume, `jobs.work` does it as on any machine, and
the volume is committed before the outcome is returned. A function may be killed at any moment and called again.
"""

import os
from pathlib import Path
from typing import Any

import modal

MINUTES = 60
HOURS = 60 * MINUTES
NAME = "stillhouse"
DATA = "/data"  # texts, plans, labels, students
HUB = "/hub"  # weights of models, fetched once
HOME = "/root"  # where Modal looks for sources
ROOT = Path(__file__).parents[1]
PACKAGES = ("stillhouse", "prompts", "kinds", "teacher", "consensus", "selector", "trainer", "serving", "jobs")

# First what is wanted, then what is taken while that is not to be had. STILLHOUSE_GPU puts another first.
WANTED = [gpu for gpu in os.environ.get("STILLHOUSE_GPU", "").split(",") if gpu]
TRAINING_GPUS = WANTED or ["H100", "A100-80GB", "L40S"]
LABELLING_GPUS = WANTED or ["L4", "A10", "T4"]

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

app = modal.App(NAME)
data = modal.Volume.from_name("stillhouse-data", create_if_missing=True)
hub = modal.Volume.from_name("stillhouse-hub", create_if_missing=True)
# By name, so that no key is ever in code or on the command line: STILLHOUSE_MODAL_SECRETS="hub-token,teacher-key"
secrets = [modal.Secret.from_name(n) for n in os.environ.get("STILLHOUSE_MODAL_SECRETS", "").split(",") if n]
image = modal.Image.debian_slim(python_version="3.11").uv_pip_install(*PINS).env({"HF_HOME": HUB})
for package in PACKAGES:  # whole folders: prompts are files beside the code
    image = image.add_local_dir(ROOT / package, f"{HOME}/{package}", ignore=["**/__pycache__", "**/*.pyc"])

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
    """One student. Killed, it goes on from its last checkpoint on the volume."""
    return number, on_volume(work, job)


@app.function(image=image, volumes=PLACES, secrets=secrets, timeout=24 * HOURS, retries=AGAIN)
def coordinate(work: str, jobs: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """All jobs of a batch without anybody watching (`--detach`); what failed, by number."""
    calls = [(work, number, job) for number, job in enumerate(jobs)]
    said = list(function_for(work).starmap(calls, return_exceptions=True, wrap_returned_exceptions=False))
    return [(number, str(one)) for number, one in enumerate(said) if isinstance(one, BaseException)]


def function_for(work: str) -> Any:
    """Which function does a kind of work: by the machine it needs."""
    return FUNCTIONS[name_for(work)]


def name_for(work: str) -> str:
    """The name it is deployed under."""
    return work if work in FUNCTIONS else "on_cpu"


FUNCTIONS = {"on_cpu": on_cpu, "label": label, "train": train, "coordinate": coordinate}


@app.local_entrypoint()
def check() -> None:
    """That images build, containers start, and the volume can be read and written."""
    for name in ("on_cpu", "label", "train"):
        print(name, FUNCTIONS[name].remote("echo", 0, {"said": "is ready"})[1]["said"])
