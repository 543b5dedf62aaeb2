"""A run at its start: the network with its initial weights, its optimiser, its loss, its rates."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fieldgap import parallel
from fieldgap.errors import InputError
from fieldgap.gradients import gradients
from fieldgap.initialise import initialise
from fieldgap.inits import INITS
from fieldgap.measure import loss_of
from fieldgap.model import build
from fieldgap.optimizers import make_optimizer
from fieldgap.parts import bind
from fieldgap.recompute import recompute
from fieldgap.replay import Replay, replayable
from fieldgap.sampling import draws, tiles_a_step
from fieldgap.schedules import SCHEDULES, WARMUPS, learning_rate
from fieldgap.state import stored
from fieldgap.tiles import Tiles

if TYPE_CHECKING:
    from fieldgap.losses import Loss
    from fieldgap.sections import Train

Row = dict[str, float]


def rates(config: Train, steps_per_epoch: int) -> Callable[[int], float]:
    """-> the rate in force at each step, counted from 0."""
    return functools.partial(
        learning_rate,
        peak=config.lr,
        start=config.warmup_start,
        warmup_steps=config.warmup_epochs * steps_per_epoch,
        total_steps=config.epochs * steps_per_epoch,
        decay=bind(SCHEDULES, config.schedule, config.options),
        warmup=WARMUPS[config.warmup],
        hold=steps_per_epoch if config.schedule_per == "epoch" else 1,
    )


@dataclass
class Run:
    """A run under way: its network and optimiser, a row for each step and each epoch, the weights to keep.

    `last` are those of the last completed epoch, `best` those of the best one; before the first both are the start.
    """

    config: Train
    tiles: Tiles
    train: np.ndarray
    device: torch.device
    net: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    gradients: Callable[[nn.Module, Loss, Tensor, Tensor, Train], Tensor]
    average: AveragedModel | None
    last: dict[str, Tensor]
    best: dict[str, Tensor]
    history: list[Row] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)

    @property
    def result(self) -> nn.Module:
        """What is measured and kept: the network, or the average of its past weights."""
        return self.average.module if self.average else self.net


def start(config: Train, tiles: Tiles, device: torch.device) -> Run:
    """-> a run at step 0, its weights drawn from the seed. Raises InputError when the tiles do not fit the values."""
    train = tiles.training(config.train_share)
    if (size := tiles_a_step(config, train)) > len(train):
        raise InputError(f"batch_size: {config.batch_size} is more than the {len(train)} training tiles; lower it")
    parallel.check_shares(size, config.micro_batch)
    net = build(config, tiles)
    initialise(net, bind(INITS, config.init, config.options), draws(config.seed, 0), zero_gamma=config.zero_gamma)
    net = net.to(device)
    options = dict(config.options.get(config.optimizer, {}))
    optimizer = make_optimizer(net, config.optimizer, config.lr, config.weight_decay, options)
    average = (
        AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True) if config.ema else None
    )
    if config.recompute:
        recompute(net)
    weights = stored(net.state_dict())
    loss = loss_of(config, tiles)
    compute = Replay(size) if replayable(config, device) else gradients
    return Run(config, tiles, train, device, net, optimizer, loss, compute, average, weights, weights)
