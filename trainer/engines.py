"""What a student's encoder runs on when it labels: torch, or what it was exported to."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, Literal, cast, get_args

from safetensors import safe_open
from safetensors.numpy import load_file

from stillhouse.errors import ModelError
from stillhouse.settings import Student
from trainer.artifact import load_student, model_id_of
from trainer.base import Base, find_base, load_base, sha256_of
from trainer.compiled import CompiledEncoder, onnx_run, openvino_run
from trainer.fitted import FittedStudent, Member
from trainer.linear import LinearHead
from trainer.lora import Adapter

Engine = Literal["torch", "openvino", "openvino-int8", "onnx"]
EMBEDDINGS = re.compile(r"embed|\bwte\b|\bwpe\b")  # looked up, not multiplied
ENGINES: tuple[Engine, ...] = get_args(Engine)
EXPORT = "export.json"  # written last into an export: what it is, and the sha256 of its other files
FORMAT = 1


def predictor(folder: Path, engine: Engine | None = None, *, base: Base | None = None) -> FittedStudent:
    """The student in `folder`, ready to label: `.predict(inputs)` gives probabilities (U, k), as trained or as exported.

    `folder` is a student (`trainer.artifact.save_student`), which runs on torch, or an export (`stillhouse export`), which
    holds all it needs and runs on what it was exported to; `engine` None takes what is there. An export has a model id of
    its own, because its predictions are not the same to the last bit. `base` saves loading a student's base again.

    Raises ModelError where the folder is incomplete or was changed, where it is not of this engine, or where the library
    of the engine is not installed.
    """
    found = engine_in(folder)
    if engine is not None and engine != found:
        raise ModelError(
            f"{folder} does not run on {engine}",
            expected=f"an export to {engine}",
            found=f"one that runs on {found}",
            fix=f"stillhouse export student RUN OUT --to {engine}",
        )
    return _exported(folder, _verified(folder)) if is_export(folder) else load_student(folder, base=base)


def is_export(folder: Path) -> bool:
    """Whether an export is in `folder`, whole or not."""
    return (folder / EXPORT).is_file()


def engine_in(folder: Path) -> Engine:
    """What the student or export in `folder` runs on. Raises ModelError for an export that cannot be read."""
    if not is_export(folder):
        return "torch"
    found = _read(folder).get("engine")
    if found not in ENGINES:
        raise _damaged(folder, f"an engine in {EXPORT}: {', '.join(ENGINES)}", str(found))
    return cast("Engine", found)


def model_id_in(folder: Path) -> str:
    """The model id of the student or export in `folder`, without loading its model. Raises ModelError where the folder is
    incomplete or was changed.
    """
    return str(_verified(folder)["model_id"]) if is_export(folder) else model_id_of(folder)


def _exported(folder: Path, facts: dict[str, Any]) -> FittedStudent:
    others = [folder / f"member-{number}" for number in range(2, int(facts["members"]) + 1)]
    return FittedStudent(
        columns=tuple(facts["columns"]),
        base=_loaded(folder, facts),
        head=_head(folder),
        temperature=float(facts["temperature"]),
        settings=Student.model_validate(facts["settings"]),
        width=int(facts["width"]),
        thresholds=None if facts["thresholds"] is None else tuple(facts["thresholds"]),
        per_text=bool(facts["per_text"]),
        with_focus=bool(facts["with_focus"]),
        others=tuple(Member(_loaded(one, facts).encoder, _head(one), Adapter(None, {})) for one in others),
        facts=facts["facts"],
    )


def _loaded(folder: Path, facts: dict[str, Any]) -> Base:
    """The encoder of one member with its tokenizer; its sha256 stands for all files, wherever they lie."""
    encoder: Any
    if facts["engine"] == "torch":
        loaded = load_base(str(folder))
        encoder, tokenizer = loaded.encoder, loaded.tokenizer
    else:
        from transformers import AutoTokenizer

        on_onnx, threads = facts["engine"] == "onnx", int(facts["settings"]["threads"])
        run = onnx_run(folder / "model.onnx") if on_onnx else openvino_run(folder / "model.xml", threads)
        encoder = CompiledEncoder(run, facts["layers"], int(facts["depth"]))
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    sha256 = hashlib.sha256(json.dumps(sorted(facts["files"].items())).encode()).hexdigest()
    lengths = int(facts["dimensions"]), int(facts["longest_tokens"])
    return Base(str(facts["base"]), folder, sha256, encoder, tokenizer, *lengths)


def _head(folder: Path) -> LinearHead:
    arrays = load_file(folder / "head.safetensors")
    return LinearHead(arrays["weight"], arrays["bias"])


def _verified(folder: Path) -> dict[str, Any]:
    """What EXPORT says, once each file it names is there and unchanged."""
    facts = _read(folder)
    if facts.get("format") != FORMAT:
        raise _damaged(folder, f"format {FORMAT}", f"format {facts.get('format')}")
    for name, sha256 in sorted(facts["files"].items()):
        found = sha256_of(folder / name) if (folder / name).is_file() else "nothing"
        if found != sha256:
            raise _damaged(folder, f"{name} with sha256 {sha256}", found)
    return facts


def _read(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / EXPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{EXPORT}, which is written last", type(error).__name__) from error
    return facts


def _damaged(folder: Path, expected: str, found: str) -> ModelError:
    return ModelError(
        f"the export in {folder} is incomplete or was changed",
        expected=expected,
        found=found,
        fix="export the student again, or copy the folder again",
    )


def parameters_in(folder: Path) -> int | None:
    """The parameters that a student uses for every token, its embeddings left out; None where its base is not here.

    Read off the headers of the weights: nothing is loaded.
    """
    if is_export(folder):
        weights = folder
    else:
        try:
            weights = find_local_base(folder)
        except ModelError:
            return None
    total = 0
    for path in weights.rglob("*.safetensors"):
        with safe_open(path, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dictionary
                if not EMBEDDINGS.search(name):
                    total += math.prod(tensors.get_slice(name).get_shape())
    return total or None


def find_local_base(folder: Path) -> Path:
    """Where the base of a student is on this machine. Raises ModelError where it would have to be fetched."""
    name = str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["base"])
    if not name.startswith("package:") and not Path(name).is_dir():
        raise ModelError(
            f"the base {name} is not a folder here",
            expected="a folder",
            found="a Hub id",
            fix="it is fetched when needed",
        )
    return find_base(name)
