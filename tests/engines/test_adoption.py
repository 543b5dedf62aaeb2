"""What is read of DVC's own record of results."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fieldgap.engines import blobs
from fieldgap.engines.adoption import adopt, files_of, locked
from fieldgap.engines.digests import Digests, digest_of_folder

FILES = [{"path": f"data/{name}", "hash": "md5", "md5": f"{name:032x}", "size": 7} for name in range(5)]
COMMAND = "python -m fieldgap split --images 'data/my images'"
STAGES = {name: {"cmd": COMMAND, "deps": FILES[:2], "outs": FILES[2:]} for name in ("split", "normalize")}


def test_what_a_kill_left_of_the_file_tells_nothing_that_the_whole_file_would_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump({"schema": "2.0", "stages": STAGES}, sort_keys=False)
    known = {(each["path"], each["md5"]) for each in FILES}
    seen = []
    for length in range(len(text) + 1):
        Path("dvc.lock").write_text(text[:length])
        assert not adopt()
        found = locked()
        assert all(entry["cmd"] in COMMAND for entry in found)
        assert {pair for entry in found for key in ("deps", "outs") for pair in files_of(entry.get(key) or [])} <= known
        seen.append(len(found))
    assert (seen[0], seen[-1]) == (0, 2)


GOOD = {"md5": "a" * 32, "relpath": "scene.png"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    blobs.cache.cache_clear()
    return blobs.cache()


def cached(cache: Path, content: str) -> str:
    """Return the digest of a folder whose list of files lies in the cache."""
    md5 = f"{hashlib.md5(content.encode()).hexdigest()}.dir"  # noqa: S324
    (cache / md5[:2]).mkdir(parents=True)
    (cache / md5[:2] / md5[2:]).write_text(content)
    return md5


@pytest.mark.parametrize(
    "listed",
    [
        [GOOD, {"md5": "xx/../../../../../precious.txt", "relpath": "other.png"}],
        [GOOD, {"md5": "a" * 32, "relpath": "../precious.txt"}],
        [GOOD, {"md5": "a" * 32, "relpath": "/precious.txt"}],
        [GOOD, {"md5": 7, "relpath": "other.png"}],
        [GOOD, {"relpath": "other.png"}],
        [GOOD, "other.png"],
        {"relpath": GOOD},
        7,
    ],
)
def test_a_folder_of_the_cache_that_names_what_is_no_digest_or_no_file_of_it_lists_nothing(
    cache: Path, listed: Any
) -> None:
    """These lists come from other machines, by `dvc pull`."""
    good, bad = (cached(cache, json.dumps(each)) for each in ([GOOD], listed))
    outs = [{"path": "images", "md5": md5} for md5 in (good, bad)]
    assert list(files_of(outs)) == [("images/scene.png", "a" * 32)]


def test_a_damaged_list_of_a_folder_lists_nothing(cache: Path) -> None:
    md5 = cached(cache, json.dumps([GOOD]))
    (cache / md5[:2] / md5[2:]).write_text(json.dumps([{**GOOD, "md5": "b" * 32}]))
    assert list(files_of([{"path": "images", "md5": md5}])) == []


@pytest.mark.parametrize("changes", [{"md5": "xx/../../precious.txt"}, {"md5": 7}, {"path": 7}, {"path": "a\0b"}])
def test_a_stage_of_the_lock_with_what_is_no_digest_or_no_path_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    stages = {"split": {"cmd": COMMAND, "outs": [{**FILES[0], **changes}]}, "normalize": STAGES["normalize"]}
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
    assert locked() == [STAGES["normalize"]]


def test_drafts_are_no_files_of_a_folder_that_is_listed_from_disk(cache: Path) -> None:
    scenes = Path("scenes")
    scenes.mkdir()
    (scenes / "a.png").write_text("a")
    md5 = digest_of_folder(scenes, Digests().of([scenes / "a.png"]))
    (scenes / ".a.png.123.draft").touch()
    (scenes / ".vtW1r9Npr4RLAe2WCtQWtQ.tmp").touch()
    assert [path for path, _ in files_of([{"path": "scenes", "md5": md5}])] == ["scenes/a.png"]
