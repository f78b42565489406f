"""The head's objective on a GPU: worth its transfer where a head has tens of thousands of rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def gpu_there() -> bool:
    import torch

    return torch.cuda.is_available()


def objective_on_gpu(
    X: Floats, Y: Floats, w: Floats, ridge: float, width: int, *, device: str = "cuda"
) -> Callable[[Floats], tuple[float, Floats]]:
    """Mean cross-entropy and its gradient, as `trainer.linear` has them; the rows stay on the device."""
    import torch

    features, targets = (torch.from_numpy(np.asarray(part, dtype=np.float32)).to(device) for part in (X, Y))
    targets = targets.reshape(len(X), -1, width)
    mass = targets.sum(dim=2, keepdim=True)
    importance = torch.from_numpy(np.asarray(w, dtype=np.float64)).to(device)
    columns = importance.float()[:, None]

    def value_and_gradient(flat: Floats) -> tuple[float, Floats]:
        parameters = flat.reshape(Y.shape[1], X.shape[1] + 1)
        there = torch.from_numpy(parameters.astype(np.float32)).to(device)
        logits = features @ there[:, :-1].T + there[:, -1]
        log_probs = torch.log_softmax(logits.reshape(targets.shape), dim=2)
        losses = -(targets * log_probs).sum(dim=(1, 2)).double()
        slope = columns * (mass * log_probs.exp() - targets).reshape(len(X), -1)
        gradient = torch.cat([slope.T @ features, slope.sum(dim=0)[:, None]], dim=1).double().cpu().numpy()
        weight = parameters[:, :-1]
        gradient[:, :-1] += ridge * weight
        loss = float((importance * losses).sum()) + 0.5 * ridge * float((weight * weight).sum())
        return loss, gradient.ravel()

    return value_and_gradient
