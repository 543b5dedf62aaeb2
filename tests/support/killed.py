"""Trainings cut off at a step, and a whole one to compare with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import run_training

from fieldgap.settings.sections import Train
from fieldgap.training import state, train

OUT = Path("runs/one")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States of each step are written there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(state, "SHARE", float("inf"))


def made(out: Path = OUT) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def whole(tiles: Path, config: Train) -> dict[str, bytes]:
    """-> the files of a run that nothing cuts short."""
    run_training(tiles, Path("runs/whole"), config)
    return made(Path("runs/whole"))


def cut(tiles: Path, config: Train, at: int, name: str = "step") -> None:
    """Runs until the function `name` of module train is called at step `at`, or for the `at`-th time."""
    calls: list[int] = []
    original: Callable[..., Any] = getattr(train, name)

    def cutting(*given: Any) -> Any:
        first = len(given[0].steps) if name == "step" else 0
        calls.append(calls[-1] + 1 if calls else first)
        if calls[-1] == at:
            raise CutError
        return original(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, name, cutting)
        with pytest.raises(CutError):
            run_training(tiles, OUT, config)


class CutError(Exception):
    """Stands for the death of the process."""
