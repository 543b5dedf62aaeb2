"""Optimisers of torch by their names there, with weight decay on weights alone.

Torch is imported by the function, so that names can be checked without waiting for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fieldgap.base.errors import InputError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

# All of torch.optim that steps on dense gradients without a closure; a test holds the list against torch.
OPTIMIZERS = (
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
)
FUSED = ("Adam", "AdamW", "SGD")  # One kernel on CUDA for all parameters, where the network is large a quarter faster.


def make_optimizer(net: nn.Module, name: str, lr: float, weight_decay: float, options: dict[str, Any]) -> Optimizer:
    """-> torch.optim.<name> over `net` with its own `options`. Raises InputError for an option that it does not take.

    Decay spares what has one dimension: biases, and the scales and shifts of norms, whose size is no complexity.
    """
    from torch import optim

    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name in FUSED and next(net.parameters()).is_cuda and not options.keys() & {"foreach", "differentiable"}:
        options = {"fused": True, **options}
    try:
        return getattr(optim, name)([group for group in groups if group["params"]], lr=lr, **options)
    except (TypeError, ValueError) as error:
        raise InputError(f"options.{name}: {error}; see torch.optim.{name}") from None
