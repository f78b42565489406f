"""A student behind HTTP on Modal, an app of its own: no container runs, and nothing is paid, while nobody asks.

`stillhouse serve --on modal` carries the student to the volume and deploys this with what is to be served in the
environment: STILLHOUSE_SERVED, a JSON object {name, student, base, threshold, limits}, and STILLHOUSE_SERVE_TOKEN.
"""

import json
import os
from pathlib import Path
from typing import Any

import modal

from jobs.modal_app import MINUTES, NAME, PLACES, WANTED, image, secrets

SERVED, TOKEN = "STILLHOUSE_SERVED", "STILLHOUSE_SERVE_TOKEN"
SAID = json.loads(os.environ.get(SERVED, "{}"))
AT_ONCE = 64  # requests that one container works on: their texts are read in one batch
GIVEN: dict[str, str | None] = {name: os.environ.get(name, "") for name in (SERVED, TOKEN)}

app = modal.App(f"{NAME}-{SAID.get('name', 'student')}")


@app.function(  # type: ignore[untyped-decorator]
    image=image,
    gpu=WANTED or None,
    volumes=PLACES,
    secrets=[modal.Secret.from_dict(GIVEN), *secrets],
    cpu=2.0,
    timeout=10 * MINUTES,
    min_containers=0,
    scaledown_window=5 * MINUTES,
    max_containers=10,
)
@modal.concurrent(max_inputs=AT_ONCE)  # type: ignore[untyped-decorator]
@modal.asgi_app()  # type: ignore[untyped-decorator]
def web() -> Any:
    """The application of `stillhouse serve`, over the student on the volume."""
    from serving.api import Limits, create_app
    from serving.service import Serving
    from serving.student import kind_in, labeller_of
    from trainer.base import load_base
    from trainer.engines import model_id_in

    folder = Path(SAID["student"])
    kind = kind_in(folder)
    student = labeller_of(folder, kind, load_base(SAID["base"]) if SAID["base"] else None)
    served = Serving(student=student, kind=kind, model_id=model_id_in(folder), threshold=float(SAID["threshold"]))
    return create_app(served, limits=Limits(**SAID["limits"]), token=os.environ[TOKEN])
