from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
from conftest import JUDGE, TINY
from mlflow import MlflowClient
from mlflow.entities import Run

from fieldgap import evaluate, report, tracking, train
from fieldgap.errors import InputError
from fieldgap.files import read_rows
from fieldgap.settings import Evaluate, Record, expand

GRID = expand({"warmup_epochs": [0, 1], "seed": [0]})


@pytest.fixture(scope="module")
def made(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ and reports/ of GRID. Read only."""
    folder = tmp_path_factory.mktemp("made")
    for name, axes in GRID.items():
        train.run(tiles, folder / "runs" / name, dataclasses.replace(TINY, **axes))  # type: ignore[arg-type]
        evaluate.run(tiles, folder / "runs" / name, Evaluate(device="cpu"))
    report.run(folder / "runs", tiles, folder / "reports", GRID, JUDGE)
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    monkeypatch.chdir(tmp_path)  # Artifacts of a SQLite store lie below the working folder.
    return Record(store=f"sqlite:///{tmp_path}/mlflow.db", experiment="fieldgap")


def recorded(store: Record) -> dict[str, Run]:
    client = MlflowClient(tracking_uri=store.store)
    experiment = client.get_experiment_by_name(store.experiment)
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in runs}) == len(runs), "recorded twice"
    return {str(run.info.run_name): run for run in runs}


def test_each_run_and_the_ablation_are_recorded_once_and_whole(made: Path, store: Record) -> None:
    for _ in range(2):
        tracking.run(made / "runs", made / "reports", Path("recorded.csv"), GRID, store)
    runs = recorded(store)
    assert set(runs) == {*GRID, "warmup_epochs x seed"}
    parent, run = runs["warmup_epochs x seed"], runs["1-0"]
    client = MlflowClient(tracking_uri=store.store)

    assert run.info.status == "FINISHED"
    assert run.data.params["warmup_epochs"] == "1"
    assert run.data.params["init"] == TINY.init
    assert run.data.params["options_SGD_momentum"] == "0.9"
    assert {field.name for field in dataclasses.fields(TINY)} - {"options"} < set(run.data.params)
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.data.tags["variant"] == "warmup_epochs 1"

    history = pd.read_csv(made / "runs/1-0/history.csv")
    series = client.get_metric_history(run.info.run_id, "val_loss")
    assert [(each.step, each.value) for each in series] == list(enumerate(history["val_loss"], 1))
    table = pd.read_csv(made / "reports/ablation.csv").set_index("run")
    for name in ("train_iou", "test_iou", "gap_test_iou"):
        assert run.data.metrics[f"final_{name}"] == table.loc["1-0", name]
    assert run.data.metrics["best_test_iou"] == table.loc["1-0", "best_test_iou"]
    assert run.data.metrics["train_iou"] == history["train_iou"].iloc[-1] != run.data.metrics["final_train_iou"]

    assert {item.path for item in client.list_artifacts(run.info.run_id)} == set(tracking.FILES)
    assert "index.html" in {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert "figures/gap.svg" in {item.path for item in client.list_artifacts(parent.info.run_id, "figures")}
    assert [row["run"] for row in read_rows(Path("recorded.csv"))] == list(GRID)


def test_a_record_that_broke_off_is_made_up_for(made: Path, store: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that lost the store midway stays unfinished, and the next record brings it whole."""
    with monkeypatch.context() as broken:
        broken.setattr(tracking.MlflowClient, "log_artifact", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(InputError, match=r"record\.store: sqlite:.* takes no records \(disk full\)"):
            tracking.run(made / "runs", made / "reports", Path("recorded.csv"), GRID, store)
    assert not Path("recorded.csv").exists()
    tracking.run(made / "runs", made / "reports", Path("recorded.csv"), GRID, store)
    client = MlflowClient(tracking_uri=store.store)
    found = client.search_runs(["1"], "attributes.status = 'FINISHED'")
    assert sorted(str(run.info.run_name) for run in found) == sorted([*GRID, "warmup_epochs x seed"])
