"""Are split and normalize fast and flat? 20,000 drawn PNGs of 256 px, held against bare parallel decoding.

    python benchmarks/normalize.py FOLDER [SCENES]

Draws the scenes into FOLDER when they are not there (4 GB at 20,000). Prints seconds, the rate against bare decoding of
the same files by as many threads, and the largest resident memory of each stage.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

STAGES = {
    "split": "--out {0}/split.csv --val 0.2 --test 0.2 --seed 0 --table {1} --group scene --no-stratify --folds 0",
    "normalize": "--split {0}/split.csv --population {0}/tiles/none.npz --out {0}/tiles --tile 256 --stride tile "
    "--no-pad --min_valid 0 --scale percentiles:1:99 --leakage error",
}
TABLE = Path(__file__).parent.parent.resolve() / "params/scenes.csv"
DATA = (
    "--images {0}/images --masks {0}/masks --mask_pattern {{stem}}_mask.png --bands 1 2 3 --foreground 255 "
    "--background 0 --tolerance 0 --max_pixels 67108864"
)


def draw(folder: Path, index: int) -> None:
    """One scene of soft blobs with grain, and a mask of discs: its PNG is about as large as that of an aerial tile."""
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
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED).size


def bare(folder: Path) -> float:
    """-> seconds that decoding every image and mask takes, by a thread for each core, nothing kept."""
    paths = sorted((folder / "images").iterdir()) + sorted((folder / "masks").iterdir())
    began = time.perf_counter()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        sum(pool.map(decode, paths, chunksize=64))
    return time.perf_counter() - began


def stage(name: str, folder: Path) -> tuple[float, float]:
    """-> seconds and GiB of resident memory of one stage, as a process of its own, which remembers no earlier pack."""
    command = f"{sys.executable} -m fieldgap {name} {DATA} {STAGES[name]}".format(folder, TABLE)
    shutil.rmtree(folder / ".fieldgap", ignore_errors=True)
    began = time.perf_counter()
    subprocess.run(command.split(), check=True, cwd=folder)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def main(folder: Path, scenes: int) -> None:
    cv2.setNumThreads(1)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(draw, [folder] * scenes, range(scenes)))
    print("| | seconds | of bare decoding's rate | GiB |\n|---|---|---|---|")
    bare(folder)  # Brings the files into the page cache.
    before = bare(folder)
    measured = {name: stage(name, folder) for name in STAGES}
    floor = (before + bare(folder)) / 2
    print(f"| bare decoding | {floor:.1f} | 1.00 | |")
    for name, (seconds, memory) in measured.items():
        print(f"| {name} | {seconds:.1f} | {floor / seconds:.2f} | {memory:.2f} |")
    both = sum(seconds for seconds, _ in measured.values())
    print(f"| both | {both:.1f} | {floor / both:.2f} | {max(memory for _, memory in measured.values()):.2f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 20_000)
