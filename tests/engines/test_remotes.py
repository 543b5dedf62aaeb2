"""Results that travel: pushed to a store that speaks S3, pulled into fresh clones where nothing is left to be done."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest
from mlflow_server import free_port
from projects import experiment
from test_two_engines import DVC, SNAKEMAKE, made, shipped, workshop
from two_engines import Project, digests

pytestmark = pytest.mark.slow
__all__ = ["made", "shipped", "workshop"]
BUCKET = "fieldgap"
RUNS = {("kaiming_normal-0-0", "0.1"), ("kaiming_normal-0-1", "0.1")}


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server with an empty bucket; the environment says who is there, as a user's would."""
    for name, value in ("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("DEFAULT_REGION", "us-east-1"):
        monkeypatch.setenv(f"AWS_{name}", value)
    port = str(free_port())
    log = tmp_path_factory.mktemp("store") / "log"
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", port]
    with log.open("w") as told, subprocess.Popen(command, stdout=told, stderr=told) as server:
        while "Running on" not in log.read_text():
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        address = f"http://127.0.0.1:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT")).close()  # noqa: S310
        yield address
        server.terminate()


def commit(project: Project) -> None:
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in ("add", "--all"), ("commit", "--quiet", "--message", "made"):
        subprocess.run([*git, *command], cwd=project.folder, check=True)


def clone_of(project: Project) -> Project:
    folder = project.folder.with_name(f"{project.folder.name}.clone")
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", str(project.folder), str(folder)], check=True)
    return Project(folder, project.tools)


def test_what_was_pushed_is_pulled_and_nothing_is_left_but_to_record(made: Project, store: str) -> None:
    made.call("dvc", "remote", "add", "--default", "store", f"s3://{BUCKET}/results")
    made.call("dvc", "remote", "modify", "store", "endpointurl", store)
    commit(made)
    made.call("dvc", "push")
    for first, second in (SNAKEMAKE, DVC), (DVC, SNAKEMAKE):
        clone = clone_of(made)
        assert not digests(clone.folder)
        clone.call("dvc", "pull")
        clone.call(*first)
        assert clone.worked() == ["record"]
        assert digests(clone.folder) == digests(made.folder)
        runs = experiment(clone.folder, "mlflow.db")
        assert {run: tags["restored"] for run, tags in runs.items()} == dict.fromkeys(RUNS, "true")
        clone.call(*second)
        assert clone.worked() == ["record"]
        assert "Nothing to be done" in clone.call(*SNAKEMAKE)
        assert "Running stage" not in clone.call(*DVC)
        told = clone.call("python", "-m", "fieldgap", "explain", "kaiming_normal-0-0")
        assert told.count("taken over from dvc.lock") == len(re.findall(r"^\w+  key", told, re.MULTILINE)) == 5
