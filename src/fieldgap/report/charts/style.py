"""Sizes, colours and marks that all charts share; beyond seven names, dashes and shapes distinguish them too."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

# The colours of Okabe and Ito, which colour-blind readers can distinguish.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DASHES = [[1, 0], [6, 3], [2, 2], [9, 3, 2, 3]]
SHAPES = ["circle", "triangle-up", "square", "diamond"]
ACCENT, QUIET = PALETTE[0], "#888888"
WIDTH, HEIGHT = 720, 290  # px of a whole chart.
LABEL = 400  # px that the name of a comparison or variant may take; cut off, names of large grids look the same.


def _cycled(values: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Return a value for each name, going on to the next value when every colour was used with one."""
    return [values[i // len(PALETTE) % len(values)] for i in range(len(names))]


def _legend(columns: int) -> alt.Legend:
    return alt.Legend(
        orient="bottom", columns=columns, labelLimit=WIDTH, title=None, symbolOpacity=1, symbolStrokeWidth=3
    )


def colours(names: Sequence[str]) -> alt.Scale:
    """Return a scale with a fixed colour for each name."""
    return alt.Scale(domain=names, range=[PALETTE[i % len(PALETTE)] for i in range(len(names))])


def color(field: str, names: Sequence[str], columns: int = 2) -> alt.Color:
    """Return a fixed colour for each name, explained below the chart."""
    return alt.Color(f"{field}:N", scale=colours(names), legend=_legend(columns))


def dash(field: str, names: Sequence[str], columns: int = 2) -> alt.StrokeDash:
    """Return dashes that distinguish lines of one colour; their legend merges with that of `color`."""
    scale = alt.Scale(domain=names, range=_cycled(DASHES, names))
    return alt.StrokeDash(f"{field}:N", scale=scale, legend=_legend(columns))


def shape(field: str, names: Sequence[str], columns: int = 2) -> alt.Shape:
    """Return shapes that distinguish points of one colour; their legend merges with that of `color`."""
    scale = alt.Scale(domain=names, range=_cycled(SHAPES, names))
    return alt.Shape(f"{field}:N", scale=scale, legend=_legend(columns))


def highlight(field: str) -> tuple[alt.Parameter, Any]:
    """Return a selection by clicks in the legend (with shift for several), and the opacity that follows it."""
    clicked = alt.selection_point(fields=[field], bind="legend", name="chosen")
    return clicked, alt.when(clicked).then(alt.value(1)).otherwise(alt.value(0.06))


def tooltips(names: Sequence[str], form: str = ".4f") -> list[alt.Tooltip]:
    """Return tooltips for columns of numbers."""
    return [alt.Tooltip(f"{name}:Q", format=form) for name in names]


def note(text: str) -> alt.TopLevelMixin:
    """Return a line of text in place of a figure that these runs have nothing to show in."""
    return alt.Chart(pd.DataFrame([{"one": 1}])).mark_text(text=text, fontSize=14).properties(width=WIDTH, height=40)


def diagonal(low: float, high: float) -> alt.Chart:
    """Return the line from end to end on which both axes are equal."""
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    ends = pd.DataFrame({"x": [low, high], "y": [low, high]})
    line = alt.Chart(ends).mark_line(strokeDash=[4, 4], color=QUIET)
    return line.encode(alt.X("x:Q", scale=scale), alt.Y("y:Q", scale=scale))


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """Return the chart as Vega-Lite in the style of the report."""
    styled = (
        chart.configure_view(stroke=None)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            gridOpacity=0.5,
            labelLimit=260,
            labelFlush=False,
        )
        .configure_legend(labelFontSize=12)
        .configure_header(labelFontSize=12, labelFontWeight="bold", labelLimit=WIDTH)
        .configure_title(fontSize=13, anchor="start")
    )
    text = json.dumps(styled.to_dict())
    # Altair derives these names from the data as this terminal would print them.
    for number, name in enumerate(dict.fromkeys(re.findall(r'"view_\w+"', text))):
        text = text.replace(name, f'"view {number}"')
    return json.loads(text)
