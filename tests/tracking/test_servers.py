"""Stage record with the MLflow server of scripts/mlflow_server.py, without and with a sign-in."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from mlflow import MlflowClient
from mlflow_server import free_port
from stores import GRID, MANY, PARENT, Place, points, recorded

from fieldgap.analysis.runs import FILES
from fieldgap.base import names

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("postgres") or list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))),
        reason="no PostgreSQL; see CONTRIBUTING.md",
    ),
]


@pytest.fixture(params=[[], ["--auth"]], ids=["open", "signed in"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a running server. The environment has the user and password, if it asks for them."""
    port = str(free_port())
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # PostgreSQL may run as another user.
        command = [sys.executable, str(ROOT / "scripts/mlflow_server.py"), name, "--port", port, *request.param]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            address = process.stdout.readline().strip()
            assert address == f"http://127.0.0.1:{port}", (Path(name) / "mlflow.log").read_text()
            if request.param:
                monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
                monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", (Path(name) / "admin.password").read_text())
            yield address
            process.terminate()
        assert process.returncode == 0


def remote(place: Place, server: str) -> Place:
    """Return the same results with that store, and with time enough for a busy machine."""
    return dataclasses.replace(place, record=dataclasses.replace(place.record, store=server, wait_seconds=120.0))


def test_a_server_holds_the_same_as_a_file(server: str, place: Place) -> None:
    here = remote(place, server)
    for _ in range(2):
        assert {row["recorded"] for row in here.go()} == {"true"}
    runs, client = recorded(here), MlflowClient(tracking_uri=server)
    assert set(runs) == {*GRID, PARENT}
    for name in GRID:
        run = runs[name]
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
        assert {item.path for item in client.list_artifacts(run.info.run_id)} - {"model"} == set(FILES)
        assert [step for step, _ in points(here, run, "val_iou")] == [1, 2, 3]
        weights = Path(client.download_artifacts(run.info.run_id, "weights.safetensors"))
        assert weights.read_bytes() == (place.root / "runs" / name / "weights.safetensors").read_bytes()
    assert client.get_model_version_by_alias("fieldgap", "champion").run_id in {runs[name].info.run_id for name in GRID}


@pytest.mark.parametrize("server", [["--auth"]], indirect=True)
def test_a_server_refuses_a_wrong_password_and_the_entries_wait(
    server: str, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as stranger:
        stranger.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        assert {row["recorded"] for row in remote(place, server).go()} == {"false"}
    assert "does not accept records (API request to" in capsys.readouterr().err
    assert {row["recorded"] for row in remote(place, server).go()} == {"true"}


@pytest.mark.parametrize("server", [[]], indirect=True)
def test_processes_that_share_a_server_create_each_run_once(server: str, place: Place) -> None:
    """A server cannot be locked. Of runs created at the same time the earliest stays, and it is complete."""
    place.with_store("http://127.0.0.1:9").go()
    command = [sys.executable, "-c", MANY, str(names.SPOOLS), server, "8"]
    subprocess.run(command, capture_output=True, text=True, check=False)
    here = remote(place, server)
    assert {row["recorded"] for row in here.go()} == {"true"}
    runs = recorded(here)
    assert set(runs) == {*GRID, PARENT}
    for name in GRID:
        assert sorted({step for step, _ in points(here, runs[name], "val_iou")}) == [1, 2, 3]
