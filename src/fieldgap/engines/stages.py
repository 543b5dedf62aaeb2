"""The stages, and the commands beside them.

Sections are named here, and loaded only by a command that needs them, so that `--help` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass

PATHS = {  # A name in capitals is written without a flag.
    "images": "folder of the images",
    "masks": "folder of their masks",
    "write": "new file for the proposed values",
    "fresh_scenes": "file of the fresh scenes",
    "split": "table of the scenes' splits",
    "tiles": "folder of the packed tiles",
    "run": "folder of the run",
    "runs": "folder of all runs",
    "reports": "folder of the report",
    "spools": "folder of the spools",
    "params": "params.yaml of the project",
    "out": "file or folder to write",
    "RUN": "name or folder of a run",
    "FOLDER": "folder of images and masks",
}


@dataclass(frozen=True)
class Stage:
    """A subcommand of the command line.

    Attributes:
        purpose: What it does, in a few words.
        module: The module whose run() does it.
        paths: The paths that run() gets.
        section: The section that run() gets as `config`.
        grid: Whether run() also gets the axes.
        data: Whether run() also gets section data.
        key: Whether run() also gets the key of its result.
        resumes: Whether run() goes on from where an earlier attempt stopped, unless it is told to begin `anew`.
        of_project: Whether it is about the project in the working folder, and there must be one.
        optional: Paths that run() gets only if they are given.
    """

    purpose: str
    module: str
    paths: tuple[str, ...]
    section: str = ""
    grid: bool = False
    data: bool = False
    key: bool = False
    resumes: bool = False
    of_project: bool = False
    optional: tuple[str, ...] = ()

    @property
    def sections(self) -> dict[str, str]:
        """The section of each argument of run() that is one."""
        return ({"data": "Data"} if self.data else {}) | ({"config": self.section} if self.section else {})


_SCENES = ("images", "masks", "fresh_scenes")
STAGES = {
    "demo": Stage("draw synthetic farmland scenes with masks", "demo.demo", _SCENES, "Demo"),
    "split": Stage("assign each scene to train, val or test", "data.split", ("out",), "Split", data=True),
    "normalize": Stage(
        "turn masks into classes and cut scenes into packed tiles",
        "data.normalize",
        ("split", "fresh_scenes", "out"),
        "Normalize",
        data=True,
    ),
    "train": Stage("train one run of the grid", "training.train", ("tiles", "out"), "Train", key=True, resumes=True),
    "evaluate": Stage("measure a run on train, val and test", "evaluation.evaluate", ("tiles", "run"), "Evaluate"),
    "report": Stage(
        "compare all runs of the grid", "report.report", ("runs", "tiles", "out"), "Report", grid=True, key=True
    ),
    "record": Stage(
        "bring all runs of the grid into MLflow",
        "tracking.record",
        ("runs", "reports", "tiles", "out"),
        "Record",
        grid=True,
    ),
}


# No results: DVC runs validate, people run the others.
COMMANDS = {
    **STAGES,
    "validate": Stage("check params.yaml and what depends on it", "engines.validate", ("params", "out")),
    "inspect": Stage(
        "show what each initialisation of the grid does to weights, activations and gradients",
        "commands.inspection",
        ("tiles", "runs", "out"),
        grid=True,
    ),
    "watch": Stage(
        "mirror trainings into MLflow while they run", "commands.watch", ("spools",), "Record", of_project=True
    ),
    "ui": Stage("open the MLflow UI, for this machine only", "commands.ui", ("params",), of_project=True),
    "merge": Stage(
        "bring spools of other machines into MLflow", "commands.merge", ("spools",), "Record", of_project=True
    ),
    "verify": Stage(
        "read all kept results again and name those that are damaged", "commands.verify", (), of_project=True
    ),
    "explain": Stage(
        "show what made a run, from what and under which engine", "commands.explain", ("RUN",), of_project=True
    ),
    "check": Stage(
        "show what a folder contains, and the values that accept it",
        "commands.check",
        ("FOLDER",),
        optional=("images", "masks", "write"),
    ),
}
