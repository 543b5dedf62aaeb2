"""Snakemake and DVC take turns in one folder: never a stale file, never the same work twice."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import hypothesis.strategies as st
import pytest
import torch
from conftest import call, often
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from two_engines import EDITS, SMALLEST, Project, Workshop, configure, draw_own, redate, spoil

from fieldgap.engines.digests import digest

pytestmark = pytest.mark.slow
SNAKEMAKE, DVC = ("snakemake", "--cores", "2"), ("dvc", "repro")
FORCED = [
    ("snakemake", "--cores", "2", "--forceall"),
    ("snakemake", "--cores", "2", "--forcerun", "train"),
    ("dvc", "repro", "--force"),
]
SEQUENCES = often(5, 50)  # In each of the parts, which several processes can share.
STORE = "from mlflow import MlflowClient; MlflowClient('sqlite:///mlflow.db').search_experiments()"


@pytest.fixture(scope="module")
def workshop(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"), tools)


@pytest.fixture
def shipped(project: Path, workshop: Workshop) -> Workshop:
    """The workshop, with a small project as after a clone, but for a store that is there."""
    if not (workshop.folder / "shipped").exists():
        for block, values in SMALLEST.items():
            configure(project, block, **values)
        draw_own(project)
        call(project, "python", "-c", STORE)
        subprocess.run(["git", "add", "params.yaml"], cwd=project, check=True)
        subprocess.run(["git", "commit", "--quiet", "--message", "small"], cwd=project, check=True)
        shutil.copytree(project, workshop.folder / "shipped", symlinks=True)
    return workshop


@pytest.fixture
def made(shipped: Workshop) -> Project:
    """A project after `dvc repro`."""
    if not (shipped.folder / "made").exists():
        project = shipped.project()
        project.call(*DVC)
        project.folder.rename(shipped.folder / "made")
    return shipped.project("made")


def test_a_parameter_edited_after_dvc_makes_snakemake_run_what_it_affects_alone(
    made: Project, shipped: Workshop
) -> None:
    assert "Nothing to be done" in made.call(*SNAKEMAKE)
    before = len(made.log())
    made.edit("rate")
    made.call(*SNAKEMAKE)
    assert sorted(made.worked(before)) == ["evaluate", "evaluate", "record", "report", "train", "train"]
    made.check_files(shipped.from_scratch(made.edits))
    assert "Running stage" not in made.call(*DVC)


@pytest.mark.parametrize("engine", [SNAKEMAKE, DVC], ids=["snakemake", "dvc"])
def test_back_to_earlier_values_nothing_is_trained(made: Project, shipped: Workshop, engine: tuple[str, ...]) -> None:
    for name in ("rate", "rate"):
        before = len(made.log())
        made.edit(name)
        made.call(*engine)
    assert made.worked(before) == ["record"], "the store has to be told which runs are the current ones"
    made.check_files(shipped.from_scratch(set()))


@pytest.mark.parametrize("engine", [SNAKEMAKE, DVC], ids=["snakemake", "dvc"])
def test_words_of_the_report_train_nothing_and_a_comment_in_train_does(
    made: Project, shipped: Workshop, engine: tuple[str, ...]
) -> None:
    before = len(made.log())
    made.edit("wording")
    made.call(*engine)
    assert made.worked(before) == ["report", "record"]
    made.edit("comment")
    made.call(*engine)
    assert sorted(made.worked(before)[2:]) == ["evaluate", "evaluate", "record", "report", "train", "train"]
    made.check_files(shipped.from_scratch(made.edits))


def test_values_of_a_second_file_are_not_told_to_dvc(made: Project, shipped: Workshop) -> None:
    (made.folder / "mine.yaml").write_text("train: {lr: 0.05}\n")
    made.call(*SNAKEMAKE, "--configfile", "mine.yaml")
    made.check_files(shipped.from_scratch({"rate"}))
    before = len(made.log())
    made.call(*DVC)
    assert made.worked(before) == ["record"]
    made.check_files(shipped.from_scratch(set()))


def test_a_target_on_the_way_does_not_make_dvc_believe_in_the_rest(made: Project, shipped: Workshop) -> None:
    made.edit("rate")
    made.call(*SNAKEMAKE, "runs/kaiming_normal-0-0/metrics.json")
    made.call(*DVC)
    made.check_files(shipped.from_scratch({"rate"}))
    made.check_work()


def test_what_dvc_vouches_for_snakemake_takes_over(made: Project, shipped: Workshop) -> None:
    """As in a fresh clone after `dvc pull`, and one file is missing, too. The store is to be told all the same."""
    shutil.rmtree(made.folder / ".fieldgap")
    (made.folder / "data/split.csv").unlink()
    made.call(*SNAKEMAKE)
    assert made.worked() == ["record"]
    assert "Nothing to be done" in made.call(*SNAKEMAKE)
    made.check_files(shipped.from_scratch(set()))


def test_what_dvc_made_of_a_scene_that_is_gone_is_not_taken_for_the_result_of_those_left(
    made: Project, shipped: Workshop
) -> None:
    made.edit("fewer")
    made.call(*SNAKEMAKE, "--until", "demo")
    made.call(*SNAKEMAKE)
    made.check_files(shipped.from_scratch(made.edits))
    made.check_work()


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_of_a_lock_file_that_a_kill_cut_off_nothing_is_missed(made: Project, share: float) -> None:
    lock, before = made.folder / "dvc.lock", len(made.log())
    whole = lock.read_bytes()
    lock.write_bytes(whole[: int(share * len(whole))])
    assert "Nothing to be done" in made.call(*SNAKEMAKE)
    made.unlock()
    made.call(*DVC)
    assert made.worked(before) == []
    assert lock.read_bytes() == whole


def test_without_the_store_file_the_record_is_due_again(made: Project) -> None:
    (made.folder / "mlflow.db").unlink()
    before = len(made.log())
    made.call(*SNAKEMAKE)
    assert made.worked(before) == ["record"]


@pytest.mark.parametrize("engine", [SNAKEMAKE, DVC], ids=["snakemake", "dvc"])
def test_a_record_that_its_store_refused_is_due_again(made: Project, engine: tuple[str, ...]) -> None:
    before = len(made.log())
    for store in ("http://127.0.0.1:9", "http://127.0.0.1:9", "sqlite:///second.db"):
        configure(made.folder, "record", store=store)
        told = made.call(*engine)
        assert ("does not accept records" in told) == store.startswith("http")
    assert made.worked(before) == ["record"]
    assert "Running stage" not in made.call(*DVC)
    assert "Nothing to be done" in made.call(*SNAKEMAKE)


def test_explain_tells_which_stages_made_a_run_and_under_which_values(made: Project) -> None:
    told = made.call("python", "-m", "fieldgap", "explain", "kaiming_normal-0-1")
    assert re.findall(r"^(\w+)  key", told, re.MULTILINE) == ["demo", "split", "normalize", "train", "evaluate"]
    weights = made.folder / "runs/kaiming_normal-0-1/weights.safetensors"
    assert f"output {digest(weights)} runs/kaiming_normal-0-1/weights.safetensors" in told
    assert "config.lr 0.1" in told
    assert f'torch "{torch.__version__.partition("+")[0]}' in told
    configure(made.folder, "train", lr=0.05)
    with (made.folder / ".fieldgap/log.jsonl").open("a") as log:
        log.write('{"time": 1, "sta')  # As two machines tear each other's lines where a network holds the file.
    assert made.call("python", "-m", "fieldgap", "explain", "runs/kaiming_normal-0-1") == told
    weights.write_bytes(b"")
    refused = made.call("python", "-m", "fieldgap", "explain", "kaiming_normal-0-1", check=False)
    assert "runs/kaiming_normal-0-1/weights.safetensors: is in no receipt" in refused


class Turns(RuleBasedStateMachine):
    """Steps that a user may take, in any order; each time that an engine ends, all is as from scratch."""

    shipped: ClassVar[Workshop]

    def __init__(self) -> None:
        super().__init__()
        self.project = self.shipped.project("made")

    def teardown(self) -> None:
        """Whatever came before, each sequence ends with both engines."""
        self.snakemake()
        self.dvc()
        shutil.rmtree(self.project.folder)

    def check(self) -> None:
        self.project.check_files(self.shipped.from_scratch(self.project.edits))
        self.project.check_work()

    @rule(name=st.sampled_from(sorted(EDITS)))
    def edit(self, name: str) -> None:
        self.project.edit(name)

    @rule(at=st.integers(0, 10**6), delete=st.booleans())
    def spoil_an_output(self, at: int, delete: bool) -> None:
        if there := self.project.outputs():
            spoil(there[at % len(there)], delete)

    @rule(at=st.integers(0, 10**6), delete=st.booleans())
    def spoil_the_cache(self, at: int, delete: bool) -> None:
        if there := self.project.blobs():
            blob = there[at % len(there)]
            self.project.excuse(blob)
            spoil(blob, delete)

    @rule()
    def snakemake(self) -> None:
        self.project.call(*SNAKEMAKE)
        self.check()

    @rule()
    def dvc(self) -> None:
        self.project.call(*DVC)
        self.check()

    @rule()
    def checkout(self) -> None:
        self.project.call("dvc", "checkout", "--force", check=False)  # What DVC never saw it cannot bring.

    @rule()
    def experiment(self) -> None:
        self.project.edits ^= {"rate"}
        rate = 0.05 if "rate" in self.project.edits else 0.1
        self.project.call("dvc", "exp", "run", "--set-param", f"train.lr={rate}")
        self.check()

    @rule()
    def queue(self) -> None:
        """An experiment in a workspace of its own, which has what git knows and not the user's scenes."""
        if "own" not in self.project.edits:
            rate = 0.1 if "rate" in self.project.edits else 0.05
            assert "Success" in self.project.queued("--set-param", f"train.lr={rate}")

    @rule(at=st.integers(0, 10**6), count=st.integers(1, 50), year=st.sampled_from([0, 1970, 2020, 2037]))
    def redate(self, at: int, count: int, year: int) -> None:
        there = self.project.dated()
        for number in range(count):
            redate(there[(at + number) % len(there)], year)

    @rule(year=st.sampled_from([1970, 2020, 2037]))
    def redate_all(self, year: int) -> None:
        for path in self.project.dated():
            redate(path, year)

    @rule(command=st.sampled_from(FORCED))
    def force(self, command: tuple[str, ...]) -> None:
        assert self.project.force(*command).count("train") >= 2
        self.check()

    @rule(kind=st.sampled_from(["copy", "hardlink", "symlink", "reflink,copy"]))
    def link(self, kind: str) -> None:
        self.project.call("dvc", "config", "--local", "cache.type", kind)
        self.project.call("dvc", "checkout", "--relink", "--force", check=False)

    @rule(snakemake_first=st.booleans(), pause=st.floats(0, 3))
    def both_at_once(self, snakemake_first: bool, pause: float) -> None:
        """One of them may refuse, in one sentence, and then the other has everything to itself."""
        told = self.project.both(pause, *([SNAKEMAKE, DVC] if snakemake_first else [DVC, SNAKEMAKE]))
        assert any(status == 0 for status, _ in told), told
        assert not [text for _, text in told if "Traceback" in text], told
        self.check()

    @rule(by_snakemake=st.booleans(), after=st.floats(0.2, 4))
    def kill(self, by_snakemake: bool, after: float) -> None:
        self.project.kill(after, *(SNAKEMAKE if by_snakemake else DVC))
        self.project.unlock()


@pytest.mark.repeated
@pytest.mark.parametrize("part", range(4))
def test_in_any_order_of_steps_nothing_is_stale_and_nothing_done_twice(
    part: int, made: Project, shipped: Workshop
) -> None:
    Turns.shipped = shipped
    run_state_machine_as_test(
        seed(part)(type("Turns", (Turns,), {})),
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=6,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
