"""Results kept by what they depend on, in a project of its own with scenes and no engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PATTERN, ROOT

from fieldgap.base.errors import InputError
from fieldgap.cli import main
from fieldgap.data import split
from fieldgap.demo import demo
from fieldgap.engines import blobs, digests, receipts, results, rooms
from fieldgap.engines.jobs import Job

DATA = [
    *("--images", "scenes/images", "--masks", "scenes/masks", "--image_pattern", "{stem}", "--mask_pattern", PATTERN),
    *"--bands 1 2 3 --foreground 255 --background 0 --ignore --tolerance 0".split(),
    *"--unlabelled error --max_pixels 100000".split(),
]
SPLIT = "--val 0.3 --test 0.3 --seed 0 --group scene --no-stratify --folds 0 --table scenes.csv".split()
DEMO = [
    *"demo --images drawn/images --masks drawn/masks --fresh_scenes drawn/fresh.npz".split(),
    *"--size 32 --seed 0 --fresh 1 --scenes".split(),
]


@pytest.fixture(autouse=True)
def in_a_project(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blobs.cache.cache_clear()
    shutil.copytree(scenes, "scenes")
    shutil.copy(ROOT / "params/scenes.csv", ".")
    Path(".dvc").mkdir()


def divide(out: str = "split.csv", *more: str) -> str:
    """Runs stage split -> whether it worked or was restored."""
    words = list(SPLIT)
    for flag, value in zip(more[::2], more[1::2], strict=True):
        words[words.index(flag) + 1] = value
    assert main(["split", *DATA, "--out", out, *words]) == 0
    return str(json.loads(receipts.LOG.read_text().splitlines()[-1])["how"])


def test_a_known_result_is_restored_without_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert divide() == "worked"
    made = Path("split.csv").read_bytes()
    monkeypatch.setattr(split, "run", None)
    for change in (Path("split.csv").unlink, lambda: Path("split.csv").write_text("spoilt")):
        change()
        assert divide() == "restored"
        assert Path("split.csv").read_bytes() == made
        os.utime("split.csv")
    assert divide("elsewhere/other.csv") == "restored", "where a result goes is not what it depends on"
    assert Path("elsewhere/other.csv").read_bytes() == made
    assert os.access("split.csv", os.W_OK)
    assert Path("split.csv").stat().st_mode & 0o222, "blobs are read-only, results are not"


@pytest.mark.parametrize("change", ["value", "content", "scene", "table", "source"])
def test_whatever_a_result_depends_on_makes_it_due(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    divide()
    more = ["--seed", "1"] if change == "value" else []
    image = next(Path("scenes/images").iterdir())
    if change == "content":
        image.write_bytes(image.read_bytes() + b"\0")
    elif change == "scene":
        image.unlink()
        Path("scenes/masks", image.name.replace(".png", "_mask.png")).unlink()
    elif change == "table":
        Path("scenes.csv").write_text(Path("scenes.csv").read_text() + "\n")
    elif change == "source":
        package = Path(shutil.copytree(rooms.PACKAGE, "package/fieldgap"))
        (package / "data/pairs.py").write_text((package / "data/pairs.py").read_text() + "\n")
        monkeypatch.setattr(rooms, "PACKAGE", package.absolute())
    assert divide("split.csv", *more) == "worked"
    assert divide("split.csv", *more) == "restored"


def test_a_damaged_blob_is_named_and_made_again(capsys: pytest.CaptureFixture[str]) -> None:
    divide()
    made = Path("split.csv").read_bytes()
    blob = next(blobs.cache().glob("??/*"))
    at = blob.stat()
    blob.chmod(0o644)
    blob.write_bytes(made[:-1] + b"?")
    os.utime(blob, ns=(at.st_atime_ns, at.st_mtime_ns))
    Path("split.csv").unlink()
    assert divide() == "worked"
    assert f"{blob}: was damaged and is removed" in capsys.readouterr().err
    assert Path("split.csv").read_bytes() == blob.read_bytes() == made


def edit_receipt(change: Callable[[dict[str, Any]], object], *, sealed: bool) -> Path:
    """Edits the only receipt, and seals it again as a program would that means harm."""
    (path,) = receipts.RECEIPTS.glob("*/*.json")
    content = json.loads(path.read_text())
    change(content)
    if sealed:
        del content["digest"]
        receipts.write(content)
    else:
        path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("md5", ["xx{precious}", "..{precious}", "xx/../../../../../{precious.name}", 7, None, ["a"]])
def test_a_receipt_that_names_no_digest_is_none_and_touches_no_file(md5: object, sealed: bool) -> None:
    """A path in the place of a digest named a file to compare, to copy, and to remove as damaged."""
    divide()
    precious = Path("precious.txt").absolute()
    precious.write_text("mine")
    named = md5.format(precious=precious) if isinstance(md5, str) else md5
    edit_receipt(lambda content: content["outputs"].update(out=named), sealed=sealed)
    Path("split.csv").unlink()
    assert divide() == "worked"
    assert precious.read_text() == "mine"
    assert divide() == "restored"


def test_no_text_but_a_digest_is_the_name_of_a_blob() -> None:
    for text in ("xx/../../precious.txt", "ab/cd", "/etc/passwd", "", "A" * 32, "a" * 31):
        with pytest.raises(ValueError, match="is not an MD5 digest"):
            blobs.blob_of(text)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "{}", '{"outputs": {}}', '{"digest": null}', "\ud800"])
def test_what_is_no_receipt_restores_nothing(text: str) -> None:
    divide()
    (path,) = receipts.RECEIPTS.glob("*/*.json")
    path.write_bytes(text.encode(errors="surrogatepass"))
    assert divide() == "worked"
    assert divide() == "restored"


def test_a_receipt_restores_nothing_under_another_name() -> None:
    """As when someone renames it, or the file system mixes up two files."""
    divide()
    (path,) = receipts.RECEIPTS.glob("*/*.json")
    known = path.read_bytes()
    divide("split.csv", "--seed", "1")
    (other,) = set(receipts.RECEIPTS.glob("*/*.json")) - {path}
    other.write_bytes(known)
    assert divide("split.csv", "--seed", "1") == "worked"


def test_what_changes_while_a_stage_is_at_work_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = split.run

    def slow(**given: Any) -> None:
        real(**given)
        Path("scenes.csv").write_text("scene,group\n")

    monkeypatch.setattr(split, "run", slow)
    assert main(["split", *DATA, "--out", "split.csv", *SPLIT]) == 1
    assert "scenes.csv: changed while split was at work; run it again" in capsys.readouterr().err
    assert not receipts.RECEIPTS.exists()


def test_a_cache_without_room_costs_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".dvc/cache").touch()
    assert divide() == "worked"
    assert "the result stands, but it cannot be restored later" in capsys.readouterr().err
    assert divide() == "restored", "it stands"
    Path("split.csv").unlink()
    assert divide() == "worked"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (receipts.LOG, "cannot be written (Is a directory); check free space and permissions; the result stands"),
        (digests.FOLDER, "files are read again each time"),
        (receipts.RECEIPTS, "the result stands, but it will be made again"),
    ],
)
def test_what_the_project_remembers_costs_no_result_when_it_cannot_be_written(
    place: Path, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "SETTLED_NS", -(10**20))  # Files are old enough to be remembered.
    digests._complain.cache_clear()
    if place == receipts.LOG:
        place.mkdir(parents=True)
    else:
        place.parent.mkdir(parents=True)
        place.touch()
    assert main(["split", *DATA, "--out", "split.csv", *SPLIT]) == 0
    told = capsys.readouterr().err
    assert told.count(message) == told.count("cannot be written") == 1, told
    assert str(place) in told
    made = Path("split.csv").read_bytes()
    place.rmdir() if place.is_dir() else place.unlink()
    assert main(["split", *DATA, "--out", "split.csv", *SPLIT]) == 0
    assert divide() == "restored"
    assert Path("split.csv").read_bytes() == made


def test_a_record_whose_old_receipt_stays_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the old receipt would say later that the store holds the old result still."""
    old = receipts.RECEIPTS / "record" / f"{'0' * 64}.json"
    old.mkdir(parents=True)
    job = Job("record", {}, {"out": Path("recorded.csv")}, {})
    basis = results.current_basis(job)
    assert basis
    with pytest.raises(InputError, match=rf"{old}: cannot be written"):
        results.keep(job, basis)


def dead() -> int:
    """Return the id of a process that is gone."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


def test_drafts_of_killed_processes_go_with_the_next_run_of_their_stage() -> None:
    assert main([*DEMO, "3"]) == 0
    folder, gone, alive = Path("drawn/images"), dead(), os.getpid()
    left = [folder / f".scene_002.png.{gone}.draft", folder / f".scene_007.png.{gone}.draft"]
    left.append(folder.parent / f".fresh.npz.{gone}.draft")
    left += [receipts.RECEIPTS / "demo" / f".key.json.{gone}.draft", digests.FOLDER / f".folder.json.{gone}.draft"]
    digests.FOLDER.mkdir(parents=True, exist_ok=True)
    kept = [folder / f".scene_001.png.{alive}.draft", folder / ".mine.draft", folder / f".{gone}.draft.png"]
    kept += [folder / f"mine.{gone}.draft", folder / f".mine.0{gone}.draft", folder / f".mine.{10**30}.draft"]
    for path in (*left, *kept):
        path.touch()
    assert main([*DEMO, "3"]) == 0
    assert not [path for path in left if path.exists()]
    assert [path for path in kept if path.exists()] == kept


def test_drafts_of_killed_processes_go_from_the_folder_of_the_cache_that_is_written_to() -> None:
    divide()
    (blob,) = blobs.blobs()
    left = blob.with_name(f".{blob.name}.{dead()}.draft")
    left.touch()
    Path("split.csv").unlink()
    blob.unlink()
    assert divide() == "worked"
    assert blob.exists()
    assert not left.exists()


def test_a_damaged_blob_that_cannot_be_removed_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a cache that another user owns."""
    divide()
    made = Path("split.csv").read_bytes()
    (blob,) = blobs.blobs()
    blob.chmod(0o644)
    blob.write_bytes(made + b"?")
    Path("split.csv").unlink()
    real = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == blob:
            raise PermissionError(13, "Permission denied")
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    assert divide() == "worked"
    assert Path("split.csv").read_bytes() == made


def test_the_cache_lies_where_dvc_is_told_to_keep_it() -> None:
    Path(".dvc/config").write_text("[core]\n    analytics = false\n")
    Path(".dvc/config.local").write_text("[cache]\n    dir = ../elsewhere\n")
    divide()
    assert len(list(Path("elsewhere/files/md5").glob("??/*"))) == 1
    assert not Path(".dvc/cache").exists()


def test_without_a_project_nothing_is_kept() -> None:
    Path(".dvc").rmdir()
    assert main(["split", *DATA, "--out", "split.csv", *SPLIT]) == 0
    assert not Path(".fieldgap").exists()


def test_scenes_of_a_longer_drawing_go_and_those_of_a_user_stop_it(capsys: pytest.CaptureFixture[str]) -> None:
    for scenes in (4, 3, 4, 3):
        assert main([*DEMO, str(scenes)]) == 0
        assert {path.stem for path in Path("drawn/images").iterdir()} == set(demo.scene_names(scenes))
        assert len(list(Path("drawn/masks").iterdir())) == scenes
    Path("drawn/images/mine.png").touch()
    assert main([*DEMO, "3"]) == 1
    assert re.search(r"drawn/images/mine\.png: is not a drawn scene", capsys.readouterr().err)
    assert Path("drawn/images/mine.png").exists()
