"""A small trained grid, and MLflow stores to record it in."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import JUDGE, TINY, run_training
from mlflow import MlflowClient
from mlflow.entities import Run

from fieldgap.base import names
from fieldgap.base.files import read_rows
from fieldgap.evaluation import evaluate
from fieldgap.report import report
from fieldgap.settings.params import expand
from fieldgap.settings.sections import Evaluate, Record
from fieldgap.tracking import record

GRID = expand({"warmup_epochs": [0, 1], "seed": [0]})
PARENT = "warmup_epochs x seed"


# Arguments: the folder of the results, a limit for files, the grid as JSON, and the fields of Record.
ANEW = """
import json, resource, sys
from pathlib import Path
from fieldgap.settings.sections import Record
from fieldgap.tracking import record
root, limit, grid, store, experiment, seconds = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
folders = [Path(root) / name for name in ("runs", "reports", "tiles")]
record.run(*folders, Path("recorded.csv"), json.loads(grid), Record(store, experiment, float(seconds)))
"""


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder with results, and the store in which they are recorded."""

    root: Path
    record: Record

    def go(self, grid: dict[str, dict[str, object]] = GRID) -> list[dict[str, str]]:
        """Run stage record and return the rows of recorded.csv."""
        record.run(
            self.root / "runs", self.root / "reports", self.root / "tiles", Path("recorded.csv"), grid, self.record
        )
        return read_rows(Path("recorded.csv"))

    def go_anew(self, limit: int = -1, **environment: str) -> str:
        """Run stage record in a process of its own, which remembers nothing of MLflow, and return its stderr.

        Args:
            limit: Bytes that no file may grow beyond; -1 for any size.
            environment: Variables to set.
        """
        given = [self.root, limit, json.dumps(GRID), *dataclasses.astuple(self.record)]
        command = [sys.executable, "-c", ANEW, *map(str, given)]
        env = {**os.environ, **environment}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def with_store(self, uri: str) -> Place:
        """Return the same results with another store."""
        return dataclasses.replace(self, record=dataclasses.replace(self.record, store=uri))


@pytest.fixture(scope="module")
def made(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiles/, runs/, reports/ and spools/ of GRID. Read only."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(tiles, folder / "tiles")
    earlier, names.SPOOLS = names.SPOOLS, folder / "spools"
    for name, axes in GRID.items():
        run_training(tiles, folder / "runs" / name, dataclasses.replace(TINY, **axes))  # type: ignore[arg-type]
        evaluate.run(tiles, folder / "runs" / name, Evaluate(device="cpu"))
    names.SPOOLS = earlier
    report.run(folder / "runs", tiles, folder / "reports", GRID, JUDGE, "0" * 64)
    return folder


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store without our experiment. It is copied, since creating one takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def place(made: Path, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The results of GRID in a fresh folder with its spools, and an empty store."""
    shutil.copy(empty, tmp_path)
    monkeypatch.chdir(tmp_path)  # A SQLite store keeps its artifacts in the working folder.
    monkeypatch.setattr(names, "SPOOLS", Path(".fieldgap/spool"))
    shutil.copytree(made, tmp_path / "made")
    shutil.copytree(made / "spools", names.SPOOLS)
    return Place(tmp_path / "made", Record(f"sqlite:///{tmp_path}/mlflow.db", "fieldgap", 5.0))


def recorded(place: Place) -> dict[str, Run]:
    """Return the runs of the experiment by name, and check that none is there twice."""
    client = client_of(place)
    experiment = client.get_experiment_by_name(place.record.experiment)
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    assert len({run.data.tags["fieldgap.key"] for run in runs}) == len(runs), "recorded twice"
    return {str(run.info.run_name): run for run in runs}


def points(place: Place, run: Run, metric: str) -> list[tuple[int, float]]:
    """Return step and value of each point of a metric."""
    return [(point.step, point.value) for point in client_of(place).get_metric_history(run.info.run_id, metric)]


# Arguments: an outbox, a store, and how many processes send all entries of the outbox to the store at the same time.
MANY = """
import os, sys
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store, pandas
from fieldgap.tracking import outbox
from fieldgap.tracking.store import Store
from fieldgap.tracking.upload import put

folder, uri, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
read, write = os.pipe()
children = []
for _ in range(count):
    if not (child := os.fork()):
        os.read(read, 1)  # All start at once.
        store = Store(uri, "fieldgap")
        store.open()
        for entry in outbox.load(folder):
            put(store, entry)
        os._exit(0)
    children.append(child)
os.write(write, b"x" * count)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


def client_of(place: Place) -> MlflowClient:
    """Return a client of the place's store."""
    return MlflowClient(tracking_uri=place.record.store)
