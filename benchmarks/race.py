"""Race fieldgap against other ways to do one training and one grid: same tiles, U-Net, epochs, rates and cores.

    pip install -r benchmarks/requirements.txt
    python benchmarks/race.py [TIMES GRIDS]

Reads params.yaml and the tiles of the default ablation. Each contender is a process of its own, timed from start to
exit. They take turns, TIMES times for one training (3 by default) and GRIDS times for the grid (1 by default).

Peers run as they ship, and tuned: channels last, persistent workers, and bf16 if the processor has instructions for it,
because without them it is several times slower. fieldgap runs as it ships, on one core, because a grid keeps the others
busy, and tuned, on all cores. All weights are measured by the same code on the validation tiles. The grid of a peer is
one training per point, one after another, as in a sweep without a launcher.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import load_file

from fieldgap.network.build import Standardized
from fieldgap.network.measure import measure
from fieldgap.parts.losses import cross_entropy
from fieldgap.parts.unet import UNet
from fieldgap.settings import sections
from fieldgap.settings.params import Settings, flags, read
from fieldgap.tiles.batches import batch
from fieldgap.tiles.packed import Tiles, load

ROOT = Path(__file__).parents[1]
PEERS = {"Lightning and smp": "lightning_smp", "torchvision's loop": "torchvision_loop", "the article": "article_loop"}
KEYS = ("epochs", "batch_size", "lr", "warmup_epochs", "seed", "width", "depth")
WAYS = {"as shipped": False, "tuned": True}


def export(tiles: Tiles, folder: Path) -> None:
    """Write the tiles of train and val as the PNG files that the peers decode."""
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for index in tiles.indices(split):
            cv2.imwrite(str(folder / split / f"images/{index:05d}.png"), tiles.images[index][:, :, ::-1])
            cv2.imwrite(str(folder / split / f"masks/{index:05d}.png"), np.uint8(255) * (tiles.masks[index] == 1))


def bf16() -> bool:
    """Return whether this processor has instructions for bfloat16."""
    told = torch.cpu.get_capabilities()
    return bool(told.get("avx512_bf16") or told.get("amx_bf16") or told.get("bf16"))


def peer(name: str, tuned: bool, data: Path, out: Path, values: Mapping[str, Any]) -> list[str]:
    """Return the command of one training by a peer."""
    given = flags({key: values[key] for key in KEYS}).split()
    script = str(ROOT / f"benchmarks/peers/{name}.py")
    command = [sys.executable, script, "--data", str(data), "--out", str(out), *given]
    return [*command, *["--tuned"] * tuned, *["--bf16"] * (tuned and bf16())]


def ours(values: Mapping[str, Any], tuned: bool, out: Path) -> list[str]:
    """Return the command of one training by fieldgap. It runs outside the project, where results are not cached."""
    tuning = {"precision": "bf16" if bf16() else "fp32", "threads": os.cpu_count()} if tuned else {}
    given = flags({**values, **tuning, "device": "cpu"}).split()
    return [sys.executable, "-m", "fieldgap", "train", "--tiles", str(ROOT / "data/tiles"), "--out", str(out), *given]


def seconds(commands: Sequence[Sequence[str]], folder: Path) -> float:
    """Run commands one after another and return their wall time in seconds. End the race if one fails."""
    began = time.perf_counter()
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return time.perf_counter() - began


def scores(weights: Path, tiles: Tiles, config: sections.Train) -> dict[str, float]:
    """Return the validation loss and scores of a contender's weights, in fp32."""
    net = Standardized(UNet(config.width, config.depth, 2, "batch"), [0.0] * 3, [1.0] * 3)
    net.load_state_dict(load_file(weights))
    return measure(net, tiles, tiles.indices("val"), cross_entropy, torch.device("cpu"), "fp32")


def row(title: str, spent: Sequence[float], told: str) -> None:
    print(f"| {title} | {statistics.median(spent):.1f} | {min(spent):.1f} to {max(spent):.1f} | {told} |", flush=True)


def reading(tiles: Tiles, folder: Path) -> None:
    """Print how long one pass over the training tiles takes, in batches of 8, packed and as PNG files."""
    order = tiles.indices("train")
    batches = np.split(order, range(8, len(order), 8))
    files = sorted((folder / "png/train/images").glob("*.png")) + sorted((folder / "png/train/masks").glob("*.png"))
    ways = {
        "packed": lambda: [batch(tiles, chosen, torch.device("cpu")) for chosen in batches],
        "decoded": lambda: [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files],
    }
    spent = {way: [timed(read) for _ in range(20)] for way, read in ways.items()}
    packed, decoded = (statistics.median(each) * 1e3 for each in spent.values())
    print(
        f"{len(order)} tiles read in {packed:.1f} ms packed, in {decoded:.1f} from PNGs: {decoded / packed:.0f} times\n"
    )


def timed(work: Callable[[], object]) -> float:
    """Return the wall time of a call, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def single(times: int, tiles: Tiles, folder: Path, settings: Settings) -> None:
    """Print a row for each contender: seconds of one training, and the scores of its weights."""
    values = {**settings.train, **next(iter(settings.runs.values()))}
    config = sections.Train(**values)
    runs = {}
    for way, tuned in WAYS.items():
        out = folder / f"ours {way}"
        runs[f"fieldgap, {way}"] = (out, ours(values, tuned, out))
        for title, name in PEERS.items():
            out = folder / f"{name} {way}"
            runs[f"{title}, {way}"] = (out, peer(name, tuned, folder / "png", out, values))
    spent: dict[str, list[float]] = {title: [] for title in runs}
    for _ in range(times):
        for title, (out, command) in runs.items():
            shutil.rmtree(out, ignore_errors=True)
            spent[title].append(seconds([command], folder))
    print("| one training | median s | lowest to highest | validation loss | validation IoU |\n|---|---|---|---|---|")
    for title, (out, _) in runs.items():
        found = scores(out / "weights.safetensors", tiles, config)
        row(title, spent[title], f"{found['loss']:.3f} | {found['iou']:.3f}")


def grid(times: int, folder: Path, settings: Settings) -> None:
    """Print a row for each contender: seconds of the grid, for fieldgap from a fresh clone to records in MLflow."""
    commands = {
        f"{title}, {way}": [
            peer(PEERS[title], tuned, folder / "png", folder / f"sweep/{run}", {**settings.train, **axes})
            for run, axes in settings.runs.items()
        ]
        for title in ("Lightning and smp",)
        for way, tuned in WAYS.items()
    }
    spent: dict[str, list[float]] = {title: [] for title in ("fieldgap", *commands)}
    for time_ in range(times):
        clone = folder / f"clone{time_}"
        seconds([["git", "clone", "--quiet", str(ROOT), str(clone)]], folder)
        spent["fieldgap"].append(seconds([["snakemake", "--cores", "all"]], clone))
        for title, sweep in commands.items():
            spent[title].append(seconds(sweep, folder))
    print(
        f"\n| {len(settings.runs)} trainings | median s | lowest to highest | relative to fieldgap |\n|---|---|---|---|"
    )
    for title, each in spent.items():
        row(title, each, f"{statistics.median(each) / statistics.median(spent['fieldgap']):.2f}")


def main(times: int, grids: int) -> None:
    settings, tiles = read(ROOT / "params.yaml"), load(ROOT / "data/tiles")
    count = len(tiles.indices("train"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {count} training tiles")
    print(f"tuned: {'bf16' if bf16() else 'fp32'}\n")
    with tempfile.TemporaryDirectory() as name:
        export(tiles, Path(name) / "png")
        reading(tiles, Path(name))
        if times:
            single(times, tiles, Path(name), settings)
        if grids:
            grid(grids, Path(name), settings)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ("3", "1")))
