"""Arrays that outlive their round, in the run's folder: what was believed, what a student said of gold."""

import io

import numpy as np

from loop.project import Project
from stillhouse.probabilities import Floats


def keep(project: Project, name: str, array: Floats) -> None:
    folder = project.beliefs
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.save(buffer, array.astype(np.float32), allow_pickle=False)
    part = folder / f"{name}.part"
    part.write_bytes(buffer.getvalue())
    part.replace(folder / f"{name}.npy")


def kept(project: Project, name: str) -> Floats | None:
    """An array of an earlier round, or None."""
    path = project.beliefs / f"{name}.npy"
    return np.load(path, allow_pickle=False).astype(np.float64) if path.exists() else None


def belief_before(project: Project, round_number: int) -> Floats:
    """(u, k): what was believed when the round's batch was chosen: it has seen no answer to any item of the batch."""
    found = kept(project, f"belief-{round_number - 1:02d}")
    assert found is not None, f"a batch was chosen without a belief of round {round_number - 1}"
    return found
