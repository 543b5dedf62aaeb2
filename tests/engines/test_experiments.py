"""Experiments that DVC runs in workspaces of their own, and DVC called from anywhere in a fresh clone."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import call
from mlflow import MlflowClient
from two_engines import EDITS, SMALLEST, configure

from fieldgap.base.names import project as project_of
from fieldgap.base.names import store_file


@pytest.fixture
def clone(project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project as after a clone, of a user who has a folder of caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
    monkeypatch.setenv("CI", "true")
    for block, values in SMALLEST.items():
        configure(project, block, **values)
    configure(project, "grid", seed=[0])
    (project / "docs").mkdir()
    (project / "docs/notes.md").write_text("Notes.\n")
    for words in (("config", "user.name", "test"), ("config", "user.email", "test@localhost"), ("add", "--all")):
        subprocess.run(["git", *words], cwd=project, check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "small"], cwd=project, check=True)
    return project


def others_can_write(folder: Path) -> list[Path]:
    paths = (path for path in folder.rglob("*") if not path.is_symlink())
    return [path for path in paths if path.stat().st_mode & stat.S_IWOTH]


def end_queue(project: Path) -> str:
    """Waits until all queued experiments have ended, and returns what became of them."""
    for _ in range(600):
        told = call(project, "dvc", "queue", "status").stdout
        if not re.search("Queued|Running|Preparing", told):
            break
        time.sleep(1)
    call(project, "dvc", "queue", "stop")
    return told


@pytest.mark.parametrize("place", ["tmpabc", "standalone/tmpabc"])
def test_a_workspace_of_an_experiment_belongs_to_the_project_above_it(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / ".dvc/tmp/exps" / place
    workspace.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert project_of() == Path()
    assert store_file("sqlite:///mlflow.db") == Path("mlflow.db")
    assert store_file("http://127.0.0.1:5000") is None
    monkeypatch.chdir(workspace)
    assert project_of() == tmp_path
    assert store_file("sqlite:///below/mlflow.db") == tmp_path / "below/mlflow.db"
    assert store_file("sqlite:////mlflow.db") == Path("/mlflow.db")


@pytest.mark.parametrize("graph", ["Snakefile", "dvc.yaml"])
def test_in_a_project_its_own_sources_run_wherever_fieldgap_is_installed(
    graph: str, project: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    shutil.copytree(project / "src", second / "src")
    shutil.copy(project / graph, second)
    (second / "src/fieldgap/cli.py").write_text("def main(words):\n    print('second', *words)\n    return 3\n")
    done = subprocess.run(
        [sys.executable, "-m", "fieldgap", "train"],
        cwd=second,
        env={"PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "second train\n")


@pytest.mark.slow
def test_what_dvc_remembers_is_private_and_nothing_is_left_in_sub_folders(
    clone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    call(clone / "docs", "dvc", "status")
    call(clone, "dvc", "repro", "demo")
    memory = call(clone / "docs", "dvc", "config", "core.site_cache_dir").stdout.strip()
    caches = Path(memory).parents[1]
    assert caches.name.startswith("caches")
    before = set(caches.rglob("*"))
    call(clone / "docs", "dvc", "status")
    assert set(caches.rglob("*")) > before, "DVC keeps it there"
    assert stat.S_IMODE(Path(memory).stat().st_mode) == 0o700
    assert not others_can_write(caches)
    assert not others_can_write(clone)
    assert sorted(path.name for path in (clone / "docs").iterdir()) == ["notes.md"]
    other = tmp_path_factory.mktemp("others")
    monkeypatch.setenv("XDG_CACHE_HOME", str(other))
    call(clone, "dvc", "repro", "demo", "--force")
    assert call(clone, "dvc", "config", "core.site_cache_dir").stdout.strip() == f"{other}/fieldgap/dvc"
    call(clone, "dvc", "config", "--local", "core.site_cache_dir", str(clone / "mine"))
    call(clone, "dvc", "repro", "demo", "--force")
    assert call(clone, "dvc", "config", "core.site_cache_dir").stdout.strip() == str(clone / "mine")


@pytest.mark.slow
def test_experiments_queued_in_a_fresh_clone_run_their_own_sources_and_are_seen_in_its_store(clone: Path) -> None:
    call(clone, "dvc", "exp", "run", "--queue", "--name", "slow", "--set-param", "train.lr=0.05")
    EDITS["wording"](clone, True)
    call(clone, "dvc", "exp", "run", "--queue", "--name", "worded")
    EDITS["wording"](clone, False)
    call(clone, "dvc", "queue", "start", "--jobs", "2")
    told = end_queue(clone)
    assert told.count("Success") == 2, told
    assert not list(clone.glob(".dvc/tmp/exps/tmp*"))

    client = MlflowClient(tracking_uri=f"sqlite:///{clone}/mlflow.db")
    runs = client.search_runs(["1"], "tags.kind = 'run'")
    assert sorted(run.data.params["lr"] for run in runs) == ["0.05", "0.1"]
    assert not [run for run in runs if run.data.tags.get("current") == "true"], "none is that of this folder"
    for run in runs:
        assert run.info.artifact_uri.startswith(str(clone / "mlruns"))
        assert client.list_artifacts(run.info.run_id)
    assert not list((clone / ".fieldgap/spool").glob("*.jsonl"))

    call(clone, "dvc", "exp", "apply", "worded")
    captions = "".join(path.read_text() for path in (clone / "reports/captions").iterdir())
    assert "The IoU of each test" in captions
    told = call(clone, "dvc", "exp", "run", "--temp", "--set-param", "train.lr=0.05")
    log = (clone / ".fieldgap/log.jsonl").read_text()
    assert log.count('"train"') == log.count('"train", "out": "runs/kaiming_normal-0-0", "how": "worked"') == 2, log
