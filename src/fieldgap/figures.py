"""The report's figures as Vega-Lite charts: pure functions of the tables that the report writes as CSV."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

# Okabe and Ito's colours, told apart under colour blindness.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
WIDTH, HEIGHT = 840, 340
EPOCH = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, grid=False))


def color(field: str, names: list[str], columns: int) -> alt.Color:
    """-> a fixed colour a name, explained below the chart."""
    scale = alt.Scale(domain=names, range=[PALETTE[i % len(PALETTE)] for i in range(len(names))])
    legend = alt.Legend(
        orient="bottom", columns=columns, labelLimit=WIDTH, title=None, symbolOpacity=1, symbolStrokeWidth=3
    )
    return alt.Color(f"{field}:N", scale=scale, legend=legend)


def bands(data: pd.DataFrame, y: alt.Y, field: str, colors: alt.Color, opacity: Any) -> alt.LayerChart:
    """-> each seed as a thin line and the mean over seeds as a thick one. data: epoch, run, value, `field`."""
    base = alt.Chart(data).encode(EPOCH, y, colors, opacity=opacity)
    seeds = base.mark_line(strokeWidth=1, strokeOpacity=0.35).encode(detail="run:N")
    hover = [field, "epoch", alt.Tooltip("mean(value):Q", title="mean over seeds", format=".4f")]
    return seeds + base.mark_line(strokeWidth=3).encode(y=y.copy().aggregate("mean"), tooltip=hover)


def facet(field: str, names: list[str]) -> alt.Facet:
    header = alt.Header(labelLimit=WIDTH / 2, labelFontWeight="bold")
    return alt.Facet(f"{field}:N", title=None, sort=names, header=header)


def gap(table: pd.DataFrame) -> alt.TopLevelMixin:
    """The generalization gap over epochs, a colour a variant. table: run, variant, epoch, gap."""
    data = table[["run", "variant", "epoch"]].assign(value=table["gap"])
    clicked = alt.selection_point(fields=["variant"], bind="legend")
    opacity = alt.when(clicked).then(alt.value(1)).otherwise(alt.value(0.05))
    y = alt.Y("value:Q", title="validation error - training error (1 - IoU)")
    zero = alt.Chart().mark_rule(strokeDash=[4, 4], color="#888").encode(y=alt.datum(0))
    lines = bands(data, y, "variant", color("variant", list(data["variant"].unique()), 2), opacity)
    return alt.layer(zero, lines, data=data).properties(width=WIDTH, height=HEIGHT).add_params(clicked)


def errors(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Training and validation error over epochs, a panel a variant. table: run, variant, epoch, the two errors."""
    data = table.melt(["run", "variant", "epoch"], ["train_error", "val_error"], "split", "value")
    data["split"] = data["split"].map({"train_error": "training", "val_error": "validation"})
    y = alt.Y("value:Q", title="error (1 - IoU)")
    panel = bands(data, y, "split", color("split", ["training", "validation"], 2), alt.value(1))
    sized = panel.properties(width=WIDTH / 2 - 40, height=HEIGHT * 0.6)
    return sized.facet(facet("variant", list(data["variant"].unique())), columns=2)


def rates(steps: pd.DataFrame) -> alt.TopLevelMixin:
    """The learning rate in force at each step; variants that share a curve share a line. steps: variant, step, lr."""
    curves = steps.groupby("variant", sort=False)["lr"].agg(tuple)
    shared = curves.groupby(curves, sort=False).transform(lambda same: " | ".join(same.index))
    data = steps.assign(curve=steps["variant"].map(shared)).drop_duplicates(["curve", "step"])
    x = alt.X("step:Q", title="step", axis=alt.Axis(grid=False))
    line = alt.Chart(data[["curve", "step", "lr"]]).mark_line(strokeWidth=2)
    colors = color("curve", list(data["curve"].unique()), 1)
    drawn = line.encode(x, alt.Y("lr:Q", title="learning rate"), colors, tooltip=["curve", "step", "lr"])
    return drawn.properties(width=WIDTH, height=HEIGHT * 0.6)


def nothing() -> alt.TopLevelMixin:
    """What stands in for the effects of a grid without an axis to compare."""
    return alt.Chart(pd.DataFrame([{"one": 1}])).mark_text(text="One variant: nothing to compare.", fontSize=14)


def differences(points: pd.DataFrame) -> alt.TopLevelMixin:
    """Each pair's difference with the mean and its interval. points: effect, outcome, pair, difference, low, high."""
    base = alt.Chart(points).encode(alt.Y("outcome:N", title=None, sort=list(points["outcome"].unique())))
    dots = base.mark_point(opacity=0.7, color=PALETTE[0]).encode(
        alt.X("difference:Q", title="difference"), tooltip=["pair", "difference"]
    )
    interval = base.mark_rule(strokeWidth=3, color=PALETTE[1]).encode(x="min(low):Q", x2="max(high):Q")
    mean = base.mark_tick(thickness=3, size=16, color=PALETTE[1]).encode(x="mean(difference):Q")
    zero = base.mark_rule(strokeDash=[4, 4], color="#888").encode(
        x=alt.datum(0), y=alt.value(0), y2=alt.value("height")
    )
    panel = alt.layer(zero, interval, dots, mean).properties(width=WIDTH / 2 - 110, height=150)
    return panel.facet(facet("effect", list(points["effect"].unique())), columns=2)


def signals(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Weights, activations, gradients and dead channels at the start, layer by layer, a colour a variant."""
    titles = {
        "weight_std": "weights' deviation",
        "activation_std": "activations' deviation",
        "gradient_std": "gradients' deviation",
        "dead_share": "share of dead channels",
    }
    names, layers = list(table["variant"].unique()), list(table["layer"].unique())
    x = alt.X("layer:N", sort=layers, title=None, axis=alt.Axis(labelAngle=-60))
    panels = []
    for column, title in titles.items():
        scale = alt.Scale(domain=[0, 1]) if column == "dead_share" else alt.Scale(type="log")
        y = alt.Y(f"{column}:Q", title=title, scale=scale)
        line = alt.Chart(table[["variant", "layer", column]]).mark_line(point=True)
        panels.append(line.encode(x, y, color("variant", names, 2)).properties(width=WIDTH, height=HEIGHT * 0.4))
    return alt.vconcat(*panels)
