"""Both engines' graphs in one shape, and the import graph of the sources, for tests to hold against each other."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from conftest import call
from dvc.repo import Repo

from fieldgap.engines.commandline import arguments, parse
from fieldgap.engines.due import MARK
from fieldgap.engines.stages import STAGES
from fieldgap.engines.validate import VALIDATED


@dataclass(frozen=True)
class Job:
    """One stage of one engine: its files, and the arguments of run() after parsing its command."""

    inputs: frozenset[str]
    outputs: frozenset[str]
    arguments: str


def parsed(command: str) -> tuple[str, str]:
    """A shell command -> the stage, and what its run() would be called with."""
    words = shlex.split(re.sub(r" >\S+ 2>&1$", "", command))
    assert words[:3] == ["python", "-m", "fieldgap"], command
    given = parse(words[3:])
    stage = given.pop("stage")
    return stage, repr(sorted(arguments(STAGES[stage], given).items()))


def key(stage: str, outputs: Iterable[str]) -> str:
    """A name that both engines' jobs share: the stage, and for a run of the grid its folder."""
    folders = sorted({str(Path(output).parent) for output in outputs})
    return f"{stage} {folders[0]}" if stage in ("train", "evaluate") else stage


def snakemake_graph(project: Path) -> dict[str, Job]:
    """Return every job that a run from scratch would do, without the mark of jobs that are due."""
    text = call(project, "snakemake", "--dry-run", "--forceall", "--printshellcmds", "--cores", "1").stdout
    jobs = {}
    for block in re.split(r"\n(?=(?:local)?rule \w+:)", text)[1:]:
        fields = dict(re.findall(r"^ {4}(\w+): (.*)$", block, re.MULTILINE))
        command = re.search(r"^Shell command: (.*)$", block, re.MULTILINE)
        if not command or command[1] == "None":
            continue  # The rule `all` runs nothing.
        stage, given = parsed(command[1])
        outputs = frozenset(fields["output"].split(", "))
        inputs = frozenset(fields["input"].split(", ")) - {str(MARK)}
        jobs[key(stage, outputs)] = Job(inputs, outputs, given)
    return jobs


def dvc_graph(project: Path) -> dict[str, Job]:
    """Return every stage of dvc.yaml, without parameters, whose values are in the command."""
    jobs = {}
    with Repo(str(project)) as repo:
        for stage in repo.index.stages:
            if stage.name == "validate":  # Snakemake checks values where it reads them.
                continue
            name, given = parsed(stage.cmd)
            assert stage.name.split("@")[0] == name
            outputs = frozenset(str(out.def_path) for out in stage.outs)
            inputs = frozenset(str(dep.def_path) for dep in stage.deps) - {"params.yaml", str(VALIDATED)}
            jobs[key(name, outputs)] = Job(inputs, outputs, given)
    return jobs


def within(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def differences(snakemake: dict[str, Job], dvc: dict[str, Job]) -> list[str]:
    """Return what the graphs do not share, in words. DVC may name a folder where Snakemake names its files."""
    found = [f"{name}: in one graph alone" for name in sorted(snakemake.keys() ^ dvc.keys())]
    made = {output for job in snakemake.values() for output in job.outputs}
    for name in sorted(snakemake.keys() & dvc.keys()):
        ours, theirs = snakemake[name], dvc[name]
        if ours.arguments != theirs.arguments:
            found.append(f"{name}: {ours.arguments} under Snakemake, {theirs.arguments} under DVC")
        for what, files, paths in (("input", ours.inputs, theirs.inputs), ("output", ours.outputs, theirs.outputs)):
            found += [f"{name}: {what} {file} of Snakemake alone" for file in sorted(files) if not within(file, paths)]
            for path in sorted(paths):
                inside = {file for file in made | ours.inputs if within(file, [path])}
                if not inside or not inside <= files:
                    found.append(f"{name}: {what} {path} of DVC alone, or only in part of Snakemake")
    return found
