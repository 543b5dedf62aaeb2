"""What each stage reads and writes, derived from the arguments of its run() alone.

The trap: two engines that list files in two ways disagree about what a result depends on. Both go through this table,
and a test holds their graphs against it. Files have labels that do not say where they are, so that a result is found
again in another folder. Imports in milliseconds: a stage whose result is known is not even loaded.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldgap.base.names import EVALUATED, FRESH, LEAKAGE, REPORTED, TILES, TRAINED, store_file
from fieldgap.data.pairs import has_fresh_scenes, image_files, scenes_in
from fieldgap.parts.registry import own_sources
from fieldgap.settings.sections import Evaluate, Train

if TYPE_CHECKING:
    from fieldgap.settings.params import Settings
    from fieldgap.settings.sections import Data, Demo, Normalize, Record, Report, Split

Files = dict[str, Path]
Grid = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Job:
    """One stage with its arguments.

    Attributes:
        stage: The name of the stage.
        inputs: The files that it reads, by label.
        outputs: The files that it writes, by label.
        values: All arguments that are not paths.
        folders: Folders that hold nothing but this job's outputs.
        store: A file without which the job's result is lost, such as MLflow's database.
    """

    stage: str
    inputs: Files
    outputs: Files
    values: dict[str, Any]
    folders: tuple[Path, ...] = ()
    store: Path | None = None

    def strays(self) -> list[Path]:
        """Return the images in the job's own folders that it does not write."""
        written = set(self.outputs.values())
        return [path for own in self.folders if own.is_dir() for path in image_files(own) if path not in written]


def _below(label: str, folder: Path, names: Iterable[str]) -> Files:
    return {f"{label}/{name}": folder / name for name in names}


def scenes_of(data: Data) -> Files:
    """Return the images and masks of a project.

    Raises:
        InputError: They cannot be listed or paired.
    """
    pairs = scenes_in(data).values()
    images = {f"images/{image.name}": image for image, _ in pairs}
    return images | {f"masks/{mask.name}": mask for _, mask in pairs}


def _own_parts(*names: str) -> Files:
    return {f"own/{path}": Path(path) for name in names for path in own_sources(name)}


def files_of_runs(runs: Path, grid: Grid) -> Files:
    """Return all files that stages train and evaluate write for the runs of a grid."""
    return {f"runs/{run}/{name}": runs / run / name for run in grid for name in (*TRAINED, *EVALUATED)}


def demo(images: Path, masks: Path, fresh_scenes: Path, config: Demo) -> tuple[Files, Files]:
    """Return what stage demo reads, which is nothing, and writes."""
    names = [f"scene_{index:03d}" for index in range(config.scenes)]
    drawn = _below("images", images, (f"{name}.png" for name in names))
    return {}, drawn | _below("masks", masks, (f"{name}_mask.png" for name in names)) | {"fresh_scenes": fresh_scenes}


def split(data: Data, out: Path, config: Split) -> tuple[Files, Files]:
    """Return what stage split reads and writes."""
    return {**scenes_of(data), "table": Path(config.table)}, {"out": out}


def normalize(data: Data, split: Path, fresh_scenes: Path, out: Path, config: Normalize) -> tuple[Files, Files]:
    """Return what stage normalize reads and writes."""
    fresh = {"fresh_scenes": fresh_scenes} if has_fresh_scenes(data, fresh_scenes) else {}
    return {**scenes_of(data), "split": split, **fresh}, _below("out", out, (*TILES, LEAKAGE, FRESH))


def train(tiles: Path, out: Path, config: Train) -> tuple[Files, Files]:
    """Return what stage train reads and writes."""
    own = _own_parts(config.init, config.schedule, config.loss, config.model)
    return _below("tiles", tiles, TILES) | own, _below("out", out, TRAINED)


def evaluate(tiles: Path, run: Path, config: Evaluate) -> tuple[Files, Files]:
    """Return what stage evaluate reads and writes."""
    own: Files = {}
    with suppress(OSError, ValueError, KeyError, TypeError):  # Without the run, the stage says so itself.
        trained = json.loads((run / "config.json").read_text(encoding="utf-8"))
        own = _own_parts(trained["loss"], trained["model"])
    inputs = _below("tiles", tiles, (*TILES, FRESH)) | _below("run", run, TRAINED) | own
    return inputs, _below("run", run, EVALUATED)


def report(runs: Path, tiles: Path, out: Path, grid: Grid, config: Report) -> tuple[Files, Files]:
    """Return what stage report reads and writes."""
    return files_of_runs(runs, grid) | _below("tiles", tiles, (*TILES, LEAKAGE)), _below("out", out, REPORTED)


def record(runs: Path, reports: Path, tiles: Path, out: Path, grid: Grid, config: Record) -> tuple[Files, Files]:
    """Return what stage record reads and writes."""
    inputs = files_of_runs(runs, grid) | _below("tiles", tiles, TILES) | _below("reports", reports, REPORTED)
    return inputs, {"out": out, "due": out.with_suffix(".due")}


FILES: dict[str, Callable[..., tuple[Files, Files]]] = {
    each.__name__: each for each in (demo, split, normalize, train, evaluate, report, record)
}


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def job_of(stage: str, given: Mapping[str, Any]) -> Job:
    """Return the job of a stage that is run with these arguments.

    Raises:
        InputError: The user's scenes cannot be listed.
    """
    inputs, outputs = FILES[stage](**given)
    values = {name: _plain(value) for name, value in sorted(given.items()) if not isinstance(value, Path)}
    folders = (given["images"], given["masks"]) if stage == "demo" else ()
    store = store_file(given["config"].store) if stage == "record" else None
    return Job(stage, inputs, outputs, values, folders, store)


SPLIT_TABLE, TILE_FOLDER = Path("data/split.csv"), Path("data/tiles")
RUN_FOLDER, REPORT_FOLDER = Path("runs"), Path("reports")
FRESH_SCENES = Path("data/demo/fresh.npz")
DEMO = {"images": Path("data/demo/images"), "masks": Path("data/demo/masks"), "fresh_scenes": FRESH_SCENES}


Call = tuple[str, tuple[str, ...], dict[str, Any]]


def calls(settings: Settings) -> Iterator[Call]:
    """Yield all jobs of a project, each after those whose files it reads.

    Yields:
        The job's name as DVC spells it (a stage, or stage@run), the names of the jobs before it, and the arguments of
        the stage's run().
    """
    data, tiles = settings.data, {"tiles": TILE_FOLDER}
    drawn = ("demo",) if Path(data.images) == DEMO["images"] else ()
    yield "demo", (), {**DEMO, "config": settings.demo}
    yield "split", drawn, {"data": data, "out": SPLIT_TABLE, "config": settings.split}
    packed = {
        "data": data,
        "split": SPLIT_TABLE,
        "fresh_scenes": FRESH_SCENES,
        "out": TILE_FOLDER,
        "config": settings.normalize,
    }
    yield "normalize", ("split", *drawn), packed
    for run, point in settings.runs.items():
        config = Train(**{**settings.train, **point})
        yield f"train@{run}", ("normalize",), {**tiles, "out": RUN_FOLDER / run, "config": config}
        evaluate = {**tiles, "run": RUN_FOLDER / run, "config": Evaluate(device=settings.train["device"])}
        yield f"evaluate@{run}", (f"train@{run}",), evaluate
    grid = {"runs": RUN_FOLDER, **tiles, "grid": settings.runs}
    yield (
        "report",
        tuple(f"evaluate@{run}" for run in settings.runs),
        {**grid, "out": REPORT_FOLDER, "config": settings.report},
    )
    recorded = {"reports": REPORT_FOLDER, "out": REPORT_FOLDER / "recorded.csv", "config": settings.record}
    yield "record", ("report",), {**grid, **recorded}
