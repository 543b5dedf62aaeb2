"""How much the stages do, in counts that are the same on every machine. If one grows, the program is slower."""

from __future__ import annotations

import functools
import json
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pytest
import torch
from _ruamel_yaml import CParser
from conftest import JUDGE, NORMALIZE, SPLIT, TINY, call, data_in, run_training
from projects import SMALL, configure
from ruamel.yaml import YAML
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode

from fieldgap.base import names
from fieldgap.base.files import read_json
from fieldgap.base.labels import IGNORE
from fieldgap.data import normalize, split
from fieldgap.evaluation import evaluate
from fieldgap.network import measure as measure_module
from fieldgap.network.build import Standardized
from fieldgap.network.device import prepare
from fieldgap.network.measure import BATCH
from fieldgap.parts.losses import LOSSES
from fieldgap.report import report
from fieldgap.settings.params import expand
from fieldgap.settings.sections import Evaluate, Record
from fieldgap.tiles import batches as batches_module
from fieldgap.tiles.batches import batches, steps_per_epoch
from fieldgap.tiles.packed import load
from fieldgap.tracking import record
from fieldgap.training import train
from fieldgap.training.start import start

SCENES = 12
WEIGHTY = ("altair", "cv2", "dvc", "mlflow", "pandas", "PIL", "rasterio", "scipy", "snakemake", "torch", "torchvision")
WEIGHTY += ("torch._dynamo",)  # Torch's compiler; nothing here uses it, but importing torch's optimizers loads it.
# Which of WEIGHTY each stage loads.
IMPORTS = {
    "demo": "cv2",
    "split": "",
    "normalize": "PIL cv2 scipy",
    "train": "torch torch._dynamo",
    "evaluate": "torch",
    "report": "altair cv2 pandas scipy",
    "record": "mlflow pandas scipy",
}
NOTE = """
import atexit, json, sys
def note():
    loaded = sorted(set(sys.modules) & set(WEIGHTY))
    with open(NOTES, "a") as file:
        file.write(json.dumps({"words": sys.orig_argv[1:], "loaded": loaded}) + "\\n")
atexit.register(note)
"""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Counter[str]]:
    """Return a function that starts to count calls of an owner's functions by name, or to sum a measure of results."""
    counts: Counter[str] = Counter()

    def count(owner: Any, *names: str, measure: Callable[[Any], int] = lambda result: 1) -> Counter[str]:
        for name in names:
            original = getattr(owner, name)

            @functools.wraps(original)
            def counting(*args: Any, _name: str = name, _original: Any = original, **named: Any) -> Any:
                result = _original(*args, **named)
                counts[_name] += measure(result)
                return result

            monkeypatch.setattr(owner, name, counting)
        return counts

    return count


def test_split_decodes_nothing_and_normalize_each_file_once(
    scenes: Path, tmp_path: Path, counted: Callable[..., Counter[str]]
) -> None:
    counts = counted(cv2, "imdecode", "imread")
    split.run(data_in(scenes), tmp_path / "split.csv", SPLIT)
    assert not counts
    normalize.run(data_in(scenes), tmp_path / "split.csv", scenes / "fresh.npz", tmp_path / "tiles", NORMALIZE)
    assert counts["imdecode"] + counts["imread"] == 2 * (SCENES + 1), "the first one a second time for its depth"


def test_a_training_takes_its_steps_and_measures_its_epochs_and_no_more(
    tiles: Path, tmp_path: Path, counted: Callable[..., Counter[str]]
) -> None:
    counts = counted(Standardized, "forward")
    for module in (batches_module, measure_module):
        counted(module, "batch", measure=lambda result: result[0].numel() + result[1].numel())
    hook = register_optimizer_step_post_hook(lambda *_: counts.update(["step"]))
    run_training(tiles, tmp_path / "run", TINY)
    hook.remove()
    packed = load(tiles)
    steps = TINY.epochs * steps_per_epoch(TINY, training := packed.training(1.0))
    val = len(packed.indices("val"))
    assert val <= min(BATCH, len(training))
    pixels = packed.masks[0].size * (packed.images.shape[-1] + 1)
    assert counts["step"] == steps
    assert counts["forward"] == 1 + steps + 2 * TINY.epochs, "one to try it, one per step, two per epoch to measure"
    assert counts["batch"] == TINY.epochs * (len(training) + 2 * val) * pixels


@pytest.mark.parametrize("keep", ["last", "best"])
def test_evaluation_passes_over_the_tiles_once_for_each_epoch_it_measures(
    tiles: Path, tmp_path: Path, counted: Callable[..., Counter[str]], keep: str
) -> None:
    run_training(tiles, tmp_path / "run", replace(TINY, keep=keep))
    counts = counted(Standardized, "forward")
    evaluate.run(tiles, tmp_path / "run", Evaluate(device="cpu"))
    packed = load(tiles)
    batches = sum(-(-len(packed.indices(part)) // BATCH) for part in ("train", "val", "test"))
    fresh = -(-len(np.load(tiles / "fresh.npz")["masks"]) // BATCH)
    metrics = read_json(tmp_path / "run/metrics.json")
    assert counts["forward"] == 1 + batches * len({metrics["epoch"], metrics["best"]["epoch"]}) + fresh


class Waits(TorchDispatchMode):
    """Notes operations for which the host waits: those that need a value or a size, or send a list."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name in {"index", "index_put", "index_put_"} else ()
        by_mask = any(index is not None and index.dtype in {torch.bool, torch.uint8} for index in indices)
        if by_mask or name in {"_local_scalar_dense", "nonzero", "masked_select", "equal", "bincount", "lift_fresh"}:
            self.found.add(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("loss", [*LOSSES, "dice + 0.5*cross_entropy"])
def test_a_step_waits_for_no_gpu(tiles: Path, loss: str) -> None:
    """Class weights and pixels to ignore included."""
    values = {"micro_batch": 2, "clip_norm": 1.0, "balanced": loss in {"cross_entropy", "focal"}, "loss": loss}
    run = start(replace(TINY, **values), load(tiles), torch.device("cpu"))
    for images, classes in batches(run.tiles, run.train, run.config, 1, run.device):
        classes[:, :3] = IGNORE
        with Waits() as waits:
            train.step(run, images, classes, 0.1)
        assert not waits.found


def test_freed_memory_is_not_fetched_from_the_system_again() -> None:
    """Allocates 64 MiB 20 times; by default glibc fetches each page each time."""
    prepare("cpu", 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**26, dtype=torch.uint8)
    fetched = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert fetched * resource.getpagesize() < 10 * 2**26


def test_a_run_costs_the_store_few_questions(
    tiles: Path, tmp_path: Path, counted: Callable[..., Counter[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(names, "SPOOLS", Path("spool"))
    calls = [name for name in dir(mlflow.MlflowClient) if not name.startswith("_")]
    counts = counted(mlflow.MlflowClient, *[name for name in calls if callable(getattr(mlflow.MlflowClient, name))])
    asked = []
    for seeds in ([0], [0, 1], [0, 1]):
        grid = expand({"seed": seeds})
        for name, axes in grid.items():
            if not Path("runs", name).exists():
                run_training(tiles, Path("runs", name), TINY.__class__(**{**vars(TINY), **axes}))
                evaluate.run(tiles, Path("runs", name), Evaluate(device="cpu"))
        report.run(Path("runs"), tiles, Path("reports"), grid, JUDGE, "0" * 64)
        counts.clear()
        record.run(
            Path("runs"), Path("reports"), tiles, Path("recorded.csv"), grid, Record("sqlite:///m.db", "fieldgap", 60.0)
        )
        asked.append(counts.total())
    first, second, again = asked
    assert first <= 80
    assert second <= 94
    assert again <= 9


def test_dvc_reads_its_files_in_c() -> None:
    """DVC asks for the safe loader, which in Python is five times as slow."""
    assert issubclass(YAML(typ="safe").Parser, CParser)


def started(notes: Path) -> tuple[Counter[str], dict[str, str]]:
    """Return how many Python processes ran which program since the last call, and what the stages loaded."""
    lines = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
    notes.unlink(missing_ok=True)
    counts: Counter[str] = Counter()
    loaded = {}
    for line in lines:
        program, *rest = line["words"]
        name = rest[1] if program == "-m" else Path(program).name
        if name != "watch":  # It ends when it finds its engine gone.
            counts[name] += 1
            loaded |= {name: " ".join(line["loaded"])} if program == "-m" else {}
    return counts, loaded


@pytest.mark.slow
def test_engines_start_and_stages_load_no_more_than_they_need(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    configure(project, SMALL)
    notes = tmp_path_factory.mktemp("noted") / "notes"
    (project / "src/sitecustomize.py").write_text(f"WEIGHTY, NOTES = {WEIGHTY!r}, {str(notes)!r}\n{NOTE}")
    call(project, "snakemake", "--cores", "2")
    counts, loaded = started(notes)
    assert counts == dict.fromkeys(IMPORTS, 1) | {"train": 4, "evaluate": 4, "snakemake": 1, "dvc": 1}
    assert loaded == IMPORTS
    call(project, "snakemake", "--cores", "2")
    assert started(notes)[0] == {"snakemake": 1}
    call(project, "dvc", "repro")
    assert started(notes)[0] == {"dvc": 1}
