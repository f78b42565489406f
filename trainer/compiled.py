"""Exported encoders at work: OpenVINO and ONNX Runtime in the place of a torch module."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.graphs import Arrays, needed

Run = Callable[[Arrays], Sequence[NDArray[np.float32]]]


class CompiledEncoder:
    """Reads batches as a torch encoder does, so that pooling, head and calibration are the student's own code.

    `layers` are those whose states the graph gives, None for the last alone. `depth` is how many layers there were.
    """

    def __init__(self, run: Run, layers: Sequence[int] | None, depth: int) -> None:
        self._run, self._layers = run, layers
        self.config = SimpleNamespace(num_hidden_layers=depth, _attn_implementation="compiled")

    def to(self, device: object) -> "CompiledEncoder":  # noqa: ARG002
        """It stays where it is: on the CPU."""
        return self

    def __call__(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        *,
        output_hidden_states: bool = False,
    ) -> SimpleNamespace:
        """(b, t) each -> states (b, t, d), on the device of the ids."""
        assert output_hidden_states == (self._layers is not None)
        named = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        arrays = {name: tensor.cpu().numpy() for name, tensor in named.items() if tensor is not None}
        states = [torch.from_numpy(state).to(input_ids.device) for state in self._run(arrays)]
        by_layer: Mapping[int, torch.Tensor] = dict(zip(self._layers or (), states, strict=False))
        return SimpleNamespace(last_hidden_state=states[-1], hidden_states=by_layer)


def openvino_run(path: Path, threads: int) -> Run:
    """The model at `path` (XML) on the CPU, in bfloat16 where it has instructions for it; `threads` batches at a time.

    Each calling thread has a request of its own and one core: threads inside one matrix product wait for each other.
    What it gives is overwritten by the same thread's next call.
    """
    openvino = needed("openvino")
    how = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads, "ENABLE_CPU_PINNING": False}
    model = openvino.Core().compile_model(path, "CPU", how)
    of_thread = threading.local()

    def run(arrays: Arrays) -> Sequence[NDArray[np.float32]]:
        if not hasattr(of_thread, "request"):
            of_thread.request = model.create_infer_request()
        found = of_thread.request.infer(dict(arrays), share_inputs=True, share_outputs=True)
        return [found[output] for output in model.outputs]

    return run


def onnx_run(path: Path) -> Run:
    """The model at `path` on the CPU by ONNX Runtime, one thread a call."""
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(arrays: Arrays) -> Sequence[NDArray[np.float32]]:
        found: Sequence[NDArray[np.float32]] = session.run(None, dict(arrays))
        return found

    return run
