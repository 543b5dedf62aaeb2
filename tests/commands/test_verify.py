from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fieldgap.cli import main
from fieldgap.engines import blobs, results

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


def test_a_changed_receipt_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    receipt = next(results.RECEIPTS.glob("*/*.json"))
    receipt.write_text(receipt.read_text().replace('"scenes": 3', '"scenes": 4'))
    assert main(["verify"]) == 1
    assert f"{receipt}: was changed" in capsys.readouterr().err


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
    for folder in (".fieldgap", ".dvc"):
        shutil.rmtree(folder)
    assert main(["verify"]) == 0
    assert capsys.readouterr().out.startswith("0 receipts, 0 files")
