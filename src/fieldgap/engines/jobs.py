"""What each stage reads and writes, told from the arguments of its run() alone: the same under either engine.

Files are named by labels that say nothing of where they lie, so that a result is found again below another name.
Must import in milliseconds, like sections.py: a stage whose result is known is not even loaded.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldgap.base.names import EVALUATED, FRESH, LEAKAGE, REPORTED, TILES, TRAINED
from fieldgap.data.pairs import belongs, image_files, pair
from fieldgap.parts.registry import own_sources
from fieldgap.settings.sections import Evaluate, Train

if TYPE_CHECKING:
    from fieldgap.settings.params import Settings
    from fieldgap.settings.sections import Data, Demo, Normalize, Record, Report, Split

Files = dict[str, Path]
Grid = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Job:
    """A stage with its values: the files that it reads and writes, by label, and beside them folders that are its own.

    `values` are all arguments that are no paths. Without its `store`, a file, nothing of
    it is left.
    """

    stage: str
    inputs: Files
    outputs: Files
    values: dict[str, Any]
    folders: tuple[Path, ...] = ()
    store: Path | None = None

    def strays(self) -> list[Path]:
        """-> images in its own folders that it does not write."""
        made = set(self.outputs.values())
        return [path for folder in self.folders if folder.is_dir() for path in image_files(folder) if path not in made]


def below(label: str, folder: Path, names: Iterable[str]) -> Files:
    return {f"{label}/{name}": folder / name for name in names}


def scenes_of(data: Data) -> Files:
    """-> the user's images and masks. Raises InputError, as the stage itself would."""
    found = pair(Path(data.images), Path(data.masks), data.mask_pattern)
    images = {f"images/{image.name}": image for image, _ in found.values()}
    return images | {f"masks/{mask.name}": mask for _, mask in found.values()}


def own_of(*names: str) -> Files:
    """-> the files of the user's own parts."""
    return {f"own/{path}": Path(path) for name in names for path in own_sources(name)}


def runs_of(runs: Path, grid: Grid) -> Files:
    return {f"runs/{run}/{name}": runs / run / name for run in grid for name in (*TRAINED, *EVALUATED)}


def demo(images: Path, masks: Path, fresh_scenes: Path, config: Demo) -> tuple[Files, Files]:
    names = [f"scene_{index:03d}" for index in range(config.scenes)]
    drawn = below("images", images, (f"{name}.png" for name in names))
    return {}, drawn | below("masks", masks, (f"{name}_mask.png" for name in names)) | {"fresh_scenes": fresh_scenes}


def split(data: Data, out: Path, config: Split) -> tuple[Files, Files]:
    return {**scenes_of(data), "table": Path(config.table)}, {"out": out}


def normalize(data: Data, split: Path, fresh_scenes: Path, out: Path, config: Normalize) -> tuple[Files, Files]:
    fresh = {"fresh_scenes": fresh_scenes} if belongs(fresh_scenes, data) else {}
    return {**scenes_of(data), "split": split, **fresh}, below("out", out, (*TILES, LEAKAGE, FRESH))


def train(tiles: Path, out: Path, config: Train) -> tuple[Files, Files]:
    own = own_of(config.init, config.schedule, config.loss, config.model)
    return below("tiles", tiles, TILES) | own, below("out", out, TRAINED)


def evaluate(tiles: Path, run: Path, config: Evaluate) -> tuple[Files, Files]:
    own: Files = {}
    with suppress(OSError, ValueError, KeyError):  # Where the run is not there, the stage says so itself.
        trained = json.loads((run / "config.json").read_text(encoding="utf-8"))
        own = own_of(trained["loss"], trained["model"])
    inputs = below("tiles", tiles, (*TILES, FRESH)) | below("run", run, TRAINED) | own
    return inputs, below("run", run, EVALUATED)


def report(runs: Path, tiles: Path, out: Path, grid: Grid, config: Report) -> tuple[Files, Files]:
    return runs_of(runs, grid) | below("tiles", tiles, (*TILES, LEAKAGE)), below("out", out, REPORTED)


def record(runs: Path, reports: Path, tiles: Path, out: Path, grid: Grid, config: Record) -> tuple[Files, Files]:
    inputs = runs_of(runs, grid) | below("tiles", tiles, TILES) | below("reports", reports, REPORTED)
    return inputs, {"out": out, "due": out.with_suffix(".due")}


FILES: dict[str, Callable[..., tuple[Files, Files]]] = {
    each.__name__: each for each in (demo, split, normalize, train, evaluate, report, record)
}


def plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def job_of(stage: str, given: Mapping[str, Any]) -> Job:
    """-> the job of a stage's run(**given). Raises InputError when the user's scenes cannot be listed."""
    inputs, outputs = FILES[stage](**given)
    values = {name: plain(value) for name, value in sorted(given.items()) if not isinstance(value, Path)}
    folders = (given["images"], given["masks"]) if stage == "demo" else ()
    sqlite = given["config"].store.removeprefix("sqlite:///") if stage == "record" else ""
    store = Path(sqlite) if sqlite and ":" not in sqlite else None
    return Job(stage, inputs, outputs, values, folders, store)


SPLIT_TABLE, TILE_FOLDER = Path("data/split.csv"), Path("data/tiles")
RUN_FOLDER, REPORT_FOLDER = Path("runs"), Path("reports")


FRESH_SCENES = Path("data/demo/fresh.npz")


DEMO = {"images": Path("data/demo/images"), "masks": Path("data/demo/masks"), "fresh_scenes": FRESH_SCENES}


Call = tuple[str, tuple[str, ...], dict[str, Any]]


def calls(settings: Settings) -> Iterator[Call]:
    """Yields each job's name, the names of those before it, and the arguments of its run(), in their order.

    A name is DVC's: the stage, and for a run of the grid @ and the run.
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
