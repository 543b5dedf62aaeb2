"""Stage train: one run of the grid, from its initial weights, or where it was stopped, to its last epoch."""

from __future__ import annotations

import dataclasses
import functools
import math
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from fieldgap.base.environment import packages
from fieldgap.base.errors import InputError, StoppedError
from fieldgap.base.files import replacing, write_json, write_rows
from fieldgap.network.device import machine, prepare
from fieldgap.network.measure import measure
from fieldgap.tiles.batches import batches, fixed_subset, steps_an_epoch, tiles_a_step
from fieldgap.tiles.packed import load
from fieldgap.training import parallel, state
from fieldgap.training.journal import Spool
from fieldgap.training.process import claimed, on_signals
from fieldgap.training.run import Row, Run
from fieldgap.training.start import rates, start

if TYPE_CHECKING:
    from fieldgap.settings.sections import Train

MEASURED = ("loss", "iou", "accuracy", "background_iou")
HISTORY = ("epoch", "lr", *(f"{split}_{name}" for split in ("train", "val") for name in MEASURED), "running_loss")
STEPS = ("step", "epoch", "lr", "loss")
EXPLODED = 1000.0
AHEAD = {"cpu": 1, "cuda": 32}  # Steps before their losses are waited for, and a stop or a state may be due.


def update(run: Run, images: Tensor, classes: Tensor, config: Train) -> Tensor:
    """-> the loss of one batch, after one update; on a GPU it may still be under way."""
    run.optimizer.zero_grad()
    loss = run.gradients(run.net, run.loss, images, classes, config)
    if config.clip_norm:
        nn.utils.clip_grad_norm_(run.net.parameters(), config.clip_norm)
    run.optimizer.step()
    if run.average:
        run.average.update_parameters(run.net)
    return loss


def that_fits(run: Run, images: Tensor, classes: Tensor, size: int) -> int:
    """-> the first of the halvings of `size` with which an update finds room, tried, so the run is over; 0 for none."""
    while size := size // 2:
        run.optimizer.zero_grad()
        if images.is_cuda:
            torch.cuda.empty_cache()
        with suppress(torch.OutOfMemoryError):
            update(run, images, classes, dataclasses.replace(run.config, micro_batch=size))
            return size
    return 0


def step(run: Run, images: Tensor, classes: Tensor, rate: float) -> Tensor:
    """-> the loss of one batch, after one update at `rate`; on a GPU it may still be under way.

    Raises InputError that names a micro_batch which fits when the device has no room for this one.
    """
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    try:
        return update(run, images, classes, run.config)
    except ValueError as error:  # A norm that has a single value to take its statistics of.
        raise InputError(f"batch_size: a part of a batch is too small ({error}); raise it or micro_batch") from None
    except torch.OutOfMemoryError:
        pass  # What the exception holds on to must be free before anything smaller is tried.
    tried = min(run.config.micro_batch, len(images))
    fits = that_fits(run, images, classes, tried)
    mend = f"set train.micro_batch: {fits}, which does" if fits else "set train.recompute: true or take smaller tiles"
    raise InputError(f"micro_batch: {tried} tiles at once do not fit into the memory of {run.device}; {mend}")


def read_losses(run: Run, epoch: int, taken: list[tuple[float, Tensor]]) -> str:
    """Adds the steps that were taken, rates and losses, to the run's -> why it diverged, or nothing."""
    for rate, tensor in taken:
        if not math.isfinite(loss := float(tensor)):
            return f"the loss of step {len(run.steps)} is {loss}"
        run.steps.append({"step": len(run.steps), "epoch": epoch, "lr": rate, "loss": loss})
    return ""


def train_epoch(run: Run, epoch: int, between: Callable[[Run], None]) -> str:
    """Takes the steps of an epoch that are not yet done -> why the run diverged, or nothing.

    It has diverged at a step whose loss is infinite or no number, and after an epoch in which each batch's loss was
    above EXPLODED times that of the run's first batch, or above EXPLODED if that is more: a spike is no divergence.
    """
    count = steps_an_epoch(run.config, run.train)
    rate_at, done = rates(run.config, count), len(run.steps) - count * (epoch - 1)
    taken: list[tuple[float, Tensor]] = []
    for last, batch in enumerate(batches(run.tiles, run.train, run.config, epoch, run.device, first=done), done + 1):
        rate = rate_at(len(run.steps) + len(taken))
        taken.append((rate, step(run, *batch, rate)))
        if len(taken) == AHEAD[run.device.type] or last == count:
            if reason := read_losses(run, epoch, taken):
                return reason
            taken.clear()
            between(run)
    lowest, bound = min(row["loss"] for row in run.steps[-count:]), EXPLODED * max(1.0, run.steps[0]["loss"])
    return f"each batch of epoch {epoch} has a loss above {bound:g}" if lowest > bound else ""


def running_loss(run: Run) -> float:
    """-> the mean over the last epoch's batches, each taken before its own update."""
    size, total = tiles_a_step(run.config, run.train), len(run.train)
    rows = run.steps[-steps_an_epoch(run.config, run.train) :]
    return math.fsum(row["loss"] * min(size, total - size * i) for i, row in enumerate(rows)) / total


def measure_epoch(run: Run) -> Row:
    """-> train_ and val_ columns: a fixed training subset of the size of val, measured by the same code as val."""
    val = run.tiles.indices("val")
    row: Row = {}
    for split, indices in (("train", fixed_subset(run.train, len(val))), ("val", val)):
        scores = measure(run.result, run.tiles, indices, run.loss, run.device, run.config.precision)
        row |= {f"{split}_{name}": scores[name] for name in MEASURED}
    return row


def best_epoch(history: list[Row]) -> int:
    """-> the first epoch with the highest val_iou, or 0 before any."""
    return int(max(history, key=lambda row: row["val_iou"])["epoch"]) if history else 0


def fit(run: Run, show: Callable[[Row], None], between: Callable[[Run], None] = lambda run: None) -> str:
    """Trains the epochs that are left, at most `patience` of them after the best one -> why it diverged, or nothing.

    `show` sees each epoch's row; `between` is called whenever losses were read.
    """
    patience = run.config.patience or run.config.epochs
    while (epoch := len(run.history) + 1) <= min(run.config.epochs, best_epoch(run.history) + patience):
        if reason := train_epoch(run, epoch, between):
            return reason
        row = {"epoch": epoch, "lr": run.steps[-1]["lr"], **measure_epoch(run), "running_loss": running_loss(run)}
        if wrong := [name for name, value in row.items() if not math.isfinite(value)]:
            return f"{wrong[0]} of epoch {epoch} is {row[wrong[0]]}"
        run.history.append(row)
        run.last = state.stored(run.result.state_dict())
        run.best = run.last if best_epoch(run.history) == epoch else run.best
        show(row)
        between(run)
    return ""


def progress(epochs: int, spool: Spool) -> Callable[[Row], None]:
    """-> what shows an epoch: a bar on a terminal, else a line; and in its spool, which is where MLflow sees it."""
    bar = tqdm(total=epochs, unit="epoch") if sys.stderr.isatty() else None

    def show(row: Row) -> None:
        spool.epoch(row)
        text = ", ".join(f"{s} loss {row[f'{s}_loss']:.4f} iou {row[f'{s}_iou']:.4f}" for s in ("train", "val"))
        if bar is None:
            print(f"epoch {row['epoch']}/{epochs}: {text}", flush=True)
        else:
            bar.set_postfix_str(text)
            bar.update()

    return show


def resolved(run: Run) -> dict[str, Any]:
    """-> the configuration, with the device that it came to."""
    return {**dataclasses.asdict(run.config), "device": run.device.type}


def write(out: Path, run: Run, reason: str, key: str) -> None:
    """Writes the declared outputs of a run that is at its end."""
    write_rows(out / "history.csv", run.history, HISTORY)
    write_rows(out / "steps.csv", run.steps, STEPS)
    for name, tensors in (("weights", run.best if run.config.keep == "best" else run.last), ("best", run.best)):
        with replacing(out / f"{name}.safetensors") as draft:
            draft.write_bytes(save(tensors))
    write_json(out / "config.json", resolved(run))
    status = {"status": "diverged" if reason else "finished", "reason": reason, "epoch": len(run.history)}
    made = {"key": key, "machine": machine(run.device), "packages": packages()}
    write_json(out / "status.json", {**status, "step": len(run.steps), **made})


def save_or_stop(run: Run, saver: state.Saver, asked: Callable[[], int]) -> None:
    """Saves the state of a run now and then, and when a signal asked for a stop, which all processes then make."""
    stop = parallel.anywhere(asked() > 0, run.device)
    if parallel.rank() == 0:
        (saver.save if stop else saver.save_if_due)(run)
    if stop:
        raise StoppedError(asked() or signal.SIGTERM, f"at step {len(run.steps)}; the same command goes on from there")


def run(tiles: Path, out: Path, config: Train, key: str) -> None:
    """Writes config.json, history.csv, steps.csv, weights, best.safetensors and status.json into the folder `out`.

    Goes on from the newest state of a run with the same key on the same kind of machine. Raises StoppedError.
    """
    device = prepare(config.device, config.threads)
    with parallel.together(device):
        under_way = start(config, load(tiles, config.fold, config.split_by), device)
        folder = state.folder_of(out)
        saver = state.Saver(state.below(folder, key, machine(device)), at=0.0, took=0.0)
        first = parallel.rank() == 0
        with claimed(out, folder) if first else nullcontext(), on_signals() as asked:
            parallel.anywhere(False, device)  # All wait for the lock.
            if tensors := state.newest(saver.folder):
                state.restore(under_way, tensors)
                print(f"goes on after step {len(under_way.steps)}", flush=True)
            mirror = Spool(key, out.name, resolved(under_way), under_way.history) if first else nullcontext()
            with mirror as spool:
                show = progress(config.epochs, spool) if spool else lambda row: None
                reason = fit(under_way, show, functools.partial(save_or_stop, saver=saver, asked=asked))
                if spool:
                    if reason:
                        print(f"diverged: {reason}", file=sys.stderr, flush=True)
                    write(out, under_way, reason, key)
                    spool.end("diverged" if reason else "finished")
                    state.remove(folder)
