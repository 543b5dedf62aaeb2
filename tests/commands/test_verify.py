from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from conftest import ROOT

from fieldgap.base.names import EVALUATED, TRAINED
from fieldgap.cli import main
from fieldgap.engines import blobs
from fieldgap.engines.digests import digest
from fieldgap.engines.receipts import LOG, RECEIPTS, write
from fieldgap.settings import params
from fieldgap.settings.params import flags

DEMO = [
    *"demo --images drawn/images --masks drawn/masks --fresh_scenes drawn/fresh.npz".split(),
    *"--size 32 --seed 0 --fresh 1 --scenes 3".split(),
]


@pytest.fixture(autouse=True)
def in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blobs.cache.cache_clear()
    Path(".dvc").mkdir()
    assert main(DEMO) == 0


def flip(path: Path) -> None:
    """Flip a bit as a failing disk does, without a change of size and times."""
    at = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(10)
        byte = file.read(1)[0]
        file.seek(10)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))


def test_intact_results_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    assert capsys.readouterr().out == "1 receipts, 7 files in the cache and 7 results are intact\n"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("cache", ": is damaged; it was drawn/"),
        ("result", "drawn/images/scene_001.png: differs from every result known for it"),
    ],
)
def test_a_flipped_bit_is_reported(where: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    cached, made = next(blobs.cache().glob("??/*")), Path("drawn/images/scene_001.png")
    flip(cached if where == "cache" else made)
    assert main(["verify"]) == 1
    stderr = capsys.readouterr().err
    assert "1 files differ from what was kept:" in stderr
    assert message in stderr
    assert str(cached if where == "cache" else made) in stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"scenes": 3', '"scenes": 4'),
        ('"paths": {\n    "images/scene_000.png": "drawn', '"paths": {\n    "images/scene_000.png": "other'),
        ('"outputs": {\n    "images/scene_000.png": "', '"outputs": {\n    "images/scene_000.png": "/'),
        ('"fresh_scenes"', '"stale_scenes"'),
        ('"engine": ""', '"engine": "dvc"'),
        ("{", "["),
    ],
)
def test_a_changed_receipt_is_reported(old: str, new: str, capsys: pytest.CaptureFixture[str]) -> None:
    receipt = next(RECEIPTS.glob("*/*.json"))
    assert old in receipt.read_text()
    receipt.write_text(receipt.read_text().replace(old, new))
    assert main(["verify"]) == 1
    assert f"{receipt}: was changed" in capsys.readouterr().err
    receipt.unlink()
    assert main(DEMO) == 0
    assert main(["verify"]) == 0


def test_a_swapped_digest_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """Each of the two is the digest of a whole file, so nothing else would notice."""
    receipt = next(RECEIPTS.glob("*/*.json"))
    content = json.loads(receipt.read_text())
    content["outputs"]["images/scene_000.png"] = content["outputs"]["images/scene_001.png"]
    receipt.write_text(json.dumps(content))
    assert main(["verify"]) == 1
    assert f"{receipt}: was changed" in capsys.readouterr().err


def test_a_file_that_is_only_being_written_is_no_damage(capsys: pytest.CaptureFixture[str]) -> None:
    blob = next(blobs.cache().glob("??/*"))
    blob.with_name(f".{blob.name}.123.draft").write_text("half of it")
    assert main(["verify"]) == 0
    assert "7 files in the cache" in capsys.readouterr().out


def test_paths_of_a_receipt_that_leave_the_project_are_not_read(tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name} outside.png"
    outside.write_text("mine")
    content = json.loads(next(RECEIPTS.glob("*/*.json")).read_text())
    del content["digest"]
    for path in (str(outside), f"../{outside.name}"):
        content["paths"]["images/scene_000.png"] = path
        write(content)
        assert main(["verify"]) == 0


def test_removing_the_damage_and_running_again_mends_it() -> None:
    damaged = [*blobs.cache().glob("??/*"), Path("drawn/images/scene_001.png")]
    for path in damaged:
        flip(path)
    assert main(["verify"]) == 1
    for path in damaged:
        path.unlink()
    assert main(DEMO) == 0
    assert main(["verify"]) == 0


def test_without_kept_results_nothing_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(".fieldgap")
    shutil.rmtree(blobs.cache())
    assert main(["verify"]) == 0
    assert capsys.readouterr().out.startswith("0 receipts, 0 files")


RECORD = flags(asdict(params.read(ROOT / "params.yaml").record)).split()


@pytest.mark.parametrize(
    "words",
    [
        ["verify"],
        ["explain", "kaiming_normal-0-0"],
        ["ui", "--params", "../params.yaml"],
        ["watch", "--spools", "spool", *RECORD],
        ["merge", "--spools", "spool", *RECORD],
    ],
)
def test_beside_a_project_there_is_nothing_to_tell(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("docs").mkdir()
    for folder, project in ((tmp_path / "docs", str(tmp_path)), (tmp_path.parent, "the project's folder")):
        monkeypatch.chdir(folder)
        before = set(folder.iterdir())
        assert main(words) == 1
        told = capsys.readouterr()
        assert f"{folder}: no project is here" in told.err
        assert told.err.endswith(f"cd {project}\n")
        assert not told.out
        assert set(folder.iterdir()) == before


def run_of(**inputs: str) -> None:
    """Writes a run and its receipt."""
    Path("runs/one").mkdir(parents=True)
    outputs = {}
    for name in (*TRAINED, *EVALUATED):
        Path("runs/one", name).write_text(name)
        outputs[name] = digest(Path("runs/one", name))
    content = json.loads(next(RECEIPTS.glob("*/*.json")).read_text())
    del content["digest"]
    paths = {name: f"runs/one/{name}" for name in outputs}
    given = {label: outputs[name] for label, name in inputs.items()}
    paths |= {label: f"runs/one/{name}" for label, name in inputs.items()}
    write({**content, "stage": "train", "key": "0" * 64, "inputs": given, "outputs": outputs, "paths": paths})


def test_explain_ends_where_a_stage_wrote_what_it_read(capsys: pytest.CaptureFixture[str]) -> None:
    run_of(config="config.json")
    assert main(["explain", "one"]) == 0
    assert capsys.readouterr().out.count(f"train  key {'0' * 64}") == 1


def test_explain_leaves_out_a_changed_receipt_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    run_of()
    assert main(["explain", "one"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"train  key {'0' * 64}")
    assert not told.err
    demo = next(RECEIPTS.glob("demo/*.json"))
    demo.write_text(
        demo.read_text().replace('"paths": {', '"paths": [').replace('"outputs": {', '"outputs": {"a": 1, ')
    )
    with LOG.open("a") as log:
        log.write('[]\n7\n{"time": "soon", "key": []}\n')
    assert main(["explain", "one"]) == 0
    again = capsys.readouterr()
    assert again.out == told.out
    assert again.err.startswith(f"{demo}: was changed")
    train = next(RECEIPTS.glob("train/*.json"))
    train.write_text(train.read_text().replace("runs/one/config.json", "runs/two/config.json"))
    assert main(["explain", "one"]) == 1
    told = capsys.readouterr()
    assert f"{train}: was changed" in told.err
    assert "runs/one/config.json: is in no receipt; run either engine" in told.err
