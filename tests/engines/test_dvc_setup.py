"""A project that has lost its .dvc, and one that was downloaded without git."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import call
from test_two_engines import DVC, SNAKEMAKE, shipped, workshop
from two_engines import Workshop

from fieldgap.base.errors import InputError
from fieldgap.engines.dvc_setup import require, set_up

__all__ = ["shipped", "workshop"]


def advice() -> str:
    """Returns the command that the message ends with."""
    with pytest.raises(InputError, match="missing, so results cannot be kept; ") as error:
        require()
    return str(error.value).rpartition(": ")[2]


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        ("rm -r .dvc", "git checkout .dvc"),
        ("rm .dvc/config", "git checkout .dvc/config"),
        ("git rm -r --quiet .dvc && rm -rf .dvc", "git checkout HEAD .dvc"),
    ],
)
def test_a_lost_configuration_comes_back_by_what_the_message_says(
    loss: str, wanted: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    require()
    before = (project / ".dvc/config").read_bytes()
    subprocess.run(loss, shell=True, check=True)  # noqa: S602
    assert advice() == wanted
    subprocess.run(advice().split(), check=True)
    assert (project / ".dvc/config").read_bytes() == before
    require()


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_without_git_the_message_names_no_git(path: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    shutil.rmtree(".dvc")
    if path:
        monkeypatch.setenv("PATH", path)
    else:
        shutil.rmtree(".git")
    with pytest.raises(InputError, match=r"^\.dvc: missing, so results cannot be kept; copy \.dvc from a fresh"):
        require()


def test_a_stage_under_dvc_refuses_without_the_configuration(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".dvc/config").unlink()
    monkeypatch.setenv("DVC_STAGE", "split")
    refused = call(project, "python", "-m", "fieldgap", "split", check=False)
    assert refused.returncode == 1
    assert re.fullmatch(r"fieldgap split: \.dvc/config: missing, [^\n]+: git checkout \.dvc/config\n", refused.stderr)


def test_what_the_user_wrote_in_the_local_configuration_stays(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "a, b#c"))
    local = project / ".dvc/config.local"
    local.write_text(
        "[cache]\n    type = symlink\n['remote \"far\"']\n    url = s3://bucket\n[core]\n    remote = far\n"
    )
    shutil.rmtree(".git")
    set_up()
    told = {name: call(project, "dvc", "config", name).stdout.strip() for name in ("core.remote", "cache.type")}
    assert told == {"core.remote": "far", "cache.type": "symlink"}
    assert call(project, "dvc", "config", "core.site_cache_dir").stdout.strip() == f"{project}/a, b#c/fieldgap/dvc"
    assert call(project, "dvc", "config", "core.no_scm").stdout.strip() == "true"
    written = local.read_bytes()
    set_up()
    assert local.read_bytes() == written
    subprocess.run(["git", "init", "--quiet"], check=True)
    set_up()
    assert "no_scm" not in local.read_text()
    assert 'remote "far"' in local.read_text()


def test_a_memory_that_the_user_chose_stays(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path))
    (tmp_path / "config").write_text("[core]\nsite_cache_dir = /mine\n")
    set_up()
    assert not (project / ".dvc/config.local").exists()


@pytest.mark.slow
def test_without_git_both_engines_take_turns(shipped: Workshop, warm_tools: None) -> None:
    project = shipped.project()
    shutil.rmtree(project.folder / ".git")
    project.call(*SNAKEMAKE)
    project.check_files(shipped.from_scratch(set()))
    assert "Running stage" not in project.call(*DVC)
    lines = len(project.log())
    project.edit("wording")
    project.call(*DVC)
    assert "Nothing to be done" in project.call(*SNAKEMAKE)
    assert project.worked(lines) == ["report", "record"]
