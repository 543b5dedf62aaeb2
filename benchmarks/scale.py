"""Measure how time and memory of each stage grow with the data and with the grid, as slopes in a log-log plot.

    python benchmarks/scale.py FOLDER

The data grows from a few to some hundred drawn scenes, which go through demo, split, normalize, one epoch of training,
and evaluate. The grid grows from a few to about a thousand runs, which go through a dry run of Snakemake, report and
record. They are copies of one tiny run with other seeds, because the work of these stages does not depend on how long a
run was trained. Prints a table and writes scale.svg next to this file. Deletes FOLDER first.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import yaml

from fieldgap.settings.params import flags

ROOT = Path(__file__).parents[1]
SCENES, RUNS = (20, 80, 320), (12, 120, 1200)
DATA, GRID = "scenes", "runs of the grid"


def measured(command: str, folder: Path) -> tuple[float, float]:
    """Run a command and return its seconds and its peak resident memory in GiB. End the benchmark if it fails."""
    with (folder / "said.txt").open("w") as said:
        began = time.perf_counter()
        child = subprocess.Popen(shlex.split(command), cwd=folder, stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command}: {(folder / 'said.txt').read_text()[-2000:]}")
    return time.perf_counter() - began, usage.ru_maxrss / 2**20


def stages_of_data(params: Mapping[str, Any], scenes: int) -> dict[str, str]:
    """Return the command of each stage that reads or writes tiles."""
    drawn = f"--fresh_scenes data/demo/fresh.npz {flags({**params['demo'], 'scenes': scenes, 'fresh': 0})}"
    data, train = flags(params["data"]), flags({**params["train"], "epochs": 1, "device": "cpu"})
    axes = flags({"init": "kaiming_normal", "warmup_epochs": 0, "seed": 0})
    stage = f"{sys.executable} -m fieldgap"
    return {
        "demo": f"{stage} demo --images data/demo/images --masks data/demo/masks {drawn}",
        "split": f"{stage} split {data} --out data/split.csv {flags(params['split'])}",
        "normalize": f"{stage} normalize {data} --split data/split.csv --fresh_scenes data/demo/fresh.npz "
        f"--out data/tiles {flags(params['normalize'])}",
        "train, one epoch": f"{stage} train --tiles data/tiles --out runs/one {train} {axes}",
        "evaluate": f"{stage} evaluate --tiles data/tiles --run runs/one --device cpu",
    }


def stages_of_grid(params: Mapping[str, Any], seeds: int) -> dict[str, str]:
    """Return the command of each stage that reads all runs of the grid in params.yaml, with this number of seeds."""
    axes, stage = flags({**params["grid"], "seed": list(range(seeds))}), f"{sys.executable} -m fieldgap"
    return {
        "snakemake -n": "snakemake --dry-run --quiet --cores 1 --configfile seeds.yaml",
        "report": f"{stage} report --runs runs --tiles data/tiles --out reports {axes} {flags(params['report'])}",
        "record": f"{stage} record --runs runs --reports reports --tiles data/tiles --out recorded.csv {axes} "
        + flags(params["record"]),
    }


def copies(params: Mapping[str, Any], folder: Path, seeds: int) -> None:
    """Copy the trained run to each point of the grid, with the point's own values and key."""
    config, status = (json.loads((folder / f"runs/one/{name}.json").read_text()) for name in ("config", "status"))
    for init in params["grid"]["init"]:
        for warmup in params["grid"]["warmup_epochs"]:
            for seed in range(seeds):
                run = folder / f"runs/{init}-{warmup}-{seed}"
                shutil.copytree(folder / "runs/one", run, dirs_exist_ok=True)
                own = {**config, "init": init, "warmup_epochs": warmup, "seed": seed}
                (run / "config.json").write_text(json.dumps(own))
                (run / "status.json").write_text(json.dumps({**status, "key": f"{init}-{warmup}-{seed}"}))
    (folder / "seeds.yaml").write_text(yaml.safe_dump({"grid": {"seed": list(range(seeds))}}))


def rows(params: Mapping[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each stage and size."""
    for scenes in SCENES:
        for name in ("data", "runs", ".fieldgap"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for stage, command in stages_of_data(params, scenes).items():
            seconds, memory = measured(command, folder)
            yield {"grows": DATA, "stage": stage, "size": scenes, "seconds": seconds, "GiB": memory}
    for runs in RUNS:
        seeds = runs // 4
        copies(params, folder, seeds)
        for stage, command in stages_of_grid(params, seeds).items():
            seconds, memory = measured(command, folder)
            yield {"grows": GRID, "stage": stage, "size": runs, "seconds": seconds, "GiB": memory}


def slope(each: pd.DataFrame, what: str) -> float:
    """Return the exponent of growth between the two largest sizes, where start-up weighs least."""
    ends = each.sort_values("size").tail(2)
    return float(np.diff(np.log(ends[what]))[0] / np.diff(np.log(ends["size"]))[0])


def drawn(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Return charts of seconds and memory against size, with one column per kind of size."""
    panels = [
        alt.Chart(table[table["grows"] == grows])
        .mark_line(point=True)
        .encode(
            alt.X("size:Q", scale=alt.Scale(type="log"), title=grows),
            alt.Y(f"{what}:Q", scale=alt.Scale(type="log")),
            alt.Color("stage:N", title=None),
        )
        .properties(width=260, height=200)
        for what in ("seconds", "GiB")
        for grows in (DATA, GRID)
    ]
    return alt.vconcat(alt.hconcat(*panels[:2]), alt.hconcat(*panels[2:])).resolve_scale(color="independent")


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)  # noqa: S607
    params = yaml.safe_load((folder / "params.yaml").read_text())
    table = pd.DataFrame(rows(params, folder))
    print("| stage | grows with | seconds | slope | GiB | slope |\n|---|---|---|---|---|---|")
    for (grows, stage), each in table.groupby(["grows", "stage"], sort=False):
        told = [" / ".join(f"{value:.2f}" for value in each[what]) for what in ("seconds", "GiB")]
        print(
            f"| {stage} | {grows} | {told[0]} | {slope(each, 'seconds'):.2f} | {told[1]} | {slope(each, 'GiB'):.2f} |"
        )
    drawn(table).save(str(Path(__file__).with_name("scale.svg")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
