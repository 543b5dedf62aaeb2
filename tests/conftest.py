"""Drawn data at the smallest size that the pipeline takes, and ways to run it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import warm

from fieldgap.base import names
from fieldgap.data import normalize, split
from fieldgap.data.pairs import STEM, labelled
from fieldgap.demo import demo
from fieldgap.engines import digests, results
from fieldgap.engines.jobs import job_of
from fieldgap.settings.sections import Data, Demo, Normalize, Report, Split, Train
from fieldgap.training import train

pytest_plugins = ("stores",)  # Fixtures that rooms share.
ROOT = Path(__file__).parent.parent
WARM = "WARM_TOOLS"  # In the environment: the folder of tools that are loaded already.
PATTERN = "{stem}_mask.png"
ELSEWHERE = Path("elsewhere/fresh.npz")  # Fresh scenes that do not belong to a test's own scenes.
PROJECT = (
    "Snakefile",
    "dvc.yaml",
    "params.yaml",
    "environment.yaml",
    "profiles",
    "params",
    ".dvcignore",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvc/plots",
    "src",
)

TINY = Train(
    options={"SGD": {"momentum": 0.9}},
    epochs=3,
    batch_size=3,
    micro_batch=64,
    optimizer="SGD",
    lr=0.05,
    weight_decay=1e-4,
    clip_norm=0,
    ema=0,
    schedule="cosine",
    schedule_per="step",
    warmup="linear",
    warmup_epochs=1,
    warmup_start=1e-3,
    init="kaiming_normal",
    loss="cross_entropy",
    balanced=False,
    train_share=1.0,
    fold="none",
    split_by="scene",
    model="unet",
    norm="batch",
    residual=False,
    zero_gamma=False,
    width=2,
    depth=2,
    augment=True,
    seed=0,
    device="cpu",
    precision="fp32",
    threads=1,
    recompute=False,
    patience=0,
    keep="last",
)
SPLIT = Split(val=0.3, test=0.3, seed=0, table=str(ROOT / "params/scenes.csv"), group="scene", stratify=False, folds=0)
NORMALIZE = Normalize(tile=32, stride="tile", pad=False, min_valid=0, scale="percentiles:1:99", leakage="error")


def data_in(folder: Path, **changes: Any) -> Data:
    """What is to be known of the scenes in images/ and masks/ of a folder, as shipped but for `changes`."""
    shipped: dict[str, Any] = {
        "images": str(folder / "images"),
        "masks": str(folder / "masks"),
        "image_pattern": "{stem}",
        "mask_pattern": PATTERN,
        "bands": (1, 2, 3),
        "foreground": ("255",),
        "background": ("0",),
        "classes": {},
        "ignore": (),
        "tolerance": 0,
        "unlabelled": "error",
        "max_pixels": 1_000_000,
    }
    return Data(**shipped | changes)


def pair(images: Path, masks: Path, mask_pattern: str, unlabelled: str = "error") -> dict[str, tuple[Path, Path]]:
    """Return the image and mask of each scene, where any image file is an image."""
    return labelled(images, masks, mask_pattern, unlabelled, STEM)[0]


JUDGE = Report(margin=0.01, margin_epochs=1, reach=0.95, window=3, poor=0.3, small_gap=0.03)


@pytest.fixture(scope="session", autouse=True)
def spools(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trainings of the tests spool here, and not into this checkout, whose next record would find them."""
    names.SPOOLS = tmp_path_factory.mktemp("spools")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn scenes of 64 px: images/ and masks/. Read only."""
    folder = tmp_path_factory.mktemp("scenes")
    demo.run(folder / "images", folder / "masks", folder / "fresh.npz", Demo(scenes=12, size=64, seed=0, fresh=5))
    return folder


@pytest.fixture(scope="session")
def tiles(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenes as tiles of 32 px, all three splits filled. Read only."""
    folder = tmp_path_factory.mktemp("packed")
    split.run(data_in(scenes), folder / "split.csv", SPLIT)
    normalize.run(data_in(scenes), folder / "split.csv", scenes / "fresh.npz", folder / "tiles", NORMALIZE)
    return folder / "tiles"


@pytest.fixture(scope="session")
def large_tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tiles of 128 px, for networks that take no smaller ones. Read only."""
    folder = tmp_path_factory.mktemp("large")
    demo.run(folder / "images", folder / "masks", folder / "fresh.npz", Demo(scenes=12, size=128, seed=0, fresh=0))
    split.run(data_in(folder), folder / "split.csv", SPLIT)
    large = dataclasses.replace(NORMALIZE, tile=128, stride=128)
    normalize.run(data_in(folder), folder / "split.csv", folder / "fresh.npz", folder / "tiles", large)
    return folder / "tiles"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A fresh copy of the project under git and DVC, as after a clone, without anything that was made."""
    for name in PROJECT:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, target)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "as shipped"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of snakemake, dvc and python that need not load their libraries."""
    folder = tmp_path_factory.mktemp("warm")
    server = warm.start(folder)
    yield folder / "bin"
    server.kill()
    server.wait()


@pytest.fixture
def warm_tools(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has call() and all that it starts use the tools that are loaded already."""
    monkeypatch.setenv(WARM, str(tools))


def often(usually: int, endurance: int) -> int:
    """Returns how often something random is tried: usually, and under `make endurance`."""
    return endurance if os.environ.get("ENDURANCE") else usually


def key_of(config: Train, tiles: Path) -> str:
    """Return the key that the command line gives a training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "SETTLED_NS", 10**20)  # Nothing of it is to be remembered in the working folder.
        basis = results.current_basis(job_of("train", {"tiles": tiles, "out": Path("run"), "config": config}))
    return basis.key if basis else ""


def run_training(tiles: Path, out: Path, config: Train) -> None:
    """Runs stage train as the command line does."""
    train.run(tiles, out, config, key_of(config, tiles))


def call(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs one of the tools of this environment in `folder`, on the sources there."""
    folders = [os.environ.get(WARM, ""), str(Path(sys.executable).parent), os.environ["PATH"]]
    path = os.pathsep.join(filter(None, folders))
    program = str(shutil.which(command[0], path=path))
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(folder / "src"), "COLUMNS": "200"}
    done = subprocess.run(
        [program, *command[1:]], cwd=folder, env=env, capture_output=True, text=True, timeout=3000, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done
