"""The MLflow UI: how it is started, and whether it shows the numbers of the report in a real browser."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser import needs_browser
from conftest import JUDGE, ROOT, TINY, run_training
from mlflow_server import free_port
from screenshots import Page
from stores import GRID, Place

from fieldgap.base.errors import InputError
from fieldgap.cli import main
from fieldgap.commands import ui
from fieldgap.evaluation import evaluate
from fieldgap.report import report
from fieldgap.settings.params import expand
from fieldgap.settings.sections import Evaluate

WIDER = expand({"warmup_epochs": [0, 1], "seed": [0, 1]})
METRICS = ("final_gap_val_iou", "final_val_iou")


@pytest.fixture
def table(place: Place) -> pd.DataFrame:
    """ablation.csv of a recorded ablation with two runs in each group."""
    for name in WIDER.keys() - GRID.keys():
        run_training(place.root / "tiles", place.root / "runs" / name, dataclasses.replace(TINY, **WIDER[name]))  # type: ignore[arg-type]
        evaluate.run(place.root / "tiles", place.root / "runs" / name, Evaluate(device="cpu"))
    report.run(place.root / "runs", place.root / "tiles", place.root / "reports", WIDER, JUDGE, "0" * 64)
    assert {row["recorded"] for row in place.go(WIDER)} == {"true"}
    return pd.read_csv(place.root / "reports/ablation.csv", index_col="run")


@pytest.fixture
def port(place: Place) -> Iterator[int]:
    """The port of a UI that was started as by `make ui`, on the store of the place."""
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    Path(".dvc").mkdir()
    number = free_port()
    command = [sys.executable, "-m", "fieldgap", "ui", "--params", "params.yaml"]
    env = {**os.environ, "MLFLOW_PORT": str(number)}
    with Path("ui.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_it_listens(number, process)
        yield number
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None, Path("ui.log").read_text()
            assert time.monotonic() < end, Path("ui.log").read_text()
            time.sleep(0.2)
        else:
            return


def answer(port: int, host: str) -> int:
    """Return the HTTP status of the front page for a browser that calls the server by this name."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/", headers={"Host": host})
        return connection.getresponse().status
    finally:
        connection.close()


def test_it_serves_this_machine_only_starts_no_jobs_and_reads_no_pickles(
    empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (empty, ROOT / "params.yaml"):
        shutil.copy(path, tmp_path)
    for name in ui.OTHER_STORES:
        monkeypatch.setenv(name, "sqlite:///elsewhere.db")
    started: list[Any] = []
    monkeypatch.setattr(ui.subprocess, "Popen", started.append)
    monkeypatch.setattr(ui.os, "execve", lambda *call: started.append(call))
    ui.run(Path("params.yaml"))
    watch, (_, command, env) = started
    flags = dict(zip(command[4::2], command[5::2], strict=True))
    assert command[1:4] == ["-m", "mlflow", "ui"]
    assert flags == {
        "--backend-store-uri": "sqlite:///mlflow.db",
        "--host": "127.0.0.1",
        "--allowed-hosts": "127.0.0.1:*,localhost:*",
        "--workers": "1",
    }
    assert env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == env["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert not set(ui.OTHER_STORES) & env.keys()
    assert watch[1:4] == ["-m", "fieldgap", "watch"]


@pytest.mark.parametrize("port", ["taken", "http", "70000"])
def test_a_port_that_cannot_be_had_is_one_sentence_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    Path(".dvc").mkdir()
    monkeypatch.setattr(ui.subprocess, "Popen", None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1]) if port == "taken" else port
        monkeypatch.setenv("MLFLOW_PORT", port)
        assert main(["ui", "--params", "params.yaml"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fieldgap ui: port {port}: ")
    assert line.endswith("; set MLFLOW_PORT to a free port, as in: MLFLOW_PORT=5001 make ui")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dvc", "params.yaml"]


def test_a_store_that_cannot_be_opened_is_one_sentence_and_starts_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move("mlflow.db", "old.db")
    Path("params.yaml").write_text(
        (ROOT / "params.yaml").read_text().replace("sqlite:///mlflow.db", "sqlite:///old.db")
    )
    with contextlib.closing(sqlite3.connect("old.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    monkeypatch.setattr(ui, "_check_port", lambda: None)
    monkeypatch.setattr(ui.subprocess, "Popen", lambda *_: pytest.fail("the mirror was started"))
    with pytest.raises(InputError, match=r"record.store: sqlite:///old.db cannot be opened \(.*out-of-date"):
        ui.run(Path("params.yaml"))


@needs_browser
@pytest.mark.skipif(not shutil.which("chromedriver"), reason="needs chromedriver; see CONTRIBUTING.md")
@pytest.mark.slow
def test_the_page_shows_groups_and_runs_with_the_numbers_of_the_report(table: pd.DataFrame, port: int) -> None:
    """To the last digit: the page contains whole numbers even where a column is too narrow to show them."""
    assert (answer(port, f"127.0.0.1:{port}"), answer(port, f"evil.test:{port}")) == (200, 403)
    page = Page(f"http://127.0.0.1:{port}")
    try:
        page.open()
        page.group("warmup_epochs")
        page.columns(METRICS)
        rows = page.rows(METRICS)
    finally:
        page.close()
    assert {name for name in rows if name.startswith("Group")} == {"Group: 0", "Group: 1", "Group: [0, 1]"}
    assert set(table.index) < set(rows)
    for metric in METRICS:
        column = table[metric.removeprefix("final_")]
        for warmup, mean in column.groupby(table["warmup_epochs"]).mean().items():
            shown = re.fullmatch(r"(\S+) \(average\)", rows[f"Group: {warmup}"][metric])
            assert shown
            assert float(shown[1]) == pytest.approx(mean, rel=1e-12)
        assert {run: float(rows[run][metric]) for run in column.index} == column.to_dict()
