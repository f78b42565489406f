"""An encoder as a graph that other engines run: ONNX, OpenVINO, and OpenVINO with int8 weights and activations."""

import contextlib
import importlib
import importlib.util
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.errors import ModelError
from trainer.base import Base
from trainer.features import Batch, collate, layers_of, length_batches
from trainer.windows import Windows

Arrays = Mapping[str, NDArray[np.int64]]
OPSET = 17  # LayerNormalization is one operator from here on
TOKENS_A_BATCH = 1024


class States(torch.nn.Module):
    """What the student reads of an encoder: the last states, or for tokens those of several layers, (b, t, d) each."""

    def __init__(self, encoder: Any, layers: tuple[int, ...] | None) -> None:
        super().__init__()
        self.encoder, self.layers = encoder, layers

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        read = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=self.layers is not None,
            **types,
        )
        if self.layers is None:
            return (read.last_hidden_state,)
        return tuple(read.hidden_states[layer] for layer in self.layers)


def states_of(encoder: Any, *, per_text: bool) -> States:
    """The module that is exported, on the CPU."""
    made = States(encoder, None if per_text else layers_of(encoder)).eval().to("cpu")
    assert isinstance(made, States)
    return made


def write_onnx(module: States, base: Base, path: Path) -> None:
    """Save the module as ONNX; batch and length are free. Raises ModelError where the architecture cannot be traced.

    The tracing exporter, not the one by torch.export: on the architectures that are tested both are right to 2e-6, and
    this one takes a twentieth of the time.
    """
    needed("onnx")  # which the exporter of torch needs
    example = _example(base)
    free = {name: {0: "texts", 1: "tokens"} for name in example}
    with _traced(base, module, "ONNX"), torch.no_grad():
        torch.onnx.export(
            module,
            tuple(example.values()),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(example),
            output_names=output_names(module),
            dynamic_axes=free | {name: {0: "texts", 1: "tokens"} for name in output_names(module)},
        )


def openvino_model(module: States, base: Base) -> Any:
    """The module as a model of OpenVINO; batch and length are free. Raises ModelError where it cannot be traced."""
    openvino = needed("openvino")
    example = _example(base)
    with _traced(base, module, "OpenVINO"), _nothing_sent(), torch.no_grad():
        model = openvino.convert_model(module, example_input=dict(example))
    for put in model.inputs:
        put.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
    for put, name in zip(model.outputs, output_names(module), strict=True):
        put.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()
    return model


def quantised(model: Any, batches: Sequence[Arrays]) -> Any:
    """The model in int8: weights by channel, activations by the ranges seen in `batches` (post-training quantisation with
    SmoothQuant, Xiao et al. 2023, and bias correction, as NNCF has them for transformers).

    The ranges are fixed: unlike dynamic int8, a text's label does not depend on the texts beside it.
    """
    with _nothing_sent(), contextlib.redirect_stdout(io.StringIO()):
        nncf = needed("nncf")
        nncf.set_log_level(40)
        data = nncf.Dataset([dict(batch) for batch in batches])
        return nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches))


def batches_of(windows: Windows, encoder: Any) -> list[Arrays]:
    """All texts as batches of like lengths, as an engine is given them."""
    parts = length_batches(windows.lengths, TOKENS_A_BATCH)
    return [arrays_of(collate(windows, texts, encoder)) for texts in parts]


def arrays_of(batch: Batch) -> Arrays:
    """Ids, mask and segments by the names of a graph's inputs."""
    named = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": batch.types}
    return {name: tensor.cpu().numpy() for name, tensor in named.items() if tensor is not None}


def output_names(module: States) -> list[str]:
    """One where there is one output, else one for each layer."""
    return ["states"] if module.layers is None else [f"states_{layer}" for layer in module.layers]


def needed(package: str) -> Any:
    """The package, which is in the extra "export". Raises ModelError where it is not installed."""
    if importlib.util.find_spec(package) is None:
        raise ModelError(
            f"{package} is not installed",
            expected="the packages of the extra export, for students outside torch",
            found=f"no {package}",
            fix="in the checkout: pip install -c constraints.txt -e '.[export]'",
        )
    return importlib.import_module(package)


def _example(base: Base) -> dict[str, torch.Tensor]:
    """Two texts of unlike length, so that the trace has a mask in it."""
    ids = torch.arange(5, 23).reshape(2, 9) % int(base.encoder.config.vocab_size)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    example = {"input_ids": ids, "attention_mask": mask}
    return example | ({"token_type_ids": torch.zeros_like(ids)} if "token_type_ids" in base.tokenizer("a") else {})


@contextlib.contextmanager
def _traced(base: Base, module: States, what: str) -> Iterator[None]:
    """Attention is traced in its plain form, whose masks are finite: where a window of attention (Mistral, ModernBERT)
    holds nothing but padding, the fused one gives nan outside torch. Both are as fast once compiled.
    """
    config, before = module.encoder.config, module.encoder.config._attn_implementation  # noqa: SLF001
    try:
        module.encoder.set_attn_implementation("eager")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"base {base.name!r} cannot be exported to {what}",
            expected="an architecture that can be traced",
            found=f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}",
            fix="export to safetensors, which needs no trace",
        ) from error
    finally:
        config._attn_implementation = before  # noqa: SLF001


@contextlib.contextmanager
def _nothing_sent() -> Iterator[None]:
    """OpenVINO and NNCF report their use to their makers, unless they believe to be in a test."""
    before = {name: os.environ.get(name) for name in ("CI", "NNCF_CI")}
    os.environ.update(CI="true", NNCF_CI="1")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
