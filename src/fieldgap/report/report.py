"""Stage report: the runs of a grid compared, as tables, figures and one self-contained page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd
import vl_convert

from fieldgap.analysis.ablation import FINISHED, variant_axes
from fieldgap.analysis.effects import OUTCOMES
from fieldgap.analysis.runs import read_runs
from fieldgap.analysis.tables import Analysis, analyse, calibration_bins, scene_scores, steps_of
from fieldgap.base.files import replacing, write_json, write_text
from fieldgap.report import overview, page, provenance, wording
from fieldgap.report.charts import comparison, curves, scores
from fieldgap.report.charts.style import note, specification

if TYPE_CHECKING:
    from fieldgap.settings.sections import Report

PIXELS = 2  # of a PNG for each of the SVG's


def charts(found: Analysis, shares: pd.DataFrame) -> dict[str, alt.TopLevelMixin | None]:
    """-> every figure by its file name; None where these runs have nothing to show in it."""
    axes = variant_axes(found.axes)
    drawn = {
        "verdict": comparison.differences(found.effects, found.pairs, wording.HEADLINE),
        "effects": comparison.differences(found.effects, found.pairs, list(OUTCOMES)),
        "interactions": comparison.interactions(found.counts, axes, "test_iou"),
        "divergence": comparison.divergence(found.counts, axes),
        "rates": curves.rates(steps_of(found.runs)),
    }
    done = found.table[found.table["status"] == FINISHED]
    over_finished: dict[str, Callable[[], alt.TopLevelMixin | None]] = {
        "gap": lambda: curves.gap(found.gap),
        "errors": lambda: curves.errors(found.gap),
        "naive": lambda: curves.naive(found.gap),
        "gap_ends": lambda: scores.gap_ends(done),
        "splits": lambda: scores.splits(done),
        "scenes": lambda: scores.scenes(scene_scores(found.finished)),
        "calibration": lambda: scores.calibration(calibration_bins(found.finished)),
        "disagreement": lambda: scores.disagreement(shares),
    }
    return drawn | {name: draw() if len(done) else None for name, draw in over_finished.items()}


def summary(table: pd.DataFrame, axes: Sequence[str]) -> dict[str, dict[str, float]]:
    """-> each variant's means over seeds, named like a run: what `dvc metrics diff` and `dvc exp show` line up."""
    names = ["-".join(str(row[axis]) for axis in variant_axes(axes)) or "all" for row in table.to_dict("records")]
    means = table.groupby(names, sort=False)[list(page.SHOWN)].mean()
    return {
        str(name): {str(key): float(value) for key, value in row.dropna().items()} for name, row in means.iterrows()
    }  # A variant may have no gap.


def drawn_svg(name: str, spec: dict[str, Any]) -> str:
    """-> the figure as SVG; its ids, which the library counts since it was loaded, are made its own on the page."""
    svg = vl_convert.vegalite_to_svg(spec)
    for number, each in enumerate(dict.fromkeys(re.findall(r'id="([^"]+)"', svg))):
        svg = svg.replace(f'id="{each}"', f'id="{name}-{number}"').replace(f"(#{each})", f"(#{name}-{number})")
    return svg


def write_figures(out: Path, svgs: Mapping[str, str]) -> None:
    """Writes each figure as SVG and PNG, and its caption for `snakemake --report`."""
    for name, svg in svgs.items():
        write_text(out / "figures" / f"{name}.svg", svg)
        with replacing(out / "png" / f"{name}.png") as draft:
            draft.write_bytes(vl_convert.svg_to_png(svg, scale=PIXELS))
        write_text(out / "captions" / f"{name}.rst", wording.CAPTIONS[name] + "\n")


def run(runs: Path, tiles: Path, out: Path, grid: Mapping[str, dict[str, Any]], config: Report, key: str) -> None:
    """Writes index.html, summary.md, summary.json, the tables and the figures into the folder `out`."""
    found = analyse(read_runs(runs, grid), config)
    pictures, shares = page.shown_pictures(found, tiles)
    drawn = charts(found, shares)
    specifications = {name: specification(chart or note(wording.NOTHING)) for name, chart in drawn.items()}
    svgs = {name: drawn_svg(name, spec) for name, spec in specifications.items()}
    figures = {name: {"svg": svgs[name], "specification": specifications[name]} for name in drawn if drawn[name]}
    values = {**page.context(found, pictures, config), "data": overview.data_section(tiles)}
    values["origins"] = provenance.section(found.runs, tiles, key)
    html, text = page.render(values, figures), page.summary(values)
    write_figures(out, svgs)
    for name, rows in (
        ("ablation", found.table),
        ("gap", found.gap),
        ("effects", found.effects),
        ("pairs", found.pairs),
    ):
        write_text(out / f"{name}.csv", rows.to_csv(index=False, lineterminator="\n"))
    write_json(out / "summary.json", summary(found.counts, found.axes))
    write_text(out / "summary.md", text)
    write_text(out / "index.html", html)
