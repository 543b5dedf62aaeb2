"""Stage report: the runs of a grid compared, as tables, figures and one self-contained page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd
import vl_convert

from fieldgap.analysis.confusions import scene_scores
from fieldgap.analysis.contrasts import variant_axes
from fieldgap.analysis.effects import OUTCOMES
from fieldgap.analysis.runs import FINISHED, read_runs
from fieldgap.analysis.tables import Analysis, analyse, calibration_table, step_table
from fieldgap.base.cells import escaped
from fieldgap.base.files import read_rows, replacing, write_json, write_text
from fieldgap.base.names import FIGURES, LEAKAGE
from fieldgap.report import overview, page, provenance, wording
from fieldgap.report.captions import CAPTIONS, NOTHING
from fieldgap.report.charts import comparison, curves, scores
from fieldgap.report.charts.style import note, specification
from fieldgap.report.context import SHOWN, context, failure_context
from fieldgap.tiles.packed import read_packed

if TYPE_CHECKING:
    from fieldgap.settings.sections import Report

Charts = dict[str, alt.TopLevelMixin | None]
PIXELS = 2  # Of a PNG, for each px of the SVG.


def _comparison_charts(analysis: Analysis) -> Charts:
    axes = variant_axes(analysis.axes)
    return {
        "verdict": comparison.differences(analysis.effects, analysis.pairs, wording.HEADLINE),
        "effects": comparison.differences(analysis.effects, analysis.pairs, list(OUTCOMES)),
        "interactions": comparison.interactions(analysis.scored, axes, "test_iou"),
        "divergence": comparison.divergence(analysis.scored, axes),
        "rates": curves.rates(step_table(analysis.runs)),
    }


def _charts_of_finished(analysis: Analysis, shares: pd.DataFrame) -> Charts:
    finished = analysis.table[analysis.table["status"] == FINISHED]
    return {
        "gap": curves.gap(analysis.gap),
        "errors": curves.errors(analysis.gap),
        "naive": curves.naive(analysis.gap),
        "gap_ends": scores.gap_ends(finished),
        "splits": scores.splits(finished),
        "scenes": scores.scenes(scene_scores(analysis.finished)),
        "calibration": scores.calibration(calibration_table(analysis.finished)),
        "disagreement": scores.disagreement(shares),
    }


def charts(analysis: Analysis, shares: pd.DataFrame) -> Charts:
    """Return each of FIGURES, or None if these runs have nothing to show in it."""
    drawn = _comparison_charts(analysis)
    if analysis.finished:
        drawn |= _charts_of_finished(analysis, shares)
    return {name: drawn.get(name) for name in FIGURES}


def variant_means(scored: pd.DataFrame, axes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return each variant's means over seeds, for `dvc metrics diff` and `dvc exp show`.

    A variant is named like a run without its seed. A mean that does not exist, such as the gap of a variant whose runs
    all failed, is left out.
    """
    names = ["-".join(str(row[axis]) for axis in variant_axes(axes)) or "all" for row in scored.to_dict("records")]
    means = scored.groupby(names, sort=False)[list(SHOWN)].mean()
    return {
        str(name): {str(key): float(value) for key, value in row.dropna().items()} for name, row in means.iterrows()
    }


def _svg(name: str, spec: dict[str, Any]) -> str:
    """Return a figure as SVG, whose ids are unique on the page and do not depend on figures drawn before it."""
    svg = vl_convert.vegalite_to_svg(spec)
    for number, element in enumerate(dict.fromkeys(re.findall(r'id="([^"]+)"', svg))):
        svg = svg.replace(f'id="{element}"', f'id="{name}-{number}"').replace(f"(#{element})", f"(#{name}-{number})")
    return svg


def _write_figures(out: Path, svgs: Mapping[str, str]) -> None:
    """Write each figure as SVG and PNG, and its caption for `snakemake --report`."""
    for name, svg in svgs.items():
        write_text(out / "figures" / f"{name}.svg", svg)
        with replacing(out / "png" / f"{name}.png") as draft:
            draft.write_bytes(vl_convert.svg_to_png(svg, scale=PIXELS))
        write_text(out / "captions" / f"{name}.rst", CAPTIONS[name] + "\n")


def _write_tables(out: Path, analysis: Analysis) -> None:
    tables = {"ablation": analysis.table, "gap": analysis.gap, "effects": analysis.effects, "pairs": analysis.pairs}
    for name, table in tables.items():
        write_text(out / f"{name}.csv", table.map(escaped).to_csv(index=False, lineterminator="\n"))
    write_json(out / "summary.json", variant_means(analysis.scored, analysis.axes))


def run(runs: Path, tiles: Path, out: Path, grid: Mapping[str, dict[str, Any]], config: Report, key: str) -> None:
    """Write index.html, summary.md, summary.json, the tables and the figures.

    Args:
        runs: Folder of the evaluated runs.
        tiles: Folder of the packed tiles.
        out: Folder to write to.
        grid: The axis values of each run, by its name.
        config: What counts as a difference, and as what.
        key: The report's own key, which the page states.

    Raises:
        InputError: A run or the tiles are missing, broken, or do not fit the grid.
    """
    analysis, packed = analyse(read_runs(runs, grid), config), read_packed(tiles)
    pictures, shares = failure_context(analysis, packed)
    drawn = charts(analysis, shares)
    specifications = {name: specification(chart or note(NOTHING)) for name, chart in drawn.items()}
    svgs = {name: _svg(name, spec) for name, spec in specifications.items()}
    figures = {name: {"svg": svgs[name], "specification": specifications[name]} for name in drawn if drawn[name]}
    values = {
        **context(analysis, config),
        **pictures,
        "data": overview.section(packed, read_rows(tiles / LEAKAGE)),
        "provenance": provenance.section(analysis.runs, tiles, key),
    }
    html, text = page.render(values, figures), page.summary(values)
    _write_figures(out, svgs)
    _write_tables(out, analysis)
    write_text(out / "summary.md", text)
    write_text(out / "index.html", html)
