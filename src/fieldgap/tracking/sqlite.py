"""The file of a SQLite store: it appears whole or not at all, and its artifacts are found where it is.

MLflow alone creates its tables in place, over seconds, and refuses for good a file in which a kill or a full disk left
only some of them. It also notes absolute paths of artifacts, which are wrong once a project has moved.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path

from fieldgap.tracking.client import mlflow

ARTIFACTS = "mlruns"  # MLflow's name for the folder of artifacts. It lies beside the file.
_BESIDE = ("", "-journal", "-wal", "-shm")  # What SQLite adds to the name of a database.
_NEW = ".new"  # The end of the name of the folder in which a store is made.
_BUSY_SECONDS = 20.0
_STILL_SECONDS = 3.0  # MLflow pauses for less while it makes its tables.
_COLUMNS = (
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


def prepare(path: Path) -> None:
    """Make the store if it is missing, and anew if it was left half made, which is then kept under another name."""
    path = path.resolve()  # The place of the file itself, if the name is a link.
    for earlier in path.parent.glob(f"{path.name}.*{_NEW}"):  # Of a process that was killed while it made the store.
        shutil.rmtree(earlier, ignore_errors=True)
    while _is_unfinished(path) and _changes(path):  # Another program is making it, such as `mlflow ui`.
        pass
    if _is_unfinished(path):
        for end in _BESIDE:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + end).replace(path.with_name(f"{path.name}.unfinished{end}"))
        print(f"{path}: was left half made and holds no runs; it is now {path.name}.unfinished", file=sys.stderr)
    if not path.exists():
        _make(path)


def _is_unfinished(path: Path) -> bool:
    """Return whether MLflow began to make its tables there and did not end. An experiment is the last that it makes."""
    if not path.exists():
        return False
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(path)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        ours = tables & {"experiments", "runs"}
        filled = any(database.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in ours)  # noqa: S608
        return not filled if ours else not tables
    return False


def _changes(path: Path) -> bool:
    before = path.stat()
    time.sleep(_STILL_SECONDS)
    after = path.stat()
    return (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size)


def _make(path: Path) -> None:
    folder = path.with_name(f"{path.name}.{time.time_ns()}{_NEW}")
    folder.mkdir(parents=True)
    try:
        draft = folder / path.name
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{draft}").search_experiments(max_results=1)
        for end in _BESIDE[1:]:  # They belong to no database, and SQLite would take them for the new one's.
            path.with_name(path.name + end).unlink(missing_ok=True)
        draft.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY_SECONDS)


def follow(path: Path, experiment: str) -> None:
    """Have MLflow look for artifacts beside the store, wherever they were when it noted their paths.

    An experiment of other people's, and a run, whose artifacts are still elsewhere and not here, stay as they are.

    Args:
        path: The store.
        experiment: The id of our experiment, whose new runs have their artifacts here in any case.
    """
    here = path.resolve().parent / ARTIFACTS
    with contextlib.closing(_connect(path)) as database, database:
        for number, location in database.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall():
            new = here / str(number)
            if _is_elsewhere(location, str(number), here) and (str(number) == experiment or _is_moved(location, new)):
                change = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?"
                database.execute(change, (str(new), number))
        left = [run for run in _runs_elsewhere(database, here) if not _moved_run(database, run, here)]
    ours = {uri.rpartition(f"/{experiment}/")[0] for _, number, uri in left if str(number) == experiment}
    if ours and here.parent == Path.cwd():
        print(f"{path}: artifacts of earlier runs are in {min(ours)}; copy that folder to {here}", file=sys.stderr)


def _runs_elsewhere(database: sqlite3.Connection, here: Path) -> list[tuple[str, int, str]]:
    rows = database.execute("SELECT run_uuid, experiment_id, artifact_uri FROM runs").fetchall()
    return [row for row in rows if _is_elsewhere(row[2], f"{row[1]}/{row[0]}/artifacts", here)]


def _moved_run(database: sqlite3.Connection, run: tuple[str, int, str], here: Path) -> bool:
    """Change a run's paths if its artifacts came along, or are gone at their old place. Return whether it is so."""
    name, number, old = run
    new = here / str(number) / name / "artifacts"
    if not _is_moved(old, new):
        return False
    for table, column in _COLUMNS:
        changed = f"UPDATE {table} SET {column} = ? || substr({column}, ?)"  # noqa: S608
        where = f" WHERE {column} = ? OR substr({column}, 1, ?) = ?"
        database.execute(changed + where, (str(new), len(old) + 1, old, len(old) + 1, f"{old}/"))
    return True


def _is_elsewhere(location: str | None, tail: str, here: Path) -> bool:
    """Return whether a path ends as MLflow names it below a folder of artifacts, which is another one than `here`."""
    root = (location or "").removesuffix(f"/{tail}")
    return root.startswith("/") and root != location and root != str(here) and Path(root).name == ARTIFACTS


def _is_moved(old: str, new: Path) -> bool:
    return new.exists() or not os.path.exists(old)  # noqa: PTH110  Unlike Path.exists, it raises no PermissionError.
