"""SQLite stores: whole or not there, whatever is killed, and found with their artifacts wherever the project goes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import often
from mlflow import MlflowClient
from stores import GRID, PARENT, Place, client_of, recorded

from fieldgap.analysis.runs import FILES
from fieldgap.base.files import read_json, write_json
from fieldgap.tracking import sqlite
from fieldgap.tracking.store import Store

# Arguments: a store, and the number of the statement at which the process dies. 0 is never.
BARE = """
import os, sys
import sqlalchemy
from mlflow import MlflowClient
left = int(sys.argv[2])
@sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
def count(*_):
    global left
    left -= 1
    if not left:
        os._exit(9)
print("ready", flush=True)
MlflowClient(tracking_uri=sys.argv[1]).search_experiments()
"""
OURS = BARE.replace(
    "MlflowClient(tracking_uri=sys.argv[1]).search_experiments()", "Store(sys.argv[1], 'fieldgap').open()"
)
OURS = OURS.replace("from mlflow import MlflowClient", "from fieldgap.tracking.store import Store")
SLOW = [pytest.param(statement, marks=pytest.mark.slow) for statement in (1, 150)]


def started(code: str, file: Path, statement: int = 0) -> subprocess.Popen[str]:
    """Start a process that makes a store, and return when it has loaded MLflow."""
    command = [sys.executable, "-c", code, f"sqlite:///{file}", str(statement)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def tables(file: Path) -> int:
    with contextlib.closing(sqlite3.connect(file)) as database:
        return len(database.execute("SELECT name FROM sqlite_master").fetchall())


def filled(place: Place, file: Path) -> None:
    """Record in a store, and check that it has all runs and that nothing is left of earlier attempts."""
    # The machine may be busy.
    patient = dataclasses.replace(place.record, store=f"sqlite:///{file}", wait_seconds=60.0)
    here = dataclasses.replace(place, record=patient)
    assert {row["recorded"] for row in here.go()} == {"true"}
    assert set(recorded(here)) == {*GRID, PARENT}
    assert not list(file.parent.glob("*.new"))


@pytest.mark.parametrize("statement", [40, 400, *SLOW])
def test_a_store_that_mlflow_left_half_made_is_set_aside_and_made_anew(
    place: Place, statement: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path("fresh/mlflow.db").absolute()
    with started(BARE, file, statement) as process:
        pass
    assert process.returncode == 9
    begun = file.exists()
    filled(place, file)
    said = f"{file}: was left half made and holds no runs; it is now mlflow.db.unfinished"
    assert capsys.readouterr().err.count(said) == begun
    assert file.with_name("mlflow.db.unfinished").exists() == begun


@pytest.mark.parametrize("statement", [400, *SLOW])
def test_a_store_is_not_there_before_it_is_whole(place: Place, statement: int) -> None:
    file = Path("fresh/mlflow.db").absolute()
    with started(OURS, file, statement) as process:
        pass
    assert process.returncode == 9
    assert not file.exists()
    filled(place, file)


@pytest.mark.slow
def test_a_store_that_mlflow_is_making_at_this_moment_is_waited_for(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path("fresh/mlflow.db").absolute()
    with started(BARE, file) as process:
        while not file.exists():
            time.sleep(0.01)
        filled(place, file)
    assert process.returncode == 0
    assert not capsys.readouterr().err
    assert not list(file.parent.glob("*.unfinished"))


# For each line of a file and a way to make it, a child makes a store. It prints the child's id, and how it ended.
CHILDREN = """
import os, sys
import mlflow.store.tracking.sqlalchemy_store
from mlflow import MlflowClient
from fieldgap.tracking.store import Store
make = {
    "mlflow": lambda uri: MlflowClient(tracking_uri=uri).search_experiments(),
    "record": lambda uri: Store(uri, "fieldgap").open(),
}
while line := sys.stdin.readline():
    file, way = line.split()
    if not (child := os.fork()):
        make[way](f"sqlite:///{file}")
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()  # Until then the child's id belongs to nobody else, even if it has ended.
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.slow
@pytest.mark.repeated
@pytest.mark.parametrize("way", ["mlflow", "record"])
def test_kills_within_five_seconds_leave_a_store_that_the_next_record_fills(place: Place, way: str) -> None:
    chance, met = random.Random(0), 0  # noqa: S311
    command = [sys.executable, "-c", CHILDREN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as parent:
        assert parent.stdin
        assert parent.stdout
        for kill in range(kills := often(4, 50)):
            file = Path(f"{kill}/mlflow.db").absolute()
            parent.stdin.write(f"{file} {way}\n")
            child = int(parent.stdout.readline())
            time.sleep(5 * ((kill + chance.random()) / kills) ** 2)  # More of them early, when the store is made.
            os.kill(child, signal.SIGKILL)
            parent.stdin.write("end\n")
            met += int(parent.stdout.readline()) == signal.SIGKILL
            filled(place, file)
        parent.stdin.close()
    assert met, "no kill came in time"


def test_a_full_disk_leaves_nothing_half_made(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full after 200 kB, and so it is within the making of the tables."""
    file = Path("fresh/mlflow.db").absolute()
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)){OURS}"
    with started(code, file) as process:
        pass
    assert process.returncode == 1
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db.lock"]
    filled(place, file)


def test_a_store_with_runs_is_never_set_aside(place: Place) -> None:
    """Even if it has lost the rest."""
    place.go()
    with contextlib.closing(sqlite3.connect("mlflow.db")) as database, database:
        database.execute("DELETE FROM alembic_version")
        database.execute("DELETE FROM experiments")
    place.go()
    with contextlib.closing(sqlite3.connect("mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (3,)
    assert not list(Path().glob("*.unfinished*"))


def test_a_database_of_someone_else_is_not_touched(place: Place) -> None:
    with contextlib.closing(sqlite3.connect("mine.db")) as database, database:
        database.execute("CREATE TABLE parcels (name TEXT)")
    sqlite.prepare(Path("mine.db"))
    assert tables(Path("mine.db")) == 1


def test_a_slow_machine_makes_a_store_in_the_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making it is our own work, and no lateness of MLflow."""
    Path("mlflow.db").unlink()
    patient = dataclasses.replace(place, record=dataclasses.replace(place.record, wait_seconds=2.0))
    make = sqlite._make

    def slow(path: Path) -> None:
        time.sleep(5)
        make(path)

    monkeypatch.setattr(sqlite, "_make", slow)
    assert {row["recorded"] for row in patient.go()} == {"true"}


def test_what_an_earlier_database_left_beside_it_does_not_spoil_a_new_one(place: Place) -> None:
    Path("mlflow.db").unlink()
    for end in ("-journal", "-wal", "-shm"):
        Path(f"mlflow.db{end}").write_bytes(os.urandom(4096))
    filled(place, Path("mlflow.db").absolute())


def changed(place: Place) -> None:
    """Give all runs another content, so that their files are sent again."""
    for name in GRID:
        path = place.root / "runs" / name / "status.json"
        status = read_json(path)
        write_json(path, {**status, "packages": {**status["packages"], "numpy": "0"}})


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shows_all(place: Place, folder: Path) -> None:
    """Check that MLflow finds all artifacts below a folder."""
    client = client_of(place)
    for name, run in recorded(place).items():
        assert str(run.info.artifact_uri).startswith(f"{folder}/mlruns/")
        found = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert found >= ({"index.html"} if name == PARENT else set(FILES))
    weights = client.download_artifacts(recorded(place)["1-0"].info.run_id, "weights.safetensors")
    assert Path(weights).read_bytes() == (place.root / "runs/1-0/weights.safetensors").read_bytes()
    model = client.get_model_version_download_uri("fieldgap", "1")
    assert Path(model).is_relative_to(folder)
    assert (Path(model) / "MLmodel").exists()


@pytest.mark.parametrize("moved", [True, False], ids=["moved", "copied"])
def test_artifacts_follow_a_project_and_its_old_place_is_left_alone(
    place: Place, moved: bool, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.go()
    new = tmp_path_factory.mktemp("elsewhere")
    for name in ("mlflow.db", "mlruns"):
        (shutil.move if moved else lambda one, two: subprocess.run(["cp", "-r", one, two], check=True))(
            name, new / name
        )
    before = content(tmp_path / "mlruns")
    monkeypatch.chdir(new)
    here = place.with_store(f"sqlite:///{new}/mlflow.db")
    Store(here.record.store, "fieldgap").open()  # As `make ui` does.
    shows_all(here, new)
    changed(here)
    here.go_anew()
    assert "numpy 0" in recorded(here)["1-0"].data.tags["packages"]
    shows_all(here, new)
    assert content(tmp_path / "mlruns") == before


def test_a_store_copied_without_its_artifacts_says_where_they_are_and_keeps_new_ones_here(
    place: Place,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    smaller = {"0-0": GRID["0-0"]}
    place.go(smaller)
    old = content(tmp_path / "mlruns")
    new = tmp_path_factory.mktemp("elsewhere")
    shutil.copy("mlflow.db", new)
    monkeypatch.chdir(new)
    here = place.with_store("sqlite:///mlflow.db")
    capsys.readouterr()
    here.go()
    said = f"mlflow.db: artifacts of earlier runs are in {tmp_path}/mlruns; copy that folder to {new}/mlruns"
    assert capsys.readouterr().err.count(said) == 1
    runs = recorded(here)
    assert str(runs["1-0"].info.artifact_uri).startswith(f"{new}/mlruns/")
    assert str(runs["0-0"].info.artifact_uri).startswith(f"{tmp_path}/mlruns/")
    assert content(tmp_path / "mlruns").keys() == old.keys()
    subprocess.run(["cp", "-r", f"{tmp_path}/mlruns", str(new)], check=True)
    here.go()
    assert not capsys.readouterr().err
    shows_all(here, new)


def test_other_experiments_of_a_store_keep_artifacts_that_are_elsewhere(place: Place, tmp_path: Path) -> None:
    client = client_of(place)
    (tmp_path / "other/mlruns/1").mkdir(parents=True)
    experiment = client.create_experiment("theirs", str(tmp_path / "other/mlruns/1"))
    assert experiment == "1"
    place.go()
    theirs, ours = client.get_experiment("1"), client.get_experiment_by_name("fieldgap")
    assert theirs.artifact_location == f"{tmp_path}/other/mlruns/1"
    assert ours
    assert ours.artifact_location == f"{tmp_path}/mlruns/{ours.experiment_id}"


def test_artifacts_lie_beside_the_store_wherever_it_is_first_opened(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    monkeypatch.chdir(workspace)
    place.go()
    assert not (workspace / "mlruns").exists()
    shows_all(place, tmp_path)
    assert MlflowClient(tracking_uri=place.record.store).get_experiment("0").artifact_location == f"{tmp_path}/mlruns/0"
