"""A student that has been taught: what it is made of, and what it says of texts."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import InputError, ModelError
from stillhouse.probabilities import softmax
from stillhouse.settings import Student
from trainer.base import Base
from trainer.features import embed_windows
from trainer.inputs import Inputs
from trainer.linear import Floats, LinearHead
from trainer.lora import Adapter
from trainer.pace import Progress
from trainer.windows import Windows, tokenise

Kind = Literal["head", "lora", "full"]
LEAST_P = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One more of an ensemble: an encoder with its adapter added, the adapter itself, and the head on it."""

    encoder: Any
    head: LinearHead
    adapter: Adapter


def mean_logits(logits: Sequence[Floats], width: int) -> NDArray[np.float64]:
    """The logarithm of the mean of several members' probabilities: (u, k) each -> (u, k)."""
    mean = np.mean([softmax(np.asarray(one, dtype=np.float64), width) for one in logits], axis=0)
    out: NDArray[np.float64] = np.log(np.maximum(mean, LEAST_P))
    return out


@dataclass(frozen=True, slots=True, eq=False)
class FittedStudent:
    """A student that can label. `base.encoder` has the adapter already added; `adapter` is None for recipe "head".

    `others` are further adapters with heads of their own, taught alike from other seeds: all members' probabilities are
    averaged (deep ensembles, Lakshminarayanan et al. 2017).

    Each block of `width` of its `columns` is one distribution; `thresholds` (one a block) are for pairs of columns
    (absent, present) and change no probability. `per_text` says that its units are whole texts, `with_focus` that it
    reads what a question is about. `facts` says how it came to be: recipe, why, held-out log-likelihoods (nats a block,
    after each recipe's own temperature), held-out accuracies, temperature, trained tokens and tokens a second, texts
    that were read in several windows, seconds.
    """

    columns: tuple[str, ...]
    base: Base
    head: LinearHead
    temperature: float
    settings: Student
    adapter: Adapter | None = None
    width: int = 0
    thresholds: tuple[float, ...] | None = None
    per_text: bool = True
    with_focus: bool = False
    others: tuple[Member, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.width == 0:
            object.__setattr__(self, "width", len(self.columns))

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.columns

    @property
    def recipe(self) -> Kind:
        """What it is made of: a head on the base, adapters beside it, or weights of its own."""
        if self.adapter is None:
            return "head"
        return "lora" if self.adapter.config is not None else "full"

    @property
    def model_id(self) -> str:
        """16 hex digits of everything its predictions depend on: the same before it is saved and after it is loaded."""
        digest = hashlib.sha256()
        parts: list[Any] = [self.base.sha256, self.settings.max_tokens, self.columns, self.temperature]
        shape = [self.width, self.thresholds, self.per_text, self.with_focus]
        if shape != [len(self.columns), None, True, False]:  # one label a text has the id it had in format 1
            parts += shape
        digest.update(json.dumps(parts).encode())
        for head, adapter in ((self.head, self.adapter), *((other.head, other.adapter) for other in self.others)):
            digest.update(head.weight.tobytes() + head.bias.tobytes())
            for name, tensor in sorted(adapter.tensors.items()) if adapter else ():
                digest.update(name.encode() + tensor.tobytes())
        return digest.hexdigest()[:16]

    def predict(self, inputs: Inputs, progress: Progress | None = None) -> NDArray[np.float32]:
        """Calibrated probabilities (U, k) of all units, in the order of `columns`.

        Raises InputError where the inputs have other units than the ones it was taught.
        """
        return self.predict_tokens(self.tokens(inputs), progress)

    def tokens(self, inputs: Inputs) -> Windows:
        """What `predict_tokens` reads: the first half of `predict`, which another thread may do ahead of the model."""
        if (inputs.spans is None) != self.per_text or (inputs.focus is not None) != self.with_focus:
            raise InputError(
                "the student was taught on other units",
                expected=_units(per_text=self.per_text, with_focus=self.with_focus),
                found=_units(per_text=inputs.spans is None, with_focus=inputs.focus is not None),
                fix="give the inputs as the task's kind makes them",
            )
        return tokenise(self.base, inputs, self.settings.max_tokens)

    def predict_tokens(self, windows: Windows, progress: Progress | None = None) -> NDArray[np.float32]:
        """The second half of `predict`."""
        return softmax(self.logits(windows, progress) / self.temperature, self.width).astype(np.float32)

    def logits(self, windows: Windows, progress: Progress | None = None) -> NDArray[np.floating[Any]]:
        """(U, k) before the temperature; of several members the logarithm of their mean probabilities."""
        found = self.members(windows, progress)
        return found[0] if len(found) == 1 else mean_logits(found, self.width)

    def members(self, windows: Windows, progress: Progress | None = None) -> list[NDArray[np.float32]]:
        """(U, k) of each member, before the temperature. Where they differ the student is in doubt for want of examples;
        where all hesitate it is the text that is doubtful.
        """
        how: dict[str, Any] = {"tokens_per_batch": 1024, "threads": self.settings.threads, "progress": progress}
        how["width"] = self.head.weight.shape[1]
        encoders = [(self.base, self.head), *((replace(self.base, encoder=o.encoder), o.head) for o in self.others)]
        return [head.logits(embed_windows(base, windows, **how).vectors) for base, head in encoders]

    def predict_features(self, features: Floats) -> NDArray[np.float32]:
        """Like `predict`, from features (U, d) of the frozen base. Raises ModelError unless its recipe is "head"."""
        if self.recipe != "head":
            raise ModelError(
                "an adapted student does not read the features of its base",
                expected="a student whose recipe is head",
                found=f"recipe {self.recipe}: its training changed the features",
                fix="call predict with the texts",
            )
        return softmax(self.head.logits(features) / self.temperature, self.width).astype(np.float32)


def _units(*, per_text: bool, with_focus: bool) -> str:
    return ("whole texts" if per_text else "spans of texts") + (", each with a focus" if with_focus else "")
