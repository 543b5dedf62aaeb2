"""A project in which both engines take turns, driven by steps, and what must hold after each of them."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import voluptuous
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA

from fieldgap.demo import demo
from fieldgap.settings.sections import Demo

SMALLEST: dict[str, dict[str, object]] = {
    "demo": {"scenes": 12, "size": 64, "seed": 0, "fresh": 2},
    "split": {"val": 0.3, "test": 0.3, "seed": 0},
    "normalize": {"tile": 32},
    "train": {"epochs": 1, "batch_size": 8, "width": 2, "depth": 1},
    "grid": {"init": ["kaiming_normal"], "warmup_epochs": [0], "seed": [0, 1]},
}
OWN = {"images": "own/images", "masks": "own/masks"}
DRAWN = {"images": "data/demo/images", "masks": "data/demo/masks"}
MADE = ("data", "runs", "reports")


def configure(project: Path, block: str, **values: object) -> None:
    """Edits params.yaml as a user would."""
    path = project / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params[block] |= values
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def comment(project: Path, there: bool) -> None:
    path = project / "src/fieldgap/training/train.py"
    text = path.read_text().removesuffix("# Edited.\n")
    path.write_text(text + "# Edited.\n" * there)


def wording(project: Path, there: bool) -> None:
    path = project / "src/fieldgap/report/captions.py"
    before, after = ('"IoU of each test', '"The IoU of each test')[:: 1 if there else -1]
    text = path.read_text()
    assert text.count(before) + text.count(after) == 1
    path.write_text(text.replace(before, after))


def pixel(project: Path, there: bool) -> None:
    shutil.copy(project / f"own/more/{'edited' if there else 'scene_000'}.png", project / "own/images/scene_000.png")


def more(project: Path, there: bool) -> None:
    image, mask = project / "own/images/scene_012.png", project / "own/masks/scene_012_mask.png"
    if there:
        shutil.copy(project / "own/more/scene_012.png", image)
        shutil.copy(project / "own/more/scene_012_mask.png", mask)
    else:
        image.unlink()
        mask.unlink()


EDITS: dict[str, Callable[[Path, bool], None]] = {
    "rate": lambda project, there: configure(project, "train", lr=0.05 if there else 0.1),
    "fewer": lambda project, there: configure(project, "demo", scenes=11 if there else 12),
    "own": lambda project, there: configure(project, "data", **OWN if there else DRAWN),
    "levels": lambda project, there: configure(project, "grid", seed=[1, 0] if there else [0, 1]),
    "comment": comment,
    "wording": wording,
    "pixel": pixel,
    "more": more,
}


def draw_own(project: Path) -> None:
    """Thirteen scenes: twelve to begin with, and in own/more what the edits bring."""
    folder = project / "own"
    demo.run(folder / "images", folder / "masks", folder / "fresh.npz", Demo(scenes=13, size=64, seed=1, fresh=0))
    (folder / "more").mkdir()
    for name in ("scene_000.png", "scene_012.png"):
        shutil.copy(folder / "images" / name, folder / "more")
    edited = cv2.imread(str(folder / "images/scene_000.png"))
    edited[0, 0] ^= 255  # Another scene's image would be refused as the same place in two splits.
    cv2.imwrite(str(folder / "more/edited.png"), edited)
    shutil.move(folder / "masks/scene_012_mask.png", folder / "more")
    (folder / "images/scene_012.png").unlink()


def digests(project: Path) -> dict[str, str]:
    """Return a digest of every file that the stages made, by path."""
    made = (path for folder in MADE for path in (project / folder).rglob("*") if path.is_file())
    return {path.relative_to(project).as_posix(): hashlib.md5(path.read_bytes()).hexdigest() for path in made}  # noqa: S324


def spoil(path: Path, delete: bool) -> None:
    """Deletes a file, or flips a bit in its last byte, as an editor that never writes through a link."""
    content = path.read_bytes()
    path.unlink()
    if content and not delete:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def redate(path: Path, year: int) -> None:
    """Dates a file at the beginning of a year, or with 0 at this moment."""
    at = time.mktime((year, 1, 2, 0, 0, 0, 0, 0, 0)) if year else time.time()
    os.utime(path, (at, at))


def read_lock(text: str) -> None:
    """Raises what DVC would of a dvc.lock."""
    COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(text))


@dataclass
class Project:
    """A project's folder, the tools that work in it, and which edits are in force."""

    folder: Path
    tools: Path
    edits: set[str] = field(default_factory=set)
    excused: Counter[str] = field(default_factory=Counter)

    def start(self, *words: str, told: Path | None = None) -> subprocess.Popen[str]:
        env = {**os.environ, "PATH": f"{self.tools}{os.pathsep}{os.environ['PATH']}", "CI": "true"}
        env |= {"PYTHONPATH": str(self.folder / "src"), "COLUMNS": "200"}
        with (told or self.folder / "told").open("w") as file:
            return subprocess.Popen(words, cwd=self.folder, env=env, stdout=file, stderr=file, text=True)

    def call(self, *words: str, check: bool = True) -> str:
        """Return what a tool prints, and fail if it does unless told otherwise."""
        status = self.start(*words).wait()
        told = (self.folder / "told").read_text()
        logs = "\n".join(path.read_text() for path in (self.folder / "logs").rglob("*.log")) if status else ""
        assert not (check and status), f"{words} ended with {status}:\n{told}\n{logs}"
        return told

    def unlock(self) -> None:
        """What docs/engines.md says to do after a kill: a lock of Snakemake's, and what DVC was about to write."""
        self.call("snakemake", "--unlock")
        for folder in MADE:
            for copy in (self.folder / folder).rglob(".*.tmp"):
                copy.unlink()
        for name, read in (".dvc/tmp/rwlock", json.loads), ("dvc.lock", read_lock):
            path = self.folder / name
            with suppress(FileNotFoundError):
                try:
                    read(path.read_text())
                except (ValueError, yaml.YAMLError, voluptuous.Invalid):
                    path.unlink()

    def kill(self, after_seconds: float, *words: str) -> None:
        """Starts a tool and kills it, and all that works for it, as with -9."""
        process = self.start(*words)
        time.sleep(after_seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.1)  # Its stages end a moment later.

    def both(self, pause_seconds: float, *commands: Sequence[str]) -> list[tuple[int, str]]:
        """Starts tools one after another, side by side, and returns the status of each and what it prints."""
        started = []
        for number, words in enumerate(commands):
            told = self.folder / f"told{number}"
            started.append((self.start(*words, told=told), told))
            time.sleep(pause_seconds)
        return [(process.wait(), told.read_text()) for process, told in started]

    def queued(self, *words: str) -> str:
        """Runs one experiment by DVC's queue, and returns what became of it.

        Its workspace has the receipts of all stages but record, which is done in each.
        """
        before = len(self.log())
        self.call("dvc", "exp", "run", "--queue", *words)
        self.call("dvc", "queue", "start")
        for _ in range(600):
            told = self.call("dvc", "queue", "status")
            if not re.search("Queued|Running|Preparing", told):
                break
            time.sleep(0.5)
        self.call("dvc", "queue", "stop")
        self.wait_for_worker()
        self.call("dvc", "queue", "remove", "--all")
        self.excused.update(line["key"] for line in self.log()[before:] if line["stage"] == "record")
        return told

    def wait_for_worker(self) -> None:
        """Waits until DVC's queue has no worker: one that is about to stop takes the next experiment and drops it."""
        for path in (self.folder / ".dvc/tmp/exps/celery").glob("*.pid"):
            with suppress(OSError, ValueError):
                while True:
                    os.kill(int(path.read_text()), 0)
                    time.sleep(0.1)

    def edit(self, name: str) -> None:
        self.edits ^= {name}
        EDITS[name](self.folder, name in self.edits)

    def outputs(self) -> list[Path]:
        return sorted(path for name in MADE for path in (self.folder / name).rglob("*") if path.is_file())

    def blobs(self) -> list[Path]:
        return sorted(path for path in (self.folder / ".dvc/cache/files/md5").rglob("*") if path.is_file())

    def dated(self) -> list[Path]:
        """Return every file whose date either engine may look at."""
        sources = (self.folder / "src/fieldgap").rglob("*.py")
        given = [*(self.folder / "own").rglob("*.png"), self.folder / "params.yaml"]
        return sorted([*self.outputs(), *sources, *given])

    def force(self, *words: str) -> list[str]:
        """Has an engine do work again that stands, and returns the stages that did."""
        before = len(self.log())
        self.call(*words)
        self.excused.update(line["key"] for line in self.log()[before:] if line["how"] == "worked")
        return self.worked(before)

    def excuse(self, blob: Path) -> None:
        """What a blob that was lost belonged to may be worked once more."""
        md5 = blob.parent.name + blob.name
        for path in (self.folder / ".fieldgap/results").rglob("*.json"):
            receipt = json.loads(path.read_text())
            if md5 in receipt["outputs"].values():
                self.excused[receipt["key"]] += 1

    def log(self) -> list[dict[str, Any]]:
        path = self.folder / ".fieldgap/log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def worked(self, since: int = 0) -> list[str]:
        """Return the stages that did their work since a line of the log."""
        return [line["stage"] for line in self.log()[since:] if line["how"] == "worked"]

    def check_work(self) -> None:
        """No stage did its work twice on the same inputs, values and code; record not twice in turn."""
        lines = [line for line in self.log() if line["how"] == "worked"]
        recorded = [line["key"] for line in lines if line["stage"] == "record"]
        twice = [key for key, after in itertools.pairwise(recorded) if key == after]
        others = Counter(line["key"] for line in lines if line["stage"] != "record")
        twice += [key for key, times in others.items() if times > 1 + self.excused[key]]
        assert not [key for key in twice if not self.excused[key]], self.log()

    def check_files(self, wanted: dict[str, str]) -> None:
        """Every file is that of a run from scratch; DVC draws the demo also where nobody asks for it."""
        found = digests(self.folder)
        assert {path: found.get(path) for path in wanted} == wanted
        beyond = found.keys() - wanted.keys()
        assert not [path for path in beyond if "own" not in self.edits or not path.startswith("data/demo/")], beyond


@dataclass
class Workshop:
    """Where projects are copied from, and what runs from scratch make."""

    folder: Path
    tools: Path
    scratch: dict[frozenset[str], dict[str, str]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=functools.partial(iter, range(10**6)))

    def project(self, template: str = "shipped") -> Project:
        folder = self.folder / f"project{next(self.numbers)}"
        subprocess.run(["cp", "-a", self.folder / template, folder], check=True)
        return Project(folder, self.tools)

    def from_scratch(self, edits: set[str]) -> dict[str, str]:
        """Return every file of a run from scratch under these edits, without DVC, cache or receipts."""
        counts = frozenset(edits - ({"fewer"} if "own" in edits else {"pixel", "more"}))
        if counts not in self.scratch:
            project = self.project()
            for name in counts:
                project.edit(name)
            (project.folder / "dvc.yaml").unlink()
            project.call("snakemake", "--cores", "2")
            self.scratch[counts] = digests(project.folder)
            shutil.rmtree(project.folder)
        return self.scratch[counts]
