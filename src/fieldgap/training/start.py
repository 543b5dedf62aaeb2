"""A run at its start: the network with its initial weights, its optimizer, its loss and its learning rates."""

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
from fieldgap.parts.rates import WARMUPS, learning_rate
from fieldgap.parts.registry import bind
from fieldgap.parts.schedules import SCHEDULES
from fieldgap.tiles.batches import seeded_generator, tiles_per_step
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


def start(config: Train, tiles: Tiles, device: torch.device) -> Run:
    """Return a run at step 0, its weights drawn from the seed.

    Raises:
        InputError: The values do not suit the tiles or the number of processes.
    """
    train = tiles.training(config.train_share)
    if (size := tiles_per_step(config, train)) > len(train):
        raise InputError(f"batch_size: {config.batch_size} is more than the {len(train)} training tiles; lower it")
    parallel.check_shares(size, config.micro_batch)
    net = build(config, tiles)
    init = bind(INITS, config.init, config.options)
    initialise(net, init, seeded_generator(config.seed, 0), zero_gamma=config.zero_gamma)
    net = net.to(device)
    options = dict(config.options.get(config.optimizer, {}))
    optimizer = make_optimizer(net, config.optimizer, config.lr, config.weight_decay, options)
    average = None
    if config.ema:
        average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
    if config.recompute:
        recompute(net)
    weights = stored(net.state_dict())
    return Run(
        config=config,
        tiles=tiles,
        train=train,
        device=device,
        net=net,
        optimizer=optimizer,
        loss=loss_of(config, tiles),
        gradients=Replay(size) if replayable(config, device) else gradients,
        average=average,
        last=weights,
        best=weights,
    )


def rates(config: Train, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the function that gives the learning rate of each step, counting from 0."""
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
