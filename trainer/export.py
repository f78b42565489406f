"""A student as a folder that needs nothing else: the base's weights with the adapter added in, the head, the tokenizer."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors.numpy import save_file

from stillhouse.errors import InputError
from trainer.artifact import written_whole
from trainer.base import Base, sha256_of, what_reads
from trainer.engines import EXPORT, FORMAT, Engine, predictor
from trainer.features import layers_of
from trainer.fitted import FittedStudent
from trainer.graphs import batches_of, needed, openvino_model, quantised, states_of, write_onnx
from trainer.inputs import Inputs

Target = Literal["safetensors", "openvino", "openvino-int8", "onnx"]
TARGETS: tuple[Target, ...] = get_args(Target)
DECODER_DEPTHS = ("decoder_layers", "num_decoder_layers")  # of mBART and T5


def export_student(
    student: FittedStudent,
    folder: Path,
    target: Target,
    *,
    task_json: str,
    describe: Callable[[FittedStudent], str],
    calibration: Inputs | None = None,
) -> str:
    """Write the student to `folder` as `target` and give the export's model id back.

    `calibration` are texts it was taught by, some 300: int8 takes the ranges of activations from them. `describe` is
    called with the exported student, as it will be loaded, and gives the text of README.md: there it can be compared.
    The folder appears as a whole. Raises InputError for int8 without texts, ModelError where the architecture cannot be
    traced, a library is missing or the folder cannot be written.
    """
    if target == "openvino-int8" and not (calibration and len(calibration)):
        raise InputError(
            "int8 needs texts to calibrate on",
            expected="some 300 texts of the pool",
            found="none",
            fix="export the student of a run that still has its pool",
        )
    with written_whole(folder, "export") as part:
        members = [
            (student.base, student.head),
            *((replace(student.base, encoder=one.encoder), one.head) for one in student.others),
        ]
        for number, (base, head) in enumerate(members, start=1):
            place = part if number == 1 else part / f"member-{number}"
            place.mkdir(exist_ok=True)
            _write_encoder(student, base, place, target, calibration)
            save_file({"weight": head.weight, "bias": head.bias}, place / "head.safetensors")
            _tokenizer_of(base).save_pretrained(place)
        (part / "task.json").write_text(task_json, encoding="utf-8")
        files = sorted(path for path in part.rglob("*") if path.is_file())
        hashes = {path.relative_to(part).as_posix(): sha256_of(path) for path in files}
        facts = _facts(student, target, len(members)) | {"files": hashes}
        (part / EXPORT).write_text(_json(facts), encoding="utf-8")
        exported = predictor(part)
        (part / EXPORT).write_text(_json(facts | {"model_id": exported.model_id}), encoding="utf-8")
        (part / "README.md").write_text(describe(exported), encoding="utf-8")
    return exported.model_id


def _facts(student: FittedStudent, target: Target, members: int) -> dict[str, Any]:
    engine: Engine = "torch" if target == "safetensors" else target
    return {
        "format": FORMAT,
        "engine": engine,
        "student": student.model_id,
        "base": student.base.name,
        "members": members,
        "columns": student.columns,
        "width": student.width,
        "temperature": student.temperature,
        "thresholds": student.thresholds,
        "per_text": student.per_text,
        "with_focus": student.with_focus,
        "dimensions": student.base.dimensions,
        "longest_tokens": student.base.longest_tokens,
        "depth": int(student.base.encoder.config.num_hidden_layers),
        "layers": None if student.per_text else layers_of(student.base.encoder),
        "settings": student.settings.model_dump(mode="json"),
        "facts": dict(student.facts),
    }


def _write_encoder(student: FittedStudent, base: Base, place: Path, target: Target, calibration: Inputs | None) -> None:
    if target == "safetensors":
        _whole_model(base.encoder).save_pretrained(place, safe_serialization=True)
        return
    module = states_of(base.encoder, per_text=student.per_text)
    if target == "onnx":
        write_onnx(module, base, place / "model.onnx")
        return
    openvino = needed("openvino")
    model = openvino_model(module, base)
    if target == "openvino-int8":
        assert calibration is not None
        model = quantised(model, batches_of(student.tokens(calibration), base.encoder))
    openvino.save_model(model, place / "model.xml", compress_to_fp16=False)


def _whole_model(encoder: Any) -> Any:
    """What transformers' AutoModel loads: of a sequence-to-sequence model it expects a decoder too, which gets no layers."""
    config = encoder.config
    if not config.is_encoder_decoder:
        return encoder
    from transformers import AutoModel

    config = copy.deepcopy(config)
    for name in DECODER_DEPTHS:
        if hasattr(config, name):
            setattr(config, name, 0)
    whole = AutoModel.from_config(config)
    what_reads(whole).load_state_dict(encoder.state_dict())
    return whole.eval()


def _tokenizer_of(base: Base) -> Any:
    """With a token to pad with, on the right: many a decoder's has none, and others than we pad by it."""
    tokenizer = copy.deepcopy(base.tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=float) + "\n"
