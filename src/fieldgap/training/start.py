"""A run at its start: the network with its initial weights, its optimiser, its loss, its rates."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fieldgap.base.errors import InputError
from fieldgap.network.build import build, loss_of
from fieldgap.parts.inits import INITS
from fieldgap.parts.optimizers import make_optimizer
from fieldgap.parts.registry import bind
from fieldgap.parts.schedules import SCHEDULES, WARMUPS, learning_rate
from fieldgap.tiles.batches import draws, tiles_a_step
from fieldgap.tiles.packed import Tiles
from fieldgap.training import parallel
from fieldgap.training.gradients import gradients
from fieldgap.training.initialise import initialise
from fieldgap.training.recompute import recompute
from fieldgap.training.replay import Replay, replayable
from fieldgap.training.run import Run
from fieldgap.training.state import stored

if TYPE_CHECKING:
    from fieldgap.settings.sections import Train


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
