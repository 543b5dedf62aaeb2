"""Optimizers of torch by the names they have there, with weight decay on weights only.

Torch is not imported at the top, so that checking a name does not have to wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fieldgap.base.errors import InputError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

# All of torch.optim that steps on dense gradients without a closure; a test compares the list with torch.
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
_FUSED = ("Adam", "AdamW", "SGD")  # One CUDA kernel for all parameters: a quarter faster for a large network.


def make_optimizer(net: nn.Module, name: str, lr: float, weight_decay: float, options: dict[str, Any]) -> Optimizer:
    """Return torch.optim.<name> over the parameters of a network.

    Parameters of one dimension do not decay: biases, and the scales and shifts of norms, whose size is no measure of
    complexity.

    Raises:
        InputError: If the optimizer refuses one of its options.
    """
    from torch import optim

    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name in _FUSED and next(net.parameters()).is_cuda and not options.keys() & {"foreach", "differentiable"}:
        options = {"fused": True, **options}
    try:
        return getattr(optim, name)([group for group in groups if group["params"]], lr=lr, **options)
    except (TypeError, ValueError) as error:
        raise InputError(f"options.{name}: {error}; see torch.optim.{name}") from None
