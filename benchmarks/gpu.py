"""Measure how many tiles per second one GPU trains on, with one training at a time and with many.

    python benchmarks/gpu.py [DEVICE [SECONDS [PART ...]]]

Tiles are random bytes, because no figure here depends on what they show. There are three parts, and each prints a
table: `one` for a single training, computed in several ways; `peers` for Lightning; `many` for trainings side by side,
with how far the losses of stacked members drift from those of solo ones.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from torch import Tensor
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from fieldgap.network.device import precision_context, prepare
from fieldgap.parts.losses import cross_entropy
from fieldgap.settings.sections import Train
from fieldgap.tiles.batches import augmented
from fieldgap.tiles.packed import Tiles
from fieldgap.training.gradients import gradients
from fieldgap.training.run import Run
from fieldgap.training.start import start
from fieldgap.training.train import train_epoch, update

SIZES = {"default": {"width": 8, "depth": 3, "batch_size": 8}, "large": {"width": 32, "depth": 4, "batch_size": 32}}
MEMBERS = 16
RATE = 0.05
PER_EPOCH = 32  # Batches.


def tiles_of(count: int, size: int = 128) -> Tiles:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    masks = (images.mean(-1) > 127).astype(np.uint8)
    names, splits = np.array([f"s{i}" for i in range(count)]), np.array(["train"] * count)
    return Tiles(images, masks, names, splits, ("background", "farmland"), [127.5] * 3, [64.0] * 3)


def begun(size: str, precision: str, device: torch.device, seed: int = 0) -> Run:
    """Return a run with the values of params.yaml at step 0, whose steps are launched one by one."""
    run = as_shipped(size, precision, device, seed)
    run.gradients = gradients
    return run


def as_shipped(size: str, precision: str, device: torch.device, seed: int = 0) -> Run:
    """Return the same run with its steps replayed as fieldgap ships it."""
    values = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text())["train"]
    values |= SIZES[size] | {"precision": precision, "seed": seed, "init": "kaiming_normal"}
    values |= {"lr": RATE, "schedule": "constant", "warmup_epochs": 0}
    config = Train(**{**values, "options": {"SGD": {"momentum": 0.9}}})
    return start(config, tiles_of(16 * SIZES[size]["batch_size"]), device)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def rate_of(work: Callable[[], int], device: torch.device, seconds: float) -> float:
    """Return the tiles per second of `work`, which trains a little and returns its number of tiles.

    The result is the median of three spells after a warm-up.
    """
    found = []
    for spell in range(4):
        synchronize(device)
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds / 4:
            done += work()
        synchronize(device)
        if spell:
            found.append(done / (time.perf_counter() - began))
    return statistics.median(found)


def shipped(run: Run) -> Callable[[], int]:
    """Return a function that trains one epoch as fieldgap ships it, always the first one."""

    def work() -> int:
        run.steps.clear()
        train_epoch(run, 1, lambda run: None)
        return len(run.train)

    return work


def resident(run: Run) -> tuple[Tensor, Tensor]:
    """Return a run's images (N, 3, H, W), channels last, and classes (N, H, W), as uint8 on its device."""
    images = torch.from_numpy(run.tiles.images).to(run.device).permute(0, 3, 1, 2)
    return images, torch.from_numpy(run.tiles.masks).to(run.device)


def one_step(run: Run, images: Tensor, classes: Tensor, symmetry: Tensor | None) -> Tensor:
    """Take one of fieldgap's steps on tiles that are already on the device, and return the loss."""
    if symmetry is not None:
        images, classes = augmented(images, classes, symmetry)
    return update(run, images, classes.long(), run.config)


def chosen(run: Run) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the tile indices and symmetries of batch after batch, on the device."""
    size, count = int(run.config.batch_size), len(run.train)
    while True:
        order = torch.randperm(count).to(run.device)
        symmetry = torch.randint(8, (count,)).to(run.device)
        for first in range(0, count, size):
            yield order[first : first + size], symmetry[first : first + size]


def asynchronous(run: Run) -> Callable[[], int]:
    """Return a function that trains on tiles that are already on the device, without waiting for any loss."""
    images, classes = resident(run)
    order = chosen(run)

    def work() -> int:
        for _ in range(16):
            index, symmetry = next(order)
            one_step(run, images[index], classes[index], symmetry)
        return 16 * int(run.config.batch_size)

    return work


def captured(run: Run, first: Sequence[tuple[Tensor, Tensor]] = ()) -> Callable[[Tensor, Tensor], Tensor]:
    """Capture a whole step as a CUDA graph, after three steps on the `first` batches.

    Returns:
        A function of (B,) tile indices and symmetries that replays the step and returns the loss, on the device.
    """
    images, classes = resident(run)
    size = int(run.config.batch_size)
    index, symmetry = (torch.zeros(size, dtype=torch.int64, device=run.device) for _ in range(2))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for at in range(3):
            if first:
                index.copy_(first[at][0])
                symmetry.copy_(first[at][1])
            one_step(run, images[index], classes[index], symmetry)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = one_step(run, images[index], classes[index], symmetry)

    def replay(tiles: Tensor, turns: Tensor) -> Tensor:
        index.copy_(tiles)
        symmetry.copy_(turns)
        graph.replay()
        return loss

    return replay


def replayed(run: Run) -> Callable[[], int]:
    """Return a function that replays whole steps, each of them one graph with augmentation and update."""
    replay, order = captured(run), chosen(run)

    def work() -> int:
        for _ in range(16):
            replay(*next(order))
        return 16 * int(run.config.batch_size)

    return work


def streams(runs: list[Run]) -> Callable[[], int]:
    """Return a function that steps many runs in one process, with each run's graph on its own stream."""
    members = [(captured(run), chosen(run), torch.cuda.Stream()) for run in runs]

    def work() -> int:
        for replay, order, stream in members:
            with torch.cuda.stream(stream):
                replay(*next(order))
        return len(runs) * int(runs[0].config.batch_size)

    return work


class Stack:
    """Many runs as one: weights, running statistics and momenta are stacked, and vmap steps all of them at once."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs, self.run = runs, runs[0]
        for run in runs:  # Under vmap, the copies that BatchNorm makes on CUDA cannot be channels last.
            run.net.to(memory_format=torch.contiguous_format)
        self.parameters, self.buffers = stack_module_state([run.net for run in runs])
        self.momenta = {name: torch.zeros_like(each) for name, each in self.parameters.items()}
        # vmap cannot advance a shared counter of batches; only a cumulative mean would read it, and we use none.
        self.counters = {name for name in self.buffers if name.endswith("num_batches_tracked")}

        def loss_of(parameters: dict, buffers: dict, images: Tensor, classes: Tensor) -> Tensor:
            with precision_context(self.run.device, self.run.config.precision):
                logits = functional_call(self.run.net, (parameters, buffers), (images,))
            return cross_entropy(logits, classes)

        self.gradients = vmap(grad_and_value(loss_of), randomness="different")

    def step(self, images: Tensor, classes: Tensor) -> Tensor:
        """Update all members once by SGD with momentum, and return their M losses.

        Args:
            images: (M, B, 3, H, W).
            classes: (M, B, H, W).
        """
        gradients, losses = self.gradients(self.parameters, self.buffers, images.contiguous(), classes)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                gradient = gradients[name]
                if parameter.ndim > 2:
                    gradient = gradient + self.run.config.weight_decay * parameter
                self.momenta[name].mul_(0.9).add_(gradient)
                parameter.sub_(RATE * self.momenta[name])
        return losses.detach()


def stacked(runs: list[Run], graph: bool) -> Callable[[], int]:
    stack, (images, classes) = Stack(runs), resident(runs[0])
    size, members = int(runs[0].config.batch_size), len(runs)
    index, symmetry = (torch.zeros(members * size, dtype=torch.int64, device=images.device) for _ in range(2))
    orders = [chosen(run) for run in runs]

    def body() -> Tensor:
        batch, truth = augmented(images[index], classes[index], symmetry)
        return stack.step(batch.unflatten(0, (members, size)), truth.long().unflatten(0, (members, size)))

    replay: Callable[[], object] = body
    if graph:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                body()
        torch.cuda.synchronize()
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            body()
        replay = recorded.replay

    def work() -> int:
        for _ in range(4):
            drawn = [next(order) for order in orders]
            index.copy_(torch.cat([tiles for tiles, _ in drawn]))
            symmetry.copy_(torch.cat([turns for _, turns in drawn]))
            replay()
        return 4 * members * size

    return work


def apart(device: torch.device, members: int, steps: int = 50) -> float:
    """Return the largest difference in a loss between stacked members and solo runs, in fp32."""
    solo = [begun("default", "fp32", device, seed) for seed in range(members)]
    stack = Stack([begun("default", "fp32", device, seed) for seed in range(members)])
    images, classes = resident(solo[0])
    order, size, most = torch.arange(len(images), device=device), 8, 0.0
    for run in solo:
        for group in run.optimizer.param_groups:
            group["lr"] = RATE
    for at in range(steps):
        index = order[(at * size) % len(images) :][:size]
        each = torch.stack([one_step(run, images[index], classes[index], None) for run in solo])
        batch = images[index].expand(members, *images[index].shape), classes[index].long().expand(members, -1, -1, -1)
        most = max(most, float((stack.step(*batch) - each).abs().max()))
    return most


def same_bits(device: torch.device, steps: int = 20) -> bool:
    """Return whether replayed steps lead to the same bits as steps launched one by one."""
    runs = [begun("default", "fp32", device) for _ in range(2)]
    images, classes = resident(runs[0])
    order = chosen(runs[0])
    drawn = [next(order) for _ in range(steps)]
    for index, symmetry in drawn:
        one_step(runs[0], images[index], classes[index], symmetry)
    replay = captured(runs[1], first=drawn[:3])
    for each in drawn[3:]:
        replay(*each)
    torch.cuda.synchronize()
    ends = [run.net.state_dict() for run in runs]
    return all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def member(device: torch.device, way: str, size: str, seconds: float, seed: int) -> None:
    """Run as one of several processes: print "warm", wait for a line, train, and print tiles per second."""
    run = (as_shipped if way == "shipped" else begun)(size, "fp32", device, seed)
    work = shipped(run)
    work()
    synchronize(device)
    print("warm", flush=True)
    sys.stdin.readline()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        done += work()
        synchronize(device)
    print(done / (time.perf_counter() - began), flush=True)


def processes(device: torch.device, way: str, size: str, seconds: float, count: int) -> float:
    """Return the tiles per second of several processes together."""
    words = [sys.executable, __file__, "member", device.type, way, size, str(seconds)]
    started = [
        subprocess.Popen([*words, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for seed in range(count)
    ]
    for child in started:
        assert child.stdout.readline() == "warm\n", "a member did not start"  # noqa: S101
    for child in started:
        child.stdin.write("go\n")
        child.stdin.flush()
    return sum(float(child.communicate()[0]) for child in started)


def busy(work: Callable[[], int], device: torch.device) -> float:
    """Return the share of time in which the device computes, according to its own trace."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    work()
    synchronize(device)
    began = time.perf_counter()
    with torch.profiler.profile(activities=activities) as trace:
        began = time.perf_counter()
        for _ in range(4):
            work()
        synchronize(device)
        wall = time.perf_counter() - began
    return sum(event.self_device_time_total for event in trace.key_averages()) / 1e6 / wall


def peer(data: Path, size: str, tuned: bool, device: torch.device) -> float:
    """Return the tiles per second of Lightning's script on PNG files.

    Timing eight epochs against two leaves out the start-up.
    """
    given = {"data": data / size, "out": data / "out", "device": device.type, "lr": RATE, "warmup_epochs": 0, "seed": 0}
    words = [f"--{name}={value}" for name, value in {**given, **SIZES[size]}.items()] + ["--tuned", "--bf16"] * tuned
    script, took = Path(__file__).parent / "peers/lightning_smp.py", []
    for epochs in (2, 8):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, str(script), *words, f"--epochs={epochs}"], check=True, stderr=subprocess.DEVNULL
        )
        took.append(time.perf_counter() - began)
    return 6 * PER_EPOCH * SIZES[size]["batch_size"] / (took[1] - took[0])


def lay_tiles(data: Path) -> None:
    """Write the tiles as PNG files: PER_EPOCH batches to train on, one tile to validate on."""
    for size, values in SIZES.items():
        tiles = tiles_of(PER_EPOCH * values["batch_size"])
        for split, count in ("train", len(tiles.images)), ("val", 1):
            for name, pixels in ("images", tiles.images), ("masks", tiles.masks * 255):
                (folder := data / size / split / name).mkdir(parents=True)
                for index in range(count):
                    cv2.imwrite(str(folder / f"{index:05d}.png"), pixels[index])


def peers(device: torch.device) -> None:
    print("| Lightning and smp | tiles per second |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        lay_tiles(Path(folder))
        for size in SIZES:
            for tuned in (False, True):
                rate = peer(Path(folder), size, tuned, device)
                print(f"| {size}, {'tuned' if tuned else 'as its documentation ships it'} | {rate:.0f} |", flush=True)


def one(device: torch.device, seconds: float) -> None:
    cuda = device.type == "cuda"
    print(torch.cuda.get_device_name() if cuda else "cpu", torch.__version__)
    print("| one training | tiles per second | device busy |\n|---|---|---|")
    for size in SIZES:
        for precision in ("fp32", "bf16"):
            ways: dict[str, Callable[[], Callable[[], int]]] = {
                "as shipped": lambda s=size, p=precision: shipped(as_shipped(s, p, device)),
                "steps one by one": lambda s=size, p=precision: shipped(begun(s, p, device)),
                "tiles on the device, no loss read": lambda s=size, p=precision: asynchronous(begun(s, p, device)),
            }
            if cuda:
                ways["whole steps as a graph"] = lambda s=size, p=precision: replayed(begun(s, p, device))
            for name, make in ways.items():
                work = make()
                told = f"{rate_of(work, device, seconds):.0f} | {busy(work, device) if cuda else float('nan'):.2f}"
                print(f"| {size}, {precision}, {name} | {told} |", flush=True)


def many(device: torch.device, seconds: float) -> None:
    cuda = device.type == "cuda"
    print("| many trainings | tiles per second, all together |\n|---|---|")
    for size in SIZES:
        runs = [begun(size, "fp32", device, seed) for seed in range(MEMBERS)]
        if cuda:
            print(
                f"| {size}, {MEMBERS} graphs on streams | {rate_of(streams(runs), device, seconds):.0f} |", flush=True
            )
        for graph in (False, True)[: 1 + cuda]:
            rate = rate_of(stacked(runs, graph), device, seconds)
            print(f"| {size}, {MEMBERS} stacked{', a graph' * graph} | {rate:.0f} |", flush=True)
        del runs
    for way in ("shipped", "single"):
        for count in (1, 4, MEMBERS):
            rate = processes(device, way, "default", seconds, count)
            print(f"| default, {count} processes, {way} | {rate:.0f} |", flush=True)
    if cuda:
        print("replayed steps have the bits of single ones:", same_bits(device))
    print("largest difference in a loss between stacked and solo:", apart(device, MEMBERS if cuda else 2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["member"]:
        kind, way, size, seconds, seed = sys.argv[2:]
        member(prepare(kind, 1), way, size, float(seconds), int(seed))
    else:
        where, spell = (
            prepare(sys.argv[1] if len(sys.argv) > 1 else "auto", 1),
            float(sys.argv[2]) if len(sys.argv) > 2 else 4.0,
        )
        parts = sys.argv[3:] or ["one", "peers", "many"]
        if "one" in parts:
            one(where, spell)
        if "peers" in parts:
            peers(where)
        if "many" in parts:
            many(where, spell)
