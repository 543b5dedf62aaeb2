"""What the Snakefile asks before its rules: the values, which jobs are due, and what each of them reads.

The trap: Snakemake judges by time stamps, and knows nothing of files that DVC made. A job that due.py finds due gets an
input that is new; for all others no age of a file counts.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.io import ancient

from fieldgap.base.environment import gpu_count
from fieldgap.base.errors import InputError
from fieldgap.base.names import SPOOLS
from fieldgap.engines import due
from fieldgap.engines.dvc_setup import require, set_up
from fieldgap.engines.jobs import DEMO, FRESH_SCENES, RUN_FOLDER, demo, files_of_runs, scenes_of
from fieldgap.engines.rooms import PACKAGE, sources_of
from fieldgap.engines.turns import Turn
from fieldgap.parts.registry import own_sources
from fieldgap.settings import params
from fieldgap.settings.params import Settings

Wildcards = Any
SOURCES = Path("src") / PACKAGE.name
YTE = "__use_yte__"
RECORDED, RECORD_LOG = Path("reports/recorded.csv"), Path("logs/record.log")


def plain(path: str) -> str:
    """Return the path of a YAML file that Snakemake may read as its configuration.

    Raises:
        WorkflowError: It has a key twice, of which Snakemake takes the last, or expressions, which Snakemake would run.
    """
    try:
        if YTE in params.load(Path(path)):
            raise InputError(f"{path}: {YTE} would run what the file says as code; remove it, and write plain values")
    except InputError as error:
        raise WorkflowError(str(error)) from None
    return path


def settings_of(config: dict[str, Any]) -> Settings:
    """Return the checked values of Snakemake's configuration, axes in the order of params.yaml.

    The order names the runs, and the keys of a second --configfile come first in `config`. An axis that such a file
    adds takes the place of params.yaml's own value.
    """
    grid, train = config.get("grid"), config.get("train")
    if isinstance(grid, dict) and isinstance(train, dict):
        axes = list(params.load(Path("params.yaml")).get("grid") or ())
        config["grid"] = dict(sorted(grid.items(), key=lambda axis: (*axes, axis[0]).index(axis[0])))
        config["train"] = {key: value for key, value in train.items() if key in axes or key not in grid}
    return params.check(config)


class Project:
    """A project as Snakemake is to see it. Raises WorkflowError for values or folders that cannot be used."""

    def __init__(self, config: dict[str, Any], *, whole: bool) -> None:
        """Read what is due, if this is the `whole` workflow and not one job of it on another machine."""
        try:
            self.settings = settings_of(config)
            self.now = time.time_ns()
            self.own_scenes = self._own_scenes()
            self.turn = self._ask_for_turn() if whole else None
            # On a cluster each job reads this file again, beside many others: what is due was judged before.
            self.due = due.mark(self.settings) if whole else due.judged(self.settings)
        except InputError as error:
            raise WorkflowError(str(error)) from None

    @staticmethod
    def _ask_for_turn() -> Turn:
        require()
        set_up()
        return Turn()

    @property
    def drawn(self) -> dict[str, list[str]]:
        """The images and the masks that stage demo draws."""
        outputs = demo(**DEMO, config=self.settings.demo)[1]
        return {
            kind: [str(path) for path in outputs.values() if path.parent == DEMO[kind]] for kind in ("images", "masks")
        }

    def _own_scenes(self) -> list[str]:
        """Return the user's own images and masks; none where the scenes are drawn."""
        if Path(self.settings.data.images) == DEMO["images"]:
            return []
        return [str(path) for path in scenes_of(self.settings.data).values()]

    @property
    def fresh(self) -> list[str]:
        """The file of fresh scenes, which only drawn scenes have."""
        return [] if self.own_scenes else [str(FRESH_SCENES)]

    def supplied(self, *files: str) -> list[Any]:
        """Return files that no job makes, as inputs whose age does not count.

        Snakemake refuses an output that is older than an input, so a file dated in the future (by a camera in another
        time zone, say) is left out; its bytes count all the same.
        """
        return [ancient(file) for file in files if not due.in_future(file, self.now)]

    def code(self, stage: str) -> list[Any]:
        """Return the source files in the rooms of a stage."""
        return self.supplied(*(str(SOURCES / path.relative_to(PACKAGE)) for path in sources_of(stage)))

    def made(self, job: str, *files: str) -> list[Any]:
        """Return inputs that other jobs made."""
        return [*files, str(due.MARK)] if job in self.due else [ancient(file) for file in files]

    def scenes_for(self, job: str) -> list[Any]:
        """Return the images and masks, drawn ones or the user's own, as inputs of a job."""
        if self.own_scenes:
            return [*self.supplied(*self.own_scenes), *self.made(job)]
        return self.made(job, *(file for files in self.drawn.values() for file in files))

    def values(self, run: str) -> dict[str, Any]:
        """Return all train values of a run."""
        return {**self.settings.train, **self.settings.runs[run]}

    def own(self, run: str, *kinds: str) -> list[Any]:
        """Return the user's own parts of a run, as inputs of the stages that use them."""
        return self.supplied(*(source for kind in kinds for source in own_sources(self.values(run)[kind])))

    def results(self) -> list[str]:
        """Return the files of all runs."""
        return [str(path) for path in files_of_runs(RUN_FOLDER, self.settings.runs).values()]

    def start(self) -> None:
        """Keep DVC away, try the user's own parts, which planning only reads, and show trainings in MLflow."""
        try:
            if self.turn:
                self.turn.take()
            params.try_own_parts(self.settings)
        except InputError as error:
            raise WorkflowError(str(error)) from None
        self._watch()

    def _watch(self) -> None:
        """Show trainings in MLflow while they run, at the lowest priority. It ends with this process."""
        Path("logs").mkdir(exist_ok=True)
        command = f"python -m fieldgap watch --spools {SPOOLS} {params.flags(asdict(self.settings.record))}"
        with Path("logs/watch.log").open("w") as log:
            subprocess.Popen(shlex.split(command), stdout=subprocess.DEVNULL, stderr=log)  # noqa: S603

    def end(self) -> None:
        """Print what a store refused, and have DVC note all results that stand."""
        if self.turn:
            self.turn.end()
        if RECORDED.is_file() and ",false" in RECORDED.read_text():
            print(RECORD_LOG.read_text())
        if trouble := due.tell_dvc(self.settings):
            print(f"dvc repro will bring these results from the cache again: {trouble}")


def as_flags(values: Mapping[str, Any]) -> Callable[[Wildcards], str]:
    """Return values as flags. A function, since Snakemake takes {stem} in a plain string for a wildcard."""
    spelt = params.flags(values)  # Once for all runs.
    return lambda wildcards: spelt


def places_on_gpu(values: Mapping[str, Any], *, here: bool) -> int:
    """Return how much of a GPU a run takes: of a cluster it asks for one by `device: cuda` alone."""
    return int(values["device"] == "cuda" or (values["device"] == "auto" and here))


def gpu_places(settings: Settings) -> int:
    """Return how many runs the GPUs of this machine take at once."""
    return settings.engine.runs_per_gpu * gpu_count()
