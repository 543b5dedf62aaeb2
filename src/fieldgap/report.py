"""Stage report: the runs of a grid compared, as tables and as one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from fieldgap import compare, figures
from fieldgap.files import write_json, write_text
from fieldgap.runs import Finished, read_runs

SHOWN = ("train_iou", "val_iou", "test_iou", "test_background_iou", "gap_val_iou", "gap_test_iou")
WORDS = {
    "val_iou": "validation IoU",
    "test_iou": "test IoU",
    "test_background_iou": "test IoU of the background",
    "gap_val_iou": "gap on validation",
    "gap_test_iou": "gap on test",
}


def pair_points(table: pd.DataFrame, axes: Sequence[str], effects: pd.DataFrame) -> pd.DataFrame:
    """-> a row for each pair behind each effect: effect, outcome, pair, difference, and the effect's low and high."""
    rows = []
    for row in effects.to_dict("records"):
        levels = (row["from"], row["to"])
        paired = compare.pairs(table, axes, row["axis"], levels, row["outcome"])
        for key, values in paired.iterrows():
            rows.append(
                {
                    "effect": f"{row['axis']}: {levels[0]} to {levels[1]}",
                    "outcome": WORDS[row["outcome"]],
                    "pair": str(key),
                    "difference": values[levels[1]] - values[levels[0]],
                    "low": row["low"],
                    "high": row["high"],
                }
            )
    return pd.DataFrame(rows)


def steps_of(runs: Sequence[Finished]) -> pd.DataFrame:
    """-> the rate of each step, one run a variant: a rate does not depend on the seed."""
    first = {compare.variant_of(run.axes): run for run in reversed(runs)}
    return pd.concat([run.steps.assign(variant=name) for name, run in reversed(first.items())], ignore_index=True)


def charts(runs: Sequence[Finished], gap: pd.DataFrame, table: pd.DataFrame, effects: pd.DataFrame) -> dict[str, Any]:
    """-> the Vega-Lite specification of each figure by its file name."""
    axes = list(runs[0].axes)
    drawn: dict[str, alt.TopLevelMixin] = {
        "gap": figures.gap(gap),
        "errors": figures.errors(gap),
        "rates": figures.rates(steps_of(runs)),
        "effects": figures.differences(pair_points(table, axes, effects)) if len(effects) else figures.nothing(),
    }
    return {name: chart.to_dict() for name, chart in drawn.items()}


def page_template() -> Template:
    """-> the page, which escapes whatever it is given unless told that it is markup."""
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("report.html.j2")


def summary(table: pd.DataFrame, axes: Sequence[str]) -> dict[str, dict[str, float]]:
    """-> each variant's means over seeds, named like a run: what `dvc metrics diff` and `dvc exp show` line up."""
    names = [
        "-".join(str(row[axis]) for axis in compare.variant_axes(axes)) or "all" for row in table.to_dict("records")
    ]
    return table.groupby(names, sort=False)[list(SHOWN)].mean().to_dict("index")  # type: ignore[return-value]


def run(runs: Path, out: Path, grid: Mapping[str, dict[str, Any]]) -> None:
    """Writes index.html, ablation.csv, gap.csv, effects.csv, summary.json and figures/*.svg into the folder `out`."""
    finished = read_runs(runs, grid)
    axes = list(finished[0].axes)
    table, gap = compare.ablation(finished), compare.gap_table(finished)
    effects, variants = compare.effects(table, axes), compare.variants(table, SHOWN)
    specifications = charts(finished, gap, table, effects)
    svgs = {name: vl_convert.vegalite_to_svg(spec) for name, spec in specifications.items()}
    html = page_template().render(
        runs=finished,
        axes=axes,
        effects=effects.replace(np.nan, None).to_dict("records"),
        variants=variants.to_dict("records"),
        words=WORDS,
        svgs=svgs,
        specifications=specifications,
        bundle=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"),
    )
    for name, svg in svgs.items():
        write_text(out / "figures" / f"{name}.svg", svg)
    for name, rows in (("ablation", table), ("gap", gap), ("effects", effects)):
        write_text(out / f"{name}.csv", rows.to_csv(index=False, lineterminator="\n"))
    write_json(out / "summary.json", summary(table, axes))
    write_text(out / "index.html", html)
