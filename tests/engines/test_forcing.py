"""Jobs that people force, by how each engine is told to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import PATTERN, ROOT, call
from projects import SMALL, configure

from fieldgap.cli import main
from fieldgap.data import split
from fieldgap.engines import blobs, forcing, orphan, receipts
from fieldgap.engines.jobs import Job

JOB = Job("train", {}, {"out/config.json": Path("runs/a-0/config.json")}, {})
SPLIT = [
    *(
        "split",
        "--images",
        "scenes/images",
        "--masks",
        "scenes/masks",
        "--image_pattern",
        "{stem}",
        "--mask_pattern",
        PATTERN,
    ),
    *"--bands 1 2 3 --foreground 255 --background 0 --ignore --tolerance 0".split(),
    *"--unlabelled error --max_pixels 100000".split(),
    *"--out split.csv --val 0.3 --test 0.3 --seed 0 --group scene --no-stratify --folds 0 --table scenes.csv".split(),
]


@pytest.mark.parametrize(
    ("settings", "forced"),
    [
        ({}, False),
        ({"forceall": True}, True),
        ({"forcerun": {"train"}}, True),
        ({"forcerun": {"runs/a-0/config.json"}}, True),
        ({"forcerun": {"./runs/a-0/config.json"}}, True),
        ({"forcerun": {"runs/a-1/config.json", "evaluate"}}, False),
        ({"targets": {"train"}}, False),
        ({"targets": {"runs/a-0/config.json"}, "forcetargets": True}, True),
        ({"targets": {"report"}, "forcetargets": True}, False),
        ({"forcetargets": True}, False),
    ],
)
def test_snakemake_says_which_rules_and_files_it_forces(
    settings: dict[str, Any], forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(forcing.FORCED, forcing.EVERYTHING)  # Of another Snakemake, above this one.
    none: dict[str, Any] = {"forceall": False, "forcerun": set(), "targets": set(), "forcetargets": False}
    forcing.export(SimpleNamespace(**none | settings))
    assert forcing.is_forced(JOB) == forced


@pytest.mark.parametrize(
    ("words", "forced"),
    [
        ("dvc repro", False),
        ("dvc repro -f", True),
        ("dvc repro train@a-0 --force", True),
        ("python /usr/bin/dvc repro -sf", True),
        ("python -m dvc -q exp run -fP -S train.lr=1", True),
        ("dvc repro --force-downstream", True),
        ("dvc exp run -S f=1 -n f --name=--force", False),
        ("dvc exp run -Sf=1 -nf", False),
        ("snakemake -f", False),
        ("bash -f", False),
    ],
)
def test_the_command_line_of_dvc_says_that_all_its_stages_are_forced(
    words: str, forced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(forcing.FORCED, raising=False)
    for module in (forcing, orphan):
        monkeypatch.setattr(module, "PROC", tmp_path)
    monkeypatch.setattr(forcing, "ancestors", lambda _: iter([2, 1]))
    for process, line in ((1, words), (2, "sh -c python -m fieldgap")):
        (tmp_path / str(process)).mkdir()
        (tmp_path / str(process) / "cmdline").write_bytes(line.replace(" ", "\0").encode() + b"\0")
    assert forcing.is_forced(JOB) == forced


@pytest.fixture
def known(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The receipt of a split that is about to be forced."""
    monkeypatch.chdir(tmp_path)
    blobs.cache.cache_clear()
    shutil.copytree(scenes, "scenes")
    shutil.copy(ROOT / "params/scenes.csv", ".")
    Path(".dvc").mkdir()
    assert main(SPLIT) == 0
    monkeypatch.setenv(forcing.FORCED, "split")
    return next(receipts.RECEIPTS.glob("*/*.json"))


def log() -> list[str]:
    return [json.loads(line)["how"] for line in receipts.LOG.read_text().splitlines()]


def other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the split come out otherwise, as a stage does that does not repeat."""
    real = split.run

    def changed(**given: Any) -> None:
        real(**given)
        Path("split.csv").write_text(Path("split.csv").read_text() + "\n")

    monkeypatch.setattr(split, "run", changed)


@pytest.mark.usefixtures("known")
def test_a_forced_job_is_done_again_and_one_that_is_not_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Path("split.csv").read_bytes()
    assert main(SPLIT) == 0
    monkeypatch.setenv(forcing.FORCED, "train\nruns/a-0/config.json")
    assert main(SPLIT) == 0
    assert log() == ["worked", "worked", "restored"]
    assert Path("split.csv").read_bytes() == made


def test_other_bytes_of_a_forced_job_are_refused_until_someone_removes_the_receipt(
    known: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made, before = Path("split.csv").read_bytes(), kept()
    with monkeypatch.context() as patch:
        other(patch)
        assert main(SPLIT) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("fieldgap split: split.csv: has other bytes than the result kept")
        assert "by the same packages, so the work does not repeat" in line
        assert line.endswith(f"rm -rf {known} dvc.lock .dvc/cache/runs")
        assert kept() == before
        patch.delenv(forcing.FORCED)
        assert main(SPLIT) == 0
        assert Path("split.csv").read_bytes() == made, "without force the kept one comes back"
        known.unlink()
        assert main(SPLIT) == 0
        assert Path("split.csv").read_bytes() == made + b"\n"
    monkeypatch.delenv(forcing.FORCED)
    Path("split.csv").unlink()
    assert main(SPLIT) == 0
    assert Path("split.csv").read_bytes() == made + b"\n", "it was accepted"


def kept() -> dict[Path, bytes]:
    folders = (receipts.RECEIPTS, blobs.cache())
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content["packages"].update(torch="1.0"), "which came of torch 1.0, now "),
        (lambda content: content.pop("packages"), "which another machine may have made"),
    ],
)
def test_the_error_says_what_may_be_the_reason(
    known: Path,
    change: Callable[[dict[str, Any]], object],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = json.loads(known.read_text())
    del content["digest"]
    change(content)
    receipts.write(content)
    other(monkeypatch)
    assert main(SPLIT) == 1
    assert reason in capsys.readouterr().err


def test_both_engines_do_forced_jobs_again(project: Path, scenes: Path) -> None:
    configure(project, {**SMALL, "data": {"images": str(scenes / "images"), "masks": str(scenes / "masks")}})
    plain = "snakemake --cores 1 data/split.csv"
    forced = [plain.replace(" data", f" {flag} data") for flag in ("-R split --", "-f", "-F")]
    for times, command in enumerate([plain, *forced, "dvc repro --single-item -f split"], start=1):
        call(project, *command.split())
        lines = (project / receipts.LOG).read_text().splitlines()
        assert [json.loads(line)["how"] for line in lines] == ["worked"] * times
