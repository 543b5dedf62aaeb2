"""What all charts share: sizes, and colours that colour-blind readers tell apart, beyond seven by dash and shape."""

from __future__ import annotations

import json
import re
from typing import Any

import altair as alt
import pandas as pd

# Okabe and Ito's colours, told apart under colour blindness.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DASHES = [[1, 0], [6, 3], [2, 2], [9, 3, 2, 3]]
SHAPES = ["circle", "triangle-up", "square", "diamond"]
ACCENT, QUIET = PALETTE[0], "#888888"
WIDTH, HEIGHT = 720, 290


def cycled(values: list[Any], names: list[str]) -> list[Any]:
    """-> for each name its value; the next value is taken once all colours were used with this one."""
    return [values[i // len(PALETTE) % len(values)] for i in range(len(names))]


def legend(columns: int, **more: Any) -> alt.Legend:
    return alt.Legend(orient="bottom", columns=columns, labelLimit=WIDTH, title=None, symbolOpacity=1, **more)


def colours(names: list[str]) -> alt.Scale:
    """-> a fixed colour a name."""
    return alt.Scale(domain=names, range=[PALETTE[i % len(PALETTE)] for i in range(len(names))])


def color(field: str, names: list[str], columns: int = 2) -> alt.Color:
    """-> a fixed colour a name, explained below the chart."""
    return alt.Color(f"{field}:N", scale=colours(names), legend=legend(columns, symbolStrokeWidth=3))


def dash(field: str, names: list[str], columns: int = 2) -> alt.StrokeDash:
    """-> the dashes that tell apart lines of one colour; their legend melts into that of color()."""
    scale = alt.Scale(domain=names, range=cycled(DASHES, names))
    return alt.StrokeDash(f"{field}:N", scale=scale, legend=legend(columns, symbolStrokeWidth=3))


def shape(field: str, names: list[str], columns: int = 2) -> alt.Shape:
    """-> the shapes that tell apart points of one colour; their legend melts into that of color()."""
    scale = alt.Scale(domain=names, range=cycled(SHAPES, names))
    return alt.Shape(f"{field}:N", scale=scale, legend=legend(columns, symbolStrokeWidth=3))


def switch(field: str) -> tuple[alt.Parameter, Any]:
    """-> a selection by clicks in the legend (with shift for several), and the opacity that follows it."""
    clicked = alt.selection_point(fields=[field], bind="legend", name="chosen")
    return clicked, alt.when(clicked).then(alt.value(1)).otherwise(alt.value(0.06))


def note(text: str) -> alt.TopLevelMixin:
    """What stands in for a figure that this grid has nothing to show in."""
    return alt.Chart(pd.DataFrame([{"one": 1}])).mark_text(text=text, fontSize=14).properties(width=WIDTH, height=40)


def diagonal(low: float, high: float) -> alt.Chart:
    """-> the line where both axes are equal, from end to end of them."""
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    ends = pd.DataFrame({"x": [low, high], "y": [low, high]})
    line = alt.Chart(ends).mark_line(strokeDash=[4, 4], color=QUIET)
    return line.encode(alt.X("x:Q", scale=scale), alt.Y("y:Q", scale=scale))


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """-> the chart as Vega-Lite, dressed like all others."""
    dressed = (
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
    text = json.dumps(dressed.to_dict())
    names = list(dict.fromkeys(re.findall(r'"view_\w+"', text)))  # Taken from data as this terminal would show them.
    for number, name in enumerate(names):
        text = text.replace(name, f'"view {number}"')
    return json.loads(text)
