"""The fault sweep: each stage of a tiny project, with the k-th call that changes a file failing, for every k.

`python sweep.py FOLDER` prints a table of counts, and what went wrong as JSON. All libraries are loaded once, and each
run is a fork of this process. Faults come from faults.c, which is compiled into FOLDER, so this program starts itself
again with that library before libc. FOLDER should be in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import errno
import hashlib
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import warm
import yaml

HERE = Path(__file__).parent
LIBRARY = "faults.so"
SWEPT = ("demo", "split", "normalize", "train", "evaluate", "report", "record")
FAILED, WENT_ON, NO_HARM = "one message", "said and went on", "no harm"
ERRORS = ("ENOSPC", "EIO", "EROFS", "EACCES")
THINNED = {"record": 60}  # SQLite makes nearly all of its 7000 calls, so every 60th of them is tried.
SECONDS = 300  # After which a run counts as hung.
OUTPUTS = ("data", "runs", "reports")
STORE = ("mlflow.db", "mlruns", "mlartifacts")
# What names times, or places in memory; only whether these files are there is compared.
VOLATILE = (".fieldgap/log.jsonl", ".fieldgap/digests/", ".fieldgap/spool/")
# Spools are for MLflow, which sees a run at its end as well; checkpoints of a finished run are not used; digests that
# are not remembered are computed again.
HARMLESS = (".fieldgap/spool/", ".fieldgap/state/", ".fieldgap/digests/", ".dvc/config.local is missing")
VALUES: dict[str, dict[str, Any]] = {
    "demo": {"scenes": 8, "size": 32, "seed": 0, "fresh": 2},
    "split": {"val": 0.3, "test": 0.3, "seed": 1},
    "normalize": {"tile": 32},
    "train": {"epochs": 2, "batch_size": 2, "width": 2, "depth": 2},
    "grid": {"init": ["kaiming_normal", "xavier_normal"], "warmup_epochs": [1], "seed": [0]},
}


@dataclasses.dataclass(frozen=True)
class Fault:
    """The k-th call fails, or all from there on, with an error. Call 0 is none."""

    k: int = 0
    error: str = "EIO"
    lasting: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: its status, what it said on stderr, the calls that it made, and the one that failed, or ""."""

    status: int
    said: str
    calls: int
    met: str


C = ctypes.CDLL(None)  # Has the functions of faults.c in the process that main() starts.


def load(folder: Path) -> None:
    """Load what the stages load; charts are drawn once, and then read from a folder, since that takes seconds."""
    from fieldgap.engines.stages import STAGES
    from fieldgap.training import checkpoints

    names = ("fieldgap.cli", "mlflow.store.tracking.sqlalchemy_store", "mlflow.pyfunc", "mlflow.sklearn", "snakemake")
    for name in (*names, *(f"fieldgap.{stage.module}" for stage in STAGES.values())):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    warm.remember(folder)
    checkpoints.SHARE = float("inf")  # A checkpoint after each step, however fast this machine is.
    C.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    C.fault_met.restype = ctypes.c_char_p
    C.fault_counted.restype = ctypes.c_long


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the command line of each job of the project in the working folder."""
    from fieldgap.engines.jobs import calls
    from fieldgap.settings.params import flags, read

    settings = read(Path("params.yaml"))
    for name, _, given in calls(settings):
        words = [name.partition("@")[0]]
        for key, value in given.items():
            if isinstance(value, Path):
                words += [f"--{key}", str(value)]
            elif key == "grid":
                words += [word for axis, levels in settings.grid.items() for word in (f"--{axis}", *map(str, levels))]
            else:
                words += flags(dataclasses.asdict(value)).split()
        yield name, [word.strip("'") for word in words]


def forked(work: Callable[[], Any]) -> Any:
    """Return what a function returns in a fork of this process, by way of JSON; None if the fork dies or hangs."""
    read, write = os.pipe()
    if not (child := os.fork()):
        signal.alarm(SECONDS)
        with contextlib.suppress(BaseException), os.fdopen(write, "wb") as pipe:
            pipe.write(json.dumps(work()).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else None


def run(project: Path, words: Sequence[str], fault: Fault) -> Outcome:
    """Run a stage in a fork of this process."""
    output = project.with_name(f"{project.name}.output")

    def work() -> tuple[int, int, str]:
        os.chdir(project)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        C.fault_arm(os.fsencode(project), fault.k, getattr(errno, fault.error), fault.lasting)
        try:
            status = importlib.import_module("fieldgap.cli").main(words)
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stderr.flush()
        C.fault_disarm()
        return status, C.fault_counted(), C.fault_met().decode()

    status, calls, met = forked(work) or (-1, 0, "died")
    return Outcome(status, output.read_text(errors="replace"), calls, met)


def copy(source: Path, target: Path) -> Path:
    """Replace a folder by a copy of another one, with the same dates."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)
    return target


def tree(project: Path) -> dict[str, str]:
    """Return a digest of each file but those of MLflow's store, "" for one that is volatile, and where links lead."""
    found = {}
    for path in sorted(project.rglob("*")):
        name = path.relative_to(project).as_posix()
        if name.startswith(STORE) or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif name.startswith(VOLATILE) or name.endswith(".lock"):
            found[name] = ""
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def store_of(project: Path) -> dict[str, Any]:
    """Return what MLflow's store holds of each run, without times and ids."""
    from mlflow import MlflowClient

    os.chdir(project)
    if not Path("mlflow.db").exists():
        return {}
    client = MlflowClient("sqlite:///mlflow.db")
    experiments = [each.experiment_id for each in client.search_experiments()]
    held: dict[str, Any] = {}
    for found in client.search_runs(experiments):
        info, data, files = found.info, found.data, []
        folders = [""]
        while folders:
            for each in client.list_artifacts(info.run_id, folders.pop() or None):
                folders += [each.path] if each.is_dir else []
                files += [] if each.is_dir else [each.path]
        points = {
            name: [(point.step, point.value) for point in client.get_metric_history(info.run_id, name)]
            for name in data.metrics
            if not name.startswith("system/")
        }
        tags = {name for name in data.tags if not name.startswith("mlflow.")}
        inputs = sorted(each.dataset.digest for each in found.inputs.dataset_inputs)
        name = str(info.run_name) if str(info.run_name) not in held else f"{info.run_name} again"
        held[name] = [info.status, data.params, points, sorted(tags), sorted(files), inputs]
    for model in client.search_registered_models():
        held[f"model {model.name}"] = sorted(model.aliases)
    return held


class Sweep:
    """The sweep of one job from the state before it."""

    def __init__(self, folder: Path, name: str, words: list[str], start: Path) -> None:
        self.folder, self.name, self.words, self.start = folder, name, words, start
        self.stage = words[0]
        self.before = tree(start)
        clean = copy(start, folder / "clean" / name)
        self.outcome = run(clean, words, Fault())
        assert self.outcome.status == 0, self.outcome.said
        self.clean, self.state = tree(clean), clean
        self.store = forked(lambda: store_of(clean)) if self.stage == "record" else {}
        self.converged: set[str] = set()

    def attempt(self, place: Path, fault: Fault) -> tuple[str, str, list[str]] | None:
        """Let a fault happen, then run again without one.

        Returns:
            How the faulty run ended, the call that failed, and what was wrong; None if it made no such call.
        """
        project = copy(self.start, place)
        first = run(project, self.words, fault)
        if not first.met:
            return None
        left = tree(project)
        ended, wrong = self._judged(first, left, fault)
        state = hashlib.sha256(json.dumps([left, self._held(project)]).encode()).hexdigest()
        if state not in self.converged:
            second = run(project, self.words, Fault())
            if second.status or "Traceback" in second.said:
                wrong.append(f"the next run ended with {second.status}: {second.said[-600:]}")
            for line in differences(tree(project), self.clean):
                if not line.startswith(HARMLESS) or ".draft " in line:
                    wrong.append(f"after the next run {line}")
            if self.stage == "record" and (held := forked(lambda: store_of(project))) != self.store:
                wrong.append(f"after the next run the store holds {json.dumps(held)[:3000]}")
            if not wrong:
                self.converged.add(state)
        place_of_fault = f"{self.name}: call {fault.k}, {first.met}, {fault.error}{' lasting' * fault.lasting}"
        return ended, first.met, [f"{place_of_fault}: {line}" for line in wrong]

    def _held(self, project: Path) -> list[str]:
        stores = [path for name in STORE for path in (project / name).rglob("*") if path.is_file()]
        stores += [project / "mlflow.db"] if (project / "mlflow.db").exists() else []
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(stores)]

    def _judged(self, ended: Outcome, left: dict[str, str], fault: Fault) -> tuple[str, list[str]]:
        """Return how a faulty run ended, and what was wrong with that."""
        lines, wrong = ended.said.splitlines(), self._left_wrong(left, fault)
        messages = [line for line in lines if line.startswith(f"fieldgap {self.stage}: ")]
        if "Traceback" in ended.said or "Exception ignored" in ended.said:
            wrong.append(f"a traceback: {ended.said[-1500:]}")
        few = 2 if self.stage == "record" and fault.lasting else 1  # The store refuses, and so does the folder.
        if ended.status not in (0, 1) or (ended.status == 1 and not 1 <= len(messages) <= few):
            wrong.append(f"status {ended.status} with {len(messages)} messages: {ended.said[-600:]}")
        if ended.status == 1:
            return FAILED, wrong
        lost = [line for line in differences(left, self.clean) if not line.startswith(HARMLESS)]
        wrong += [f"succeeded, but {line}" for line in lost if line.startswith(OUTPUTS) and "recorded" not in line]
        if lost and not lines:
            wrong.append(f"lost without a word: {lost[0]}")
        return (WENT_ON if lines else NO_HARM), wrong

    def _left_wrong(self, left: dict[str, str], fault: Fault) -> list[str]:
        drafts = [name for name in left if name.endswith((".draft", ".tmp"))]
        halves = [
            name
            for name, content in left.items()
            if name.startswith((*OUTPUTS, ".dvc", ".fieldgap/results"))
            and not name.startswith("reports/recorded.")  # These say what the store did not take.
            and name not in drafts
            and content not in (self.before.get(name), self.clean.get(name))
        ]
        removable = [] if fault.lasting else drafts  # From then on nothing can be removed.
        return [f"left {name}" for name in removable] + [f"left half of {name}" for name in halves]


def differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """Return a line for each file that is missing, superfluous or different."""
    lines = [f"{name} is missing" for name in wanted if name not in found]
    lines += [f"{name} is there" for name in found if name not in wanted]
    return lines + [f"{name} differs" for name in wanted if name in found and found[name] != wanted[name]]


def faults_at(k: int, *, everything: bool) -> list[Fault]:
    """Return the faults to try at a call: alone and from then on, with one of the errors in turn or with each."""
    errors = ERRORS if everything else (ERRORS[k % len(ERRORS)],)
    return [Fault(k, error, lasting) for error in errors for lasting in (False, True)]


def work(sweep: Sweep, share: int, workers: int, every: int, everything: bool) -> Any:
    """Sweep a share of the calls, every `every`-th of them, and return counts and what was wrong."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    wrong: list[str] = []
    place, k = sweep.folder / f"work{share}", 1 + share * every
    while all(tried := [sweep.attempt(place, fault) for fault in faults_at(k, everything=everything)]):
        for fault, (ended, met, lines) in zip(faults_at(k, everything=everything), tried, strict=True):
            counts[sweep.stage, met.partition(" ")[0], fault.error + " from then on" * fault.lasting, ended] += 1
            wrong += lines
            for line in lines:
                print(line, file=sys.stderr, flush=True)
        k += workers * every
    return counts, wrong


def prepare(folder: Path, root: Path) -> Path:
    """Return a fresh project with tiny values."""
    project = folder / "start"
    (project / ".dvc").mkdir(parents=True)
    shutil.copy(root / ".dvc/config", project / ".dvc")
    shutil.copytree(root / "params", project / "params")
    shutil.copy(root / "dvc.yaml", project)
    params = yaml.safe_load((root / "params.yaml").read_text())
    for block, values in VALUES.items():
        params[block] = {**params[block], **values} if block != "grid" else values
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return project


def table(counts: Sequence[Sequence[Any]]) -> str:
    """Return counts as a table in Markdown: a row for each stage and call, a column for each way to end."""
    sums: Counter[tuple[str, str, str]] = Counter()
    for stage, call, _, ended, count in counts:
        sums[stage, call, ended] += count
    ways = (FAILED, WENT_ON, NO_HARM)
    rows = [("stage", "call", "tried", *ways), ("---", "---", *["---:"] * 4)]
    for stage in SWEPT:
        for call in sorted({one[1] for one in sums if one[0] == stage}):
            each = [sums[stage, call, way] for way in ways]
            rows.append((stage, call, str(sum(each)), *map(str, each)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def compile_library(folder: Path) -> Path:
    """Compile faults.c, and fail where there is no compiler."""
    library = folder / LIBRARY
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "faults.c"), "-ldl"], check=True)
    return library


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--all", action="store_true", help="try each error at each call, and not one of them in turn")
    parser.add_argument("--stages", nargs="*", default=SWEPT)
    given = parser.parse_args()
    folder = given.folder.resolve()
    if LIBRARY not in os.environ.get("LD_PRELOAD", ""):
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "LD_PRELOAD": str(compile_library(folder)), "OMP_NUM_THREADS": "1"}
        os.execve(sys.executable, [sys.executable, __file__, *sys.argv[1:]], environment)  # noqa: S606
    os.environ.pop("LD_PRELOAD")
    load(folder)
    start = prepare(folder, HERE.parent.parent)
    os.chdir(start)
    counts: Counter[tuple[str, str, str, str]] = Counter()
    wrong: list[str] = []
    (folder / "clean").mkdir()
    done: set[str] = set()
    for name, words in list(commands()):
        sweep = Sweep(folder, name, words, start)
        start = sweep.state
        if words[0] in done or words[0] not in given.stages:
            continue
        done.add(words[0])
        every = given.every * THINNED.get(words[0], 1)
        with multiprocessing.get_context("fork").Pool(given.workers) as pool:
            shares = [(sweep, share, given.workers, every, given.all) for share in range(given.workers)]
            for some, lines in pool.starmap(work, shares):
                counts += some
                wrong += lines
        print(f"{name}: {sweep.outcome.calls} calls, {len(wrong)} wrong so far", file=sys.stderr, flush=True)
    rows = [[*key, count] for key, count in sorted(counts.items())]
    print(table(rows), file=sys.stderr)
    print(json.dumps({"counts": rows, "wrong": wrong}))


if __name__ == "__main__":
    main()
