"""What work on rented machines costs: by arithmetic before, by the seconds in receipts after."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stillhouse.errors import InputError

PRICES = Path(__file__).with_name("prices.toml")
# Of a card's peak: what labelling short texts reached here, and what is seldom missed (docs/scale.md says where from).
LEAST_SHARE, MOST_SHARE = 0.15, 0.5
FLOPS_A_PARAMETER = 2  # a token's forward pass: one multiplication and one addition
CORES, MEMORY_GIB = 4, 8  # what the labelling function asks for


@dataclass(frozen=True, slots=True)
class Machine:
    """A GPU with the cores and memory beside it; `tflops` is its bf16 peak."""

    gpu: str
    usd_per_s: float
    tflops: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """GPU hours and dollars, at the better and at the worse share of the card's peak."""

    gpu: str
    hours: tuple[float, float]
    usd: tuple[float, float]

    def text(self) -> str:
        least, most = self.usd
        return f"{self.hours[0]:.2f} to {self.hours[1]:.2f} hours of {self.gpu}, ${least:.2f} to ${most:.2f}"


@cache
def machine(gpu: str) -> Machine:
    """A GPU by Modal's name, with `:N` for several. Raises InputError for one without a price."""
    table = tomllib.loads(PRICES.read_text(encoding="utf-8"))
    name, _, count = gpu.upper().partition(":")
    name = {"A100": "A100-40GB", "A10G": "A10", "H100!": "H100", "B200+": "B200"}.get(name, name)
    if name not in table["gpus"]:
        raise InputError(
            f"no price for the GPU {gpu}",
            expected=", ".join(sorted(table["gpus"])),
            found=gpu,
            fix=f"choose one of these, or add it to {PRICES.name}",
        )
    number = int(count or 1)
    beside = CORES * table["machine"]["usd_per_core_s"] + MEMORY_GIB * table["machine"]["usd_per_gib_s"]
    own = table["gpus"][name]
    return Machine(gpu, number * own["usd_per_s"] + beside, number * own["tflops"])


def estimate(gpu: str, *, tokens: float, parameters: float) -> Estimate:
    """Labelling so many tokens with an encoder of so many parameters that are used for each (embeddings are not)."""
    on = machine(gpu)
    at_peak_s = FLOPS_A_PARAMETER * parameters * tokens / (on.tflops * 1e12)
    seconds = (at_peak_s / MOST_SHARE, at_peak_s / LEAST_SHARE)
    return Estimate(gpu, (seconds[0] / 3600, seconds[1] / 3600), (seconds[0] * on.usd_per_s, seconds[1] * on.usd_per_s))


def spent_usd(gpu: str, worker_seconds: float) -> float:
    """What the seconds in receipts cost. Starting containers, idle ones and lost attempts come on top."""
    return worker_seconds * machine(gpu).usd_per_s
