"""Measure the speed and memory of split and normalize on 20,000 drawn PNGs of 256 px.

    python benchmarks/normalize.py FOLDER [SCENES]

Draws the scenes into FOLDER if they are missing; 20,000 take 4 GB. Prints seconds and processor seconds, each also
relative to decoding the same files with as many threads and nothing else, and the largest resident memory.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

STAGES = {
    "split": "--out {0}/split.csv --val 0.2 --test 0.2 --seed 0 --table {1} --group scene --no-stratify --folds 0",
    "normalize": "--split {0}/split.csv --fresh_scenes {0}/tiles/none.npz --out {0}/tiles --tile 256 --stride tile "
    "--no-pad --min_valid 0 --scale percentiles:1:99 --leakage error",
}
TABLE = Path(__file__).parent.parent.resolve() / "params/scenes.csv"
DATA = (
    "--images {0}/images --masks {0}/masks --image_pattern {{stem}} --mask_pattern {{stem}}_mask.png --bands 1 2 3 "
    "--foreground 255 --background 0 --tolerance 0 --unlabelled error --max_pixels 67108864"
)


def draw(folder: Path, index: int) -> None:
    """Draw soft blobs with grain, whose PNG is about as large as that of an aerial tile, and a mask of discs."""
    image, mask = folder / f"images/s{index:05d}.png", folder / f"masks/s{index:05d}_mask.png"
    if mask.exists():
        return
    rng = np.random.default_rng(index)
    blobs = cv2.resize(rng.integers(0, 255, (16, 16, 3), np.uint8), (256, 256), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(image), cv2.add(blobs, rng.integers(0, 16, blobs.shape, np.uint8)))
    shape = np.zeros((256, 256), np.uint8)
    for x, y, radius in rng.integers(10, 246, (4, 3)):
        cv2.circle(shape, (int(x), int(y)), int(radius) // 3, 255, -1)
    cv2.imwrite(str(mask), shape)


def decode(path: Path) -> int:
    """Decode a file and return its number of values."""
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED).size


def spent() -> tuple[float, float]:
    """Return the wall clock, and the processor seconds of this process and those that it waited for."""
    return time.perf_counter(), sum(os.times()[:4])


def since(began: tuple[float, float]) -> tuple[float, float]:
    """Return the seconds and processor seconds since then."""
    return tuple(now - then for now, then in zip(spent(), began, strict=True))


def bare(folder: Path) -> tuple[float, float]:
    """Return the seconds to decode all images and masks with a thread per core and keep nothing."""
    paths = sorted((folder / "images").iterdir()) + sorted((folder / "masks").iterdir())
    began = spent()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        sum(pool.map(decode, paths, chunksize=64))
    return since(began)


def stage(name: str, folder: Path) -> tuple[float, float]:
    """Return the seconds of one stage, as a process of its own."""
    command = f"{sys.executable} -m fieldgap {name} {DATA} {STAGES[name]}".format(folder, TABLE)
    began = spent()
    subprocess.run(command.split(), check=True, cwd=folder)
    return since(began)


def main(folder: Path, scenes: int) -> None:
    """Draw the scenes, measure, and print a table."""
    cv2.setNumThreads(1)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(draw, [folder] * scenes, range(scenes)))
    bare(folder)  # Reads the files into the page cache.
    before = bare(folder)
    measured = {name: stage(name, folder) for name in STAGES}
    measured["both"] = tuple(map(sum, zip(*measured.values(), strict=True)))
    floor = [sum(seconds) / 2 for seconds in zip(before, bare(folder), strict=True)]
    print("| | seconds | relative rate | processor seconds | relative rate |\n|---|---|---|---|---|")
    for name, seconds in {"bare decoding": floor, **measured}.items():
        print(f"| {name} | {' | '.join(f'{t:.1f} | {f / t:.2f}' for t, f in zip(seconds, floor, strict=True))} |")
    print(f"at most {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20:.2f} GiB of resident memory")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 20_000)
