"""Layers that are not trained read each text once: what reaches the first trained layer is kept for the next epochs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.windows import Windows

MOST_BYTES = 2**30  # of states that are kept; above it the lower layers read again each time
_TEXTS: ContextVar[NDArray[np.int64] | None] = ContextVar("texts", default=None)


@dataclass(frozen=True, slots=True, eq=False)
class LowerLayers:
    """`states` (t, d) of the tokens of all texts, text after text from `starts` (n,) on; `read` (n,) says which are in.

    Only for streams (`trainer.packing`): there a batch's states are its texts' states end to end.
    """

    states: torch.Tensor
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    read: NDArray[np.bool_]

    @contextmanager
    def of(self, texts: NDArray[np.int64]) -> Iterator[None]:
        """Within it the encoder is given a stream of these texts."""
        token = _TEXTS.set(texts)
        try:
            yield
        finally:
            _TEXTS.reset(token)

    def known(self) -> bool:
        texts = _TEXTS.get()
        return texts is not None and bool(self.read[texts].all())

    def enter(self, states: torch.Tensor) -> torch.Tensor:
        """What the first trained layer is given: the states that were kept, or these ones, which then are."""
        texts = _TEXTS.get()
        if texts is None:
            return states
        places = np.concatenate(
            [np.arange(self.starts[text], self.starts[text] + self.lengths[text]) for text in texts]
        )
        index = torch.from_numpy(places).to(self.states.device)
        if self.known():
            return self.states[index][None].to(states.dtype)
        self.states[index] = states[0].detach().to(self.states.dtype)
        self.read[texts] = True
        return states


def keep_lower(encoder: Any, windows: Windows, first_trained: int) -> LowerLayers | None:
    """Let the layers below `first_trained` be passed over where what they say is known; None where that is not worth it:
    nothing lies below, the states are too many, or the layers are not one plain list.
    """
    lists = [module for module in encoder.modules() if isinstance(module, torch.nn.ModuleList)]
    lists = [layers for layers in lists if len(layers) == encoder.config.num_hidden_layers]
    size = int(windows.lengths.sum()) * int(encoder.config.hidden_size) * 4
    if len(lists) != 1 or first_trained == 0 or size > MOST_BYTES or not windows.per_text:
        return None
    (layers,) = lists
    ends = np.cumsum(windows.lengths)
    states = torch.zeros(int(ends[-1]), int(encoder.config.hidden_size), device=encoder.device)
    kept = LowerLayers(states, ends - windows.lengths, windows.lengths, np.zeros(len(windows), dtype=np.bool_))
    for layer in layers[:first_trained]:
        layer.forward = _unless_known(kept, layer.forward)
    entered = layers[first_trained]
    entered.forward = _entering(kept, entered.forward)
    return kept


def _unless_known(kept: LowerLayers, forward: Callable[..., Any]) -> Callable[..., Any]:
    def passed(hidden_states: torch.Tensor, *rest: Any, **how: Any) -> Any:
        return hidden_states if kept.known() else forward(hidden_states, *rest, **how)

    return passed


def _entering(kept: LowerLayers, forward: Callable[..., Any]) -> Callable[..., Any]:
    def entered(hidden_states: torch.Tensor, *rest: Any, **how: Any) -> Any:
        return forward(kept.enter(hidden_states), *rest, **how)

    return entered


def let_go(encoder: Any) -> None:
    """Layers are what they were."""
    for module in encoder.modules():
        if isinstance(module, torch.nn.ModuleList):
            for layer in module:
                vars(layer).pop("forward", None)
