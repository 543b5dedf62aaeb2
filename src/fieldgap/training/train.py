"""Stage train: one run of the grid, from its initial weights to its last epoch.

The training loop: `run` prepares and finishes, `fit` goes through the epochs, `train_epoch` through the batches of one,
and `step` updates the weights once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fieldgap.base.errors import InputError
from fieldgap.base.scores import best_epoch
from fieldgap.network.device import machine, prepare
from fieldgap.tiles.batches import batches, steps_per_epoch
from fieldgap.tiles.packed import load
from fieldgap.training import divergence, memory, parallel
from fieldgap.training.checkpoints import Checkpoints
from fieldgap.training.history import measure_epoch
from fieldgap.training.journal import spooling
from fieldgap.training.outputs import write_outputs
from fieldgap.training.process import claimed, on_signals
from fieldgap.training.progress import progress
from fieldgap.training.run import Row, Run
from fieldgap.training.start import rates, start
from fieldgap.training.state import stored

if TYPE_CHECKING:
    from fieldgap.settings.sections import Train

AHEAD = {"cpu": 1, "cuda": 32}  # Steps under way before the host waits for their losses and may save or stop.


def run(tiles: Path, out: Path, config: Train, key: str, *, anew: bool = False) -> None:
    """Train one run and write its files into the folder `out`.

    A run with the same key that was stopped on the same kind of machine goes on from its newest checkpoint.

    Args:
        tiles: Folder of packed tiles.
        out: Folder of the run, whose name is the run's.
        config: Resolved values of the run.
        key: Digest of all that the result depends on.
        anew: Whether to begin at the first step, without any checkpoint.

    Raises:
        InputError: The tiles do not fit the values, the device lacks memory, or a file cannot be written.
        StoppedError: SIGINT or SIGTERM asked for a stop. The state of the run is saved.
    """
    device = prepare(config.device, config.threads)
    with parallel.together(device):
        training = start(config, load(tiles, config.fold, config.split_by), device)
        checkpoints = Checkpoints(out, key, machine(device))
        with parallel.in_first(claimed(out, checkpoints.lock)), on_signals() as signalled:
            parallel.wait(device)  # Until the first process has the lock.
            if anew:
                checkpoints.drop()
            checkpoints.resume(training)
            spool_of = spooling(key, out.name, training.resolved(), training.history, anew=anew)
            with parallel.in_first(spool_of) as spool:
                show, reason = progress(config.epochs, spool), ""
                try:
                    fit(training, show, lambda run: checkpoints.save_or_stop(run, signalled()))
                except divergence.DivergedError as error:
                    reason = str(error)
                if spool:
                    write_outputs(out, training, reason, key)
                    spool.end("diverged" if reason else "finished")
                    checkpoints.remove()


def fit(run: Run, show: Callable[[Row], None], between: Callable[[Run], None] = lambda run: None) -> None:
    """Train the epochs that are left, and stop `patience` epochs after the best one.

    Args:
        run: A run between two steps.
        show: Called with the row of each epoch.
        between: Called when all losses so far have been read, which is the moment to save a run or to stop it.

    Raises:
        DivergedError: The run diverged; it keeps the weights of its last whole epoch.
    """
    patience = run.config.patience or run.config.epochs
    while (epoch := len(run.history) + 1) <= min(run.config.epochs, best_epoch(run.history) + patience):
        train_epoch(run, epoch, between)
        row = measure_epoch(run)
        divergence.check_row(row)
        run.history.append(row)
        run.last = stored(run.result.state_dict())
        if best_epoch(run.history) == epoch:
            run.best = run.last
        show(row)
        between(run)


def train_epoch(run: Run, epoch: int, between: Callable[[Run], None]) -> None:
    """Take the steps of an epoch, counting from 1, that are not done yet. `between` is that of `fit`."""
    count = steps_per_epoch(run.config, run.train)
    rate_at, done = rates(run.config, count), len(run.steps) - count * (epoch - 1)
    pending: list[tuple[float, Tensor]] = []  # Rates and losses of the steps whose losses have not been read.
    for taken, batch in enumerate(batches(run.tiles, run.train, run.config, epoch, run.device, first=done), done + 1):
        rate = rate_at(len(run.steps) + len(pending))
        pending.append((rate, step(run, *batch, rate)))
        if len(pending) == AHEAD[run.device.type] or taken == count:
            read_losses(run, epoch, pending)
            pending.clear()
            between(run)
    divergence.check_epoch(run.steps[-count:], run.steps[0]["loss"])


def step(run: Run, images: Tensor, classes: Tensor, rate: float) -> Tensor:
    """Update the weights once.

    Args:
        run: The run.
        images: (B, bands, H, W) uint8.
        classes: (B, H, W) int64.
        rate: Learning rate of this update.

    Returns:
        The loss of the batch before the update, a float64 that a GPU may still be computing.

    Raises:
        InputError: The device has no room for a micro-batch, or a norm has a single value to normalise.
    """
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    try:
        return update(run, images, classes, run.config)
    except ValueError as error:  # From a norm.
        raise InputError(f"batch_size: a part of a batch is too small ({error}); raise it or micro_batch") from None
    except torch.OutOfMemoryError:
        pass  # Until here the exception holds memory, which the search for a smaller micro-batch needs.
    raise memory.out_of_memory(run, images, classes, update)


def update(run: Run, images: Tensor, classes: Tensor, config: Train) -> Tensor:
    """Compute gradients, clip them, update weights and their average. Return the loss as `step` does."""
    run.optimizer.zero_grad()
    loss = run.gradients(run.net, run.loss, images, classes, config)
    if config.clip_norm:
        nn.utils.clip_grad_norm_(run.net.parameters(), config.clip_norm)
    run.optimizer.step()
    if run.average:
        run.average.update_parameters(run.net)
    return loss


def read_losses(run: Run, epoch: int, pending: list[tuple[float, Tensor]]) -> None:
    """Wait for the losses of the pending steps, and add a row for each of these."""
    for rate, tensor in pending:
        loss = float(tensor)
        divergence.check_loss(len(run.steps), loss)
        run.steps.append({"step": len(run.steps), "epoch": epoch, "lr": rate, "loss": loss})
