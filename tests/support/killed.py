"""Trainings that are cut off at a step, and whole ones to compare them with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import run_training

from fieldgap.settings.sections import Train
from fieldgap.training import checkpoints, train

OUT = Path("runs/one")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is written there after each step."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))


def made(out: Path = OUT) -> dict[str, bytes]:
    """Return the files of a folder by name."""
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def whole(tiles: Path, config: Train) -> dict[str, bytes]:
    """Return the files of a run that nothing cuts short."""
    run_training(tiles, Path("runs/whole"), config)
    return made(Path("runs/whole"))


def cut(tiles: Path, config: Train, at: int, name: str = "step") -> None:
    """Train until function `name` of module train is called at step `at`, or for the `at`-th time, counting from 0."""
    calls: list[int] = []
    original: Callable[..., Any] = getattr(train, name)

    def cutting(*args: Any) -> Any:
        first = len(args[0].steps) if name == "step" else 0
        calls.append(calls[-1] + 1 if calls else first)
        if calls[-1] == at:
            raise CutError
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, name, cutting)
        with pytest.raises(CutError):
            run_training(tiles, OUT, config)


class CutError(Exception):
    """Stands for the death of the process."""
