"""Whether an exported student is still the student: compared on the same texts, and said in the export's card."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.measures import mean_score_interval
from stillhouse.probabilities import Floats, blocks
from stillhouse.records import Interval
from trainer.fitted import FittedStudent

LOADS: Mapping[str, str] = {
    "safetensors": "plain transformers (below), `stillhouse label --student`",
    "openvino": "OpenVINO (`model.xml`), `stillhouse label --student`; bfloat16 where the CPU has it, else float32",
    "openvino-int8": "OpenVINO (`model.xml`, int8 weights and activations), `stillhouse label --student`",
    "onnx": "ONNX Runtime (`model.onnx`), `stillhouse label --student`",
}


@dataclass(frozen=True, slots=True)
class Parity:
    """`same` is the mean share of an item's decisions that are as before, `change` what the score became less what it was
    (None where no item has a known value), `furthest` the largest difference of a probability.
    """

    same: Interval
    change: Interval | None
    furthest: float
    score_name: str

    def to_json(self) -> dict[str, Any]:
        return {
            "same": self.same.to_json(),
            "change": None if self.change is None else self.change.to_json(),
            "furthest": self.furthest,
        }


def parity_of(
    before: Floats,
    after: Floats,
    item_of: NDArray[np.int64],
    width: int,
    *,
    change: Interval | None,
    score_name: str,
    on: str,
    rng: np.random.Generator,
) -> Parity:
    """Of probabilities (U, k) of the same units before and after; `item_of` (U,) numbers their items. An item without a
    unit has nothing to differ in.
    """
    agree = (blocks(before, width).argmax(axis=1) == blocks(after, width).argmax(axis=1)).reshape(len(before), -1)
    count = np.bincount(item_of)
    share = np.bincount(item_of, agree.mean(axis=1))[count > 0] / count[count > 0]
    return Parity(mean_score_interval(share, 0.95, on, rng), change, float(np.abs(before - after).max()), score_name)


def export_card(student: FittedStudent, exported: FittedStudent, target: str, parity: Parity, card: str) -> str:
    """Markdown: what the export is, how far it agrees with the student, how to load it, and the student's own `card`."""
    change = "no known labels to measure it on"
    if parity.change is not None:
        change = f"{_points(parity.change)} points [{_points(parity.change, 'lo')}, {_points(parity.change, 'hi')}]"
        change += f" on {parity.change.on} ({parity.change.method})"
    rows = [
        "| Figure | Value |",
        "| --- | --- |",
        f"| same decision | {parity.same.value:.2%} [{parity.same.lo:.2%}, {parity.same.hi:.2%}] on {parity.same.on} |",
        f"| change of {parity.score_name} | {change} |",
        f"| largest difference of a probability | {parity.furthest:.2g} |",
    ]
    lines = [
        f"# An export to {target}",
        f"Model id `{exported.model_id}`, of the student `{student.model_id}`, whose card follows below.",
        f"Loads with: {LOADS[target]}.",
        "## Parity with the student",
        "\n".join(rows),
        f"## In plain transformers\n\n{_snippet(student)}" if target == "safetensors" else _graph(student),
        "---",
        card,
    ]
    return "\n\n".join(lines)


def _points(interval: Interval, side: str = "value") -> str:
    return f"{100 * getattr(interval, side):+.2f}"


def _graph(student: FittedStudent) -> str:
    layers = "the last layer's states" if student.per_text else "the states of several layers"
    return (
        "The graph takes `input_ids`, `attention_mask` (and `token_type_ids`), padded on the right, and gives "
        f"{layers}, (batch, tokens, d); their mean over a text's tokens, scaled to length 1, goes through "
        "`head.safetensors` (weight, bias) and the temperature of `export.json`."
    )


def _snippet(student: FittedStudent) -> str:
    if not student.per_text or student.others:
        return (
            "`AutoModel.from_pretrained` loads the encoder. What a unit's vector is made of (several layers, marks of its "
            "surface, perhaps several members) is more than a few lines: `trainer.engines.predictor(folder)` does it."
        )
    encoder_part = ".get_encoder()" if student.base.encoder.config.is_encoder_decoder else ""
    most = min(student.settings.max_tokens, student.base.longest_tokens)
    shape = "" if student.width == len(student.columns) else f".unflatten(1, (-1, {student.width}))"
    return f"""The architecture's own classification head cannot express a mean of states scaled to length 1, so the model
loads as `AutoModel` and the head is applied by hand (texts of more than {most} tokens are cut here, where Stillhouse
reads them in windows):

```python
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
encoder = AutoModel.from_pretrained(folder).eval(){encoder_part}
head = load_file(f"{{folder}}/head.safetensors")
read = tokenizer(texts, padding=True, truncation=True, max_length={most}, return_tensors="pt")
with torch.inference_mode():
    mask = read["attention_mask"][:, :, None]
    mean = (encoder(**read).last_hidden_state * mask).sum(1) / mask.sum(1)
    logits = torch.nn.functional.normalize(mean) @ head["weight"].T + head["bias"]
probabilities = (logits / {student.temperature!r}){shape}.softmax(-1)  # columns: see "What it says"
```"""
