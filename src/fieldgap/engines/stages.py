"""The stages, and the commands beside them."""

from __future__ import annotations

from dataclasses import dataclass

from fieldgap.settings import sections


@dataclass(frozen=True)
class Stage:
    """A subcommand: what it does, the module whose run() does it, its paths, its section, and what else it takes.

    `grid` is the axes, `data` what is to be known of the user's scenes.
    """

    says: str
    module: str
    paths: tuple[str, ...]
    section: type | None
    grid: bool = False
    data: bool = False
    key: bool = False


STAGES = {
    "demo": Stage(
        "draw synthetic farmland scenes with masks", "demo.demo", ("images", "masks", "fresh_scenes"), sections.Demo
    ),
    "split": Stage("assign each scene to train, val or test", "data.split", ("out",), sections.Split, data=True),
    "normalize": Stage(
        "turn masks into classes and cut scenes into packed tiles",
        "data.normalize",
        ("split", "fresh_scenes", "out"),
        sections.Normalize,
        data=True,
    ),
    "train": Stage("train one run of the grid", "training.train", ("tiles", "out"), sections.Train, key=True),
    "evaluate": Stage(
        "measure a run on train, val and test", "evaluation.evaluate", ("tiles", "run"), sections.Evaluate
    ),
    "report": Stage(
        "compare all runs of the grid", "report.report", ("runs", "tiles", "out"), sections.Report, grid=True, key=True
    ),
    "record": Stage(
        "bring all runs of the grid into MLflow",
        "tracking.record",
        ("runs", "reports", "tiles", "out"),
        sections.Record,
        grid=True,
    ),
}


# Beside the stages, for people: engines do not run them.
COMMANDS = {
    **STAGES,
    "inspect": Stage(
        "what each start of the grid does to weights, activations and gradients",
        "commands.inspection",
        ("tiles", "runs", "out"),
        None,
        grid=True,
    ),
    "watch": Stage("mirror trainings into MLflow while they run", "commands.watch", ("spools",), sections.Record),
    "ui": Stage("open the MLflow UI on this machine alone", "commands.ui", ("params",), None),
    "merge": Stage("bring spools of other machines into MLflow", "commands.merge", ("spools",), sections.Record),
    "verify": Stage("read all kept results again and name those that were damaged", "commands.verify", (), None),
    "explain": Stage("which stages made a run, from what, under which engine", "commands.explain", ("RUN",), None),
    "check": Stage(
        "what a folder of images and masks holds, and the values that accept it", "commands.check", ("FOLDER",), None
    ),
}
