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
    """Flips a bit as a failing disk does: size and times stay."""
    at = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(10)
        byte = file.read(1)[0]
        file.seek(10)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))


def test_sound_results_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    assert capsys.readouterr().out == "1 receipts, 7 files in the cache and 7 results are what they were\n"


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("cache", ": is damaged; it was drawn/"),
        ("result", "drawn/images/scene_001.png: is no result that is known here"),
    ],
)
def test_a_flipped_bit_is_named(where: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    cached, made = next(blobs.cache().glob("??/*")), Path("drawn/images/scene_001.png")
    flip(cached if where == "cache" else made)
    assert main(["verify"]) == 1
    told = capsys.readouterr().err
    assert "1 files are not what was kept:" in told
    assert says in told
    assert str(cached if where == "cache" else made) in told


def test_a_changed_receipt_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    receipt = next(results.RECEIPTS.glob("*/*.json"))
    receipt.write_text(receipt.read_text().replace('"scenes": 3', '"scenes": 4'))
    assert main(["verify"]) == 1
    assert f"{receipt}: was changed" in capsys.readouterr().err


def test_after_the_mend_all_is_sound_again() -> None:
    spoilt = [*blobs.cache().glob("??/*"), Path("drawn/images/scene_001.png")]
    for path in spoilt:
        flip(path)
    assert main(["verify"]) == 1
    for path in spoilt:
        path.unlink()
    assert main(DEMO) == 0
    assert main(["verify"]) == 0


def test_where_nothing_was_kept_nothing_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (".fieldgap", ".dvc"):
        shutil.rmtree(folder)
    assert main(["verify"]) == 0
    assert capsys.readouterr().out.startswith("0 receipts, 0 files")
