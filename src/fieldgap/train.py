"""Stage train: one run of the grid, from its initial weights to its last epoch."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from fieldgap.device import precision_context, prepare
from fieldgap.errors import InputError
from fieldgap.files import replacing, write_json, write_rows
from fieldgap.identity import key_of, machine
from fieldgap.initialise import initialise
from fieldgap.inits import INITS
from fieldgap.measure import loss_of, measure
from fieldgap.model import build
from fieldgap.optimizers import make_optimizer
from fieldgap.parts import bind
from fieldgap.schedules import SCHEDULES, WARMUPS, learning_rate
from fieldgap.spool import Spool
from fieldgap.tiles import Tiles, augmented, load

if TYPE_CHECKING:
    from fieldgap.losses import Loss
    from fieldgap.settings import Train

Row = dict[str, float]
HISTORY = ("loss", "iou", "accuracy", "background_iou")


def draws(seed: int, epoch: int) -> torch.Generator:
    """-> randomness that depends on the seed and the epoch alone; epoch 0 starts the weights."""
    state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def fixed_subset(train: np.ndarray, size: int) -> np.ndarray:
    """-> `size` training tiles, evenly spaced, the same in each epoch and run; all of them when there are fewer."""
    return train[np.linspace(0, len(train) - 1, min(size, len(train))).astype(int)]


def batches(
    tiles: Tiles, train: np.ndarray, config: Train, epoch: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields one epoch of shuffled, augmented batches; the last one holds the rest."""
    generator = draws(config.seed, epoch)
    order = torch.randperm(len(train), generator=generator).numpy()
    symmetry = torch.randint(8, (len(train),), generator=generator)
    size = tiles_a_step(config, train)
    for first in range(0, len(train), size):
        chosen = order[first : first + size]
        images, classes = tiles.batch(train[chosen], device)
        yield augmented(images, classes, symmetry[chosen].to(device)) if config.augment else (images, classes)


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


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in net.state_dict().items()
    }


@dataclass
class Run:
    """A run under way: its network and optimiser, a row for each step and each epoch, the best epoch's weights."""

    config: Train
    tiles: Tiles
    train: np.ndarray
    device: torch.device
    net: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    average: AveragedModel | None
    history: list[Row] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def result(self) -> nn.Module:
        """What is measured and kept: the network, or the average of its past weights."""
        return self.average.module if self.average else self.net


def tiles_a_step(config: Train, train: np.ndarray) -> int:
    """-> the batch size in tiles; `full` is the whole training split."""
    return len(train) if config.batch_size == "full" else int(config.batch_size)


def start(config: Train, tiles: Tiles, device: torch.device) -> Run:
    """-> a run at step 0, its weights drawn from the seed. Raises InputError when the tiles do not fit the values."""
    train = tiles.training(config.train_share)
    if tiles_a_step(config, train) > len(train):
        raise InputError(f"batch_size: {config.batch_size} is more than the {len(train)} training tiles; lower it")
    net = build(config, tiles)
    initialise(net, bind(INITS, config.init, config.options), draws(config.seed, 0), zero_gamma=config.zero_gamma)
    net = net.to(device)
    options = dict(config.options.get(config.optimizer, {}))
    optimizer = make_optimizer(net, config.optimizer, config.lr, config.weight_decay, options)
    average = (
        AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True) if config.ema else None
    )
    return Run(config, tiles, train, device, net, optimizer, loss_of(config, tiles), average)


def step(run: Run, images: Tensor, classes: Tensor, rate: float) -> float:
    """-> the loss of one batch, after one update at `rate`. Gradients accumulate over micro-batches.

    The sum is that of the whole batch for losses that average over pixels. BatchNorm, and losses of a whole batch such
    as Dice, see one micro-batch at a time.
    """
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.zero_grad()
    total = 0.0
    for part, truth in zip(images.split(run.config.micro_batch), classes.split(run.config.micro_batch), strict=True):
        with precision_context(run.device, run.config.precision):
            logits = run.net(part)
        loss = run.loss(logits, truth) * (len(part) / len(images))
        loss.backward()
        total += loss.item()
    if run.config.clip_norm:
        nn.utils.clip_grad_norm_(run.net.parameters(), run.config.clip_norm)
    run.optimizer.step()
    if run.average:
        run.average.update_parameters(run.net)
    return total


def train_epoch(run: Run, epoch: int) -> float:
    """-> the running loss: the mean over the epoch's batches, each taken before its own update."""
    train, total = run.train, 0.0
    rate_at = rates(run.config, -(-len(train) // tiles_a_step(run.config, train)))
    for images, classes in batches(run.tiles, train, run.config, epoch, run.device):
        rate = rate_at(len(run.steps))
        loss = step(run, images, classes, rate)
        run.steps.append({"step": len(run.steps), "epoch": epoch, "lr": rate, "loss": loss})
        total += loss * len(images)
    return total / len(train)


def measure_epoch(run: Run) -> Row:
    """-> train_ and val_ columns: a fixed training subset of the size of val, measured by the same code as val."""
    val = run.tiles.indices("val")
    row: Row = {}
    for split, indices in (("train", fixed_subset(run.train, len(val))), ("val", val)):
        scores = measure(run.result, run.tiles, indices, run.loss, run.device, run.config.precision)
        row |= {f"{split}_{name}": scores[name] for name in HISTORY}
    return row


def fit(run: Run, show: Callable[[Row], None]) -> None:
    """Trains all epochs. The best one is the first with the highest val_iou. `show` sees each epoch's row."""
    for epoch in range(1, run.config.epochs + 1):
        running_loss = train_epoch(run, epoch)
        row = {"epoch": epoch, "lr": run.steps[-1]["lr"], **measure_epoch(run), "running_loss": running_loss}
        if all(row["val_iou"] > past["val_iou"] for past in run.history):
            run.best = weights(run.result)
        run.history.append(row)
        show(row)


def progress(epochs: int) -> Callable[[Row], None]:
    """-> what shows an epoch: a bar on a terminal, else a line."""
    bar = tqdm(total=epochs, unit="epoch") if sys.stderr.isatty() else None

    def show(row: Row) -> None:
        text = ", ".join(f"{s} loss {row[f'{s}_loss']:.4f} iou {row[f'{s}_iou']:.4f}" for s in ("train", "val"))
        if bar is None:
            print(f"epoch {row['epoch']}/{epochs}: {text}", flush=True)
        else:
            bar.set_postfix_str(text)
            bar.update()

    return show


def run(tiles: Path, out: Path, config: Train) -> None:
    """Writes config.json, history.csv, steps.csv, weights, best.safetensors and status.json into the folder `out`."""
    device = prepare(config.device, config.threads)
    done = start(config, load(tiles, config.fold, config.split_by), device)
    key, resolved = key_of(config, tiles), {**dataclasses.asdict(config), "device": device.type}
    lines, shown = Spool(key, out.name, resolved), progress(config.epochs)

    def show(row: Row) -> None:
        lines.epoch(row)
        shown(row)

    fit(done, show)
    write_rows(out / "history.csv", done.history)
    write_rows(out / "steps.csv", done.steps)
    for name, tensors in (("weights", weights(done.result)), ("best", done.best)):
        with replacing(out / f"{name}.safetensors") as draft:
            draft.write_bytes(save(tensors))
    write_json(out / "config.json", resolved)
    status = {"status": "finished", "reason": "", "epoch": len(done.history), "step": len(done.steps)}
    write_json(out / "status.json", {**status, "key": key, "machine": machine(device)})
    lines.end(str(status["status"]))
