"""Both engines where DVC links files to its cache instead of copying them: nothing is ever written through a link."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest
from test_two_engines import DVC, SNAKEMAKE, made, shipped, workshop
from two_engines import Project, Workshop

pytestmark = pytest.mark.slow
__all__ = ["made", "shipped", "workshop"]
RELINK = ("dvc", "checkout", "--relink")


def is_linked(path: Path, kind: str) -> bool:
    return {"symlink": path.is_symlink(), "hardlink": path.stat().st_nlink > 1}.get(kind, True)


def dates(project: Project) -> dict[Path, int]:
    """Returns when each file of the cache was modified, and fails where one has other bytes than its name says."""
    for blob in project.blobs():
        content = blob.read_bytes()
        assert hashlib.md5(content).hexdigest() == blob.parent.name + blob.stem, blob  # noqa: S324
    return {blob: blob.stat().st_mtime_ns for blob in project.blobs()}


def check_cache(project: Project, before: dict[Path, int]) -> None:
    after = dates(project)
    assert {blob: after.get(blob) for blob in before} == before


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "reflink"])
def test_both_engines_take_turns_over_links_and_leave_the_cache_as_it_is(
    kind: str, made: Project, shipped: Workshop
) -> None:
    image = made.folder / "data/demo/images/scene_000.png"
    if (
        kind == "reflink"
        and subprocess.run(["cp", "--reflink=always", image, made.folder / "copy"], check=False).returncode
    ):
        pytest.skip("this file system has no reflinks")
    made.call("dvc", "config", "--local", "cache.type", kind)
    made.call(*RELINK)
    assert is_linked(image, kind)
    before, lines = dates(made), len(made.log())
    assert "Nothing to be done" in made.call(*SNAKEMAKE)
    assert "Running stage" not in made.call(*DVC)
    assert made.worked(lines) == []

    for first, second, name in ((SNAKEMAKE, DVC, "rate"), (DVC, SNAKEMAKE, "wording")):
        made.edit(name)
        made.call(*first)
        made.call(*RELINK)
        made.check_files(shipped.from_scratch(made.edits))
        assert "Running stage" not in (told := made.call(*second)), told
        assert "rule train" not in told
        check_cache(made, before)

    tomorrow = time.time_ns() + 24 * 60 * 60 * 10**9
    for path in made.outputs():
        if path.is_symlink():
            os.utime(path, ns=(tomorrow, tomorrow), follow_symlinks=False)
    (made.folder / "data/split.csv").unlink()
    made.edit("rate")
    made.call(*SNAKEMAKE)
    made.check_files(shipped.from_scratch(made.edits))
    made.check_work()
    check_cache(made, before)


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_scenes_of_your_own_may_be_links_to_the_cache(kind: str, made: Project, shipped: Workshop) -> None:
    made.call("dvc", "config", "--local", "cache.type", kind)
    made.call("dvc", "add", "own/images", "own/masks")
    assert is_linked(made.folder / "own/images/scene_000.png", kind)
    before = dates(made)
    made.edit("own")
    made.call(*SNAKEMAKE)
    made.check_files(shipped.from_scratch(made.edits))
    assert "Running stage" not in made.call(*DVC)
    check_cache(made, before)
