"""A whole project at a small size: its values, its files, its records."""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml
from mlflow import MlflowClient

SMALL = {
    "demo": {"scenes": 12, "size": 64, "seed": 0, "fresh": 6},
    "split": {"val": 0.3, "test": 0.3, "seed": 0},
    "normalize": {"tile": 32},
    "train": {"epochs": 2, "batch_size": 4, "width": 2, "depth": 2},
    "grid": {"init": ["kaiming_normal", "xavier_normal"], "warmup_epochs": [0, 1], "seed": [0]},
}


def configure(project: Path, changes: dict[str, dict[str, object]]) -> None:
    """Edits params.yaml as a user would: the blocks of `changes` over what is there."""
    path = project / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for block, values in changes.items():
        params[block] |= values
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def digests(project: Path) -> dict[str, str]:
    """Return a digest of every file that the stages made, without MLflow's store."""
    made = (path for folder in ("data", "runs", "reports") for path in (project / folder).rglob("*") if path.is_file())
    return {path.relative_to(project).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in made}


def experiment(project: Path, store: str) -> dict[tuple[str, str], dict[str, str]]:
    """Return the tags of each run in a store, by name and rate, and fail if one is there twice."""
    client = MlflowClient(tracking_uri=f"sqlite:///{project}/{store}")
    found = client.search_runs(["1"], "tags.kind = 'run'")
    assert {run.info.status for run in found} == {"FINISHED"}
    assert len({run.data.tags["fieldgap.key"] for run in found}) == len(found)
    return {(str(run.info.run_name), run.data.params["lr"]): run.data.tags for run in found}
