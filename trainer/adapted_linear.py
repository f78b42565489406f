"""A linear layer with its adapter as one product: what LoRA costs when the frozen part is not worked out apart."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


class _Adapted(torch.autograd.Function):
    """x (W + s B A)' + b of rows x (n, d), with gradients for x, A and B only.

    Adapter and weights are added once a step, so that a batch takes two large products (x W' and dy W) instead of the
    four large and four thin ones of an adapter beside its layer, and nothing of the adapter is kept for the way back.
    The sums are the same ones in another order.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight, down, up)
        ctx.scale = scale
        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, down, up = ctx.saved_tensors
        before = slope @ up.to(slope.dtype)  # (n, r)
        after = x @ down.to(x.dtype).T  # (n, r)
        of_down = (before.T @ x).float() * ctx.scale
        of_up = (after.T @ slope).float().T * ctx.scale
        of_x = slope @ weight if ctx.needs_input_grad[0] else None
        return of_x, None, None, of_down, of_up, None


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """One of peft's adapted layers, and the sum of its weight and its adapter."""

    base: torch.nn.Linear
    down: torch.nn.Parameter
    up: torch.nn.Parameter
    scale: float
    summed: torch.Tensor

    def add(self) -> None:
        if self.summed.dtype == self.base.weight.dtype:
            torch.addmm(self.base.weight, self.up, self.down, alpha=self.scale, out=self.summed)
        else:
            self.summed.copy_(torch.addmm(self.base.weight, self.up, self.down, alpha=self.scale))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.to(self.summed.dtype).flatten(0, -2)
        bias = None if self.base.bias is None else self.base.bias.to(rows.dtype)
        out: torch.Tensor = _Adapted.apply(rows, self.summed, bias, self.down, self.up, self.scale)  # type: ignore[no-untyped-call]
        return out.view(*x.shape[:-1], -1)


def add_adapters(model: Any, dtype: torch.dtype = torch.float32) -> Callable[[], None]:
    """Let a peft model's plain LoRA layers (no dropout, no DoRA) work as one product each, in `dtype`.

    Gives back what must be called whenever the adapter has changed; parameters, names and merging stay peft's.
    """
    from peft.tuners.lora import Linear

    layers = []
    for module in model.modules():
        if not isinstance(module, Linear) or not isinstance(module.base_layer, torch.nn.Linear):
            continue
        dropout = module.lora_dropout["default"]
        if module.use_dora["default"] or getattr(dropout, "p", 0.0) > 0:
            continue
        down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
        summed = torch.empty_like(module.base_layer.weight, dtype=dtype)
        layer = _Layer(module.base_layer, down, up, float(module.scaling["default"]), summed)
        module.forward = layer.__call__
        layers.append(layer)

    def add() -> None:
        with torch.no_grad():
            for layer in layers:
                layer.add()

    return add
