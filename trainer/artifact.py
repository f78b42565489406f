"""A student on disk: a folder that is whole or not there, checked by hash before anything in it is believed."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from stillhouse.errors import DiskFullError, ModelError
from stillhouse.settings import Student
from stillhouse.task import FieldSpec
from trainer.base import Base, load_base, sha256_of
from trainer.card import model_card
from trainer.generative import GenerativeStudent
from trainer.linear import LinearHead
from trainer.lora import with_adapter
from trainer.members import read_adapter, read_members, write_adapter, write_members
from trainer.reader import Bounds
from trainer.risk import RiskScores
from trainer.student import FittedStudent

__all__ = [
    "is_complete",
    "load_generative",
    "load_student",
    "model_card",
    "model_id_of",
    "recipe_in",
    "risk_in",
    "save_student",
    "write_card",
    "written_whole",
]

MANIFEST, RISK, CARD = "manifest.json", "risk.json", "README.md"
FORMAT = 2
READABLE = (1, 2)  # 1 knew one label a text only


def save_student(
    student: FittedStudent | GenerativeStudent,
    folder: Path,
    *,
    task_json: str,
    metrics: Mapping[str, Any],
    card: str,
    risk: RiskScores | None = None,
) -> str:
    """Write the student to `folder` and give its model id back. `risk` is what an error can be certified on.

    All is written beside `folder` first, the manifest (sha256 of each file) last, and moved there as a whole: a folder
    that was there before is replaced. Raises DiskFullError or ModelError where it cannot be written.
    """
    with written_whole(folder, "student") as part:
        if risk is not None:
            (part / RISK).write_text(risk.to_json(), encoding="utf-8")
        _write(student, part, task_json, metrics, card)
    return student.model_id


def write_card(folder: Path, card: str) -> None:
    """Give the student in `folder` another model card, as a whole: what is known of it may come after it is saved.

    Raises ModelError where the folder is incomplete or was changed, or cannot be written.
    """
    manifest = _verified(folder)
    with written_whole(folder, "student") as part:
        kept = shutil.ignore_patterns(CARD, MANIFEST)
        shutil.copytree(folder, part, ignore=kept, copy_function=os.link, dirs_exist_ok=True)
        (part / CARD).write_text(card, encoding="utf-8")
        manifest["files"][CARD] = sha256_of(part / CARD)
        (part / MANIFEST).write_text(_json(manifest), encoding="utf-8")


@contextmanager
def written_whole(folder: Path, what: str) -> Iterator[Path]:
    """A folder beside `folder` to write to, which takes its place once all is written; what was there before is replaced.

    Raises DiskFullError or ModelError where something cannot be written; then nothing is left behind.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
        try:
            yield part
            part.chmod(0o755)
            _move(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except (OSError, ValueError) as error:
        kind = DiskFullError if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} else ModelError
        raise kind(
            f"the {what} cannot be saved to {folder}",
            expected="a folder that can be written to with room for a few MB, and metrics that are finite",
            found=str(error),
            fix="make room or choose another folder (or leave out a figure that is not finite), and repeat the command",
        ) from error


def load_student(folder: Path, *, base: Base | None = None) -> FittedStudent:
    """Read a student that `save_student` wrote; its predictions are the ones it made before.

    `base` saves loading it again. Raises ModelError where the folder is incomplete or was changed, or where the base
    is missing or has other weights than the ones the student was trained on.
    """
    manifest, config, settings = _opened(folder, writes=False)
    base = _its_base(folder, config, base, writes=False)
    arrays = load_file(folder / "head.safetensors")
    adapter = None if config["recipe"] == "head" else read_adapter(folder / "adapter")
    encoder = base.encoder if adapter is None else with_adapter(base.encoder, adapter)
    student = FittedStudent(
        columns=tuple(config.get("columns") or config["label_names"]),
        base=replace(base, encoder=encoder),
        head=LinearHead(arrays["weight"], arrays["bias"]),
        temperature=float(config["temperature"]),
        settings=settings,
        adapter=adapter,
        width=int(config.get("width", 0)),
        thresholds=None if config.get("thresholds") is None else tuple(config["thresholds"]),
        per_text=bool(config.get("per_text", True)),
        with_focus=bool(config.get("with_focus", False)),
        others=read_members(folder, base.encoder),
        facts=config["facts"],
    )
    _check_id(folder, manifest, student)
    return student


def load_generative(folder: Path, *, base: Base | None = None) -> GenerativeStudent:
    """Like `load_student`, for a student whose recipe is "generate"; `base` must have been loaded with `writes=True`."""
    manifest, config, settings = _opened(folder, writes=True)
    base = _its_base(folder, config, base, writes=True)
    adapter = read_adapter(folder / "adapter")
    student = GenerativeStudent(
        fields=tuple(FieldSpec.model_validate(spec) for spec in config["fields"]),
        base=replace(base, encoder=with_adapter(base.encoder, adapter)),
        adapter=adapter,
        settings=settings,
        bounds=Bounds(**config["bounds"] | {"copied": tuple(config["bounds"]["copied"])}),
        facts=config["facts"],
    )
    _check_id(folder, manifest, student)
    return student


def recipe_in(folder: Path) -> str:
    """The recipe of the student in `folder`, without loading it. Raises ModelError where it is incomplete or changed."""
    _verified(folder)
    return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["recipe"])


def risk_in(folder: Path) -> RiskScores | None:
    """What an error of the student in `folder` can be certified on; None where nothing was kept. Raises ModelError where
    the folder is incomplete or changed.
    """
    _verified(folder)
    path = folder / RISK
    return RiskScores.of_json(path.read_text(encoding="utf-8")) if path.exists() else None


def _opened(folder: Path, *, writes: bool) -> tuple[dict[str, Any], dict[str, Any], Student]:
    """Manifest, config and settings of a whole student of the wanted sort."""
    manifest = _verified(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if (config["recipe"] == "generate") != writes:
        raise ModelError(
            f"the student in {folder} is of another sort",
            expected="a student that writes (recipe generate)" if writes else "a student that labels (head, lora)",
            found=f"recipe {config['recipe']}",
            fix=f"load it with {'load_student' if writes else 'load_generative'}",
        )
    try:
        return manifest, config, Student.model_validate(config["settings"])
    except ValueError as error:
        raise _damaged(folder, "settings that this version knows", str(error)) from error


def _its_base(folder: Path, config: Mapping[str, Any], base: Base | None, *, writes: bool) -> Base:
    """The base, checked, with the tokenizer that was saved."""
    base = base or load_base(config["base"], expected_sha256=config["base_sha256"], writes=writes)
    if base.sha256 != config["base_sha256"]:
        raise ModelError(
            f"the student in {folder} was trained on another base",
            expected=f"{config['base']} with sha256 {config['base_sha256']}",
            found=f"{base.name} with sha256 {base.sha256}",
            fix="load it with its own base, or train a new student",
        )
    from transformers import AutoTokenizer

    return replace(base, tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer", trust_remote_code=False))


def _check_id(folder: Path, manifest: Mapping[str, Any], student: FittedStudent | GenerativeStudent) -> None:
    if student.model_id != manifest["model_id"]:
        raise _damaged(folder, f"model id {manifest['model_id']}", f"model id {student.model_id}")


def is_complete(folder: Path) -> bool:
    """Whether a whole, unchanged student is in `folder` (its base is not looked for)."""
    try:
        _verified(folder)
    except ModelError:
        return False
    return True


def model_id_of(folder: Path) -> str:
    """The id of the student in `folder`, without loading it. Raises ModelError where it is incomplete or changed."""
    return str(_verified(folder)["model_id"])


def _write(
    student: FittedStudent | GenerativeStudent, part: Path, task_json: str, metrics: Mapping[str, Any], card: str
) -> None:
    if student.adapter is not None:
        write_adapter(student.adapter, part / "adapter")
    student.base.tokenizer.save_pretrained(part / "tokenizer")
    config = {
        "format": FORMAT,
        "base": student.base.name,
        "base_sha256": student.base.sha256,
        "recipe": student.recipe,
        "columns": student.columns,
        "max_tokens": student.settings.max_tokens,
        "settings": student.settings.model_dump(mode="json"),
        "facts": dict(student.facts),
    }
    if isinstance(student, GenerativeStudent):
        config |= {
            "fields": [spec.model_dump(mode="json") for spec in student.fields],
            "bounds": asdict(student.bounds),
        }
    else:
        save_file({"weight": student.head.weight, "bias": student.head.bias}, part / "head.safetensors")
        write_members(student.others, part)
        config |= {
            "temperature": student.temperature,
            "width": student.width,
            "thresholds": student.thresholds,
            "per_text": student.per_text,
            "with_focus": student.with_focus,
        }
    (part / "config.json").write_text(_json(config), encoding="utf-8")
    (part / "task.json").write_text(task_json, encoding="utf-8")
    (part / "metrics.json").write_text(_json(dict(metrics)), encoding="utf-8")
    (part / CARD).write_text(card, encoding="utf-8")
    files = sorted(path for path in part.rglob("*") if path.is_file())
    hashes = {path.relative_to(part).as_posix(): sha256_of(path) for path in files}
    manifest = {"format": FORMAT, "model_id": student.model_id, "files": hashes}
    (part / MANIFEST).write_text(_json(manifest), encoding="utf-8")
    for path in [*files, part / MANIFEST]:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _move(part: Path, folder: Path) -> None:
    """`os.replace` does not overwrite a folder that has something in it, so an old one steps aside first."""
    if not folder.exists():
        part.replace(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent))
    folder.replace(aside)
    part.replace(folder)
    shutil.rmtree(aside, ignore_errors=True)


def _verified(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = dict(manifest["files"])
        known = manifest["format"] in READABLE
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = "no such folder" if not folder.is_dir() else f"no manifest that can be read ({type(error).__name__})"
        raise _damaged(folder, f"a finished student: {MANIFEST} is written last", found) from error
    if not known:
        raise _damaged(folder, f"format {' or '.join(map(str, READABLE))}", f"format {manifest['format']}")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    if there != set(files):
        raise _damaged(folder, ", ".join(sorted(files)), ", ".join(sorted(there)) or "nothing")
    for name, sha256 in sorted(files.items()):
        if (found := sha256_of(folder / name)) != sha256:
            raise _damaged(folder, f"{name} with sha256 {sha256}", f"sha256 {found}")
    return manifest


def _damaged(folder: Path, expected: str, found: str) -> ModelError:
    return ModelError(
        f"the student in {folder} is incomplete or was changed",
        expected=expected,
        found=found,
        fix="train it again, or copy the folder again from where it was saved",
    )


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=float) + "\n"
