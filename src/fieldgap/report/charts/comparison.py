"""Charts of effects: differences with their intervals, interactions, and where training diverges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from fieldgap.analysis.ablation import FINISHED
from fieldgap.analysis.effects import MAIN, OUTCOMES
from fieldgap.report.charts.style import ACCENT, HEIGHT, PALETTE, QUIET, WIDTH, colours

WIDE = 110  # px of a cell.
ROW = 34  # px, of one effect


def panel(effects: pd.DataFrame, pairs: pd.DataFrame, outcome: str) -> Any:
    """-> each pair's difference as a dot, the mean with its interval, and the margin that is too small to matter."""
    rows, dots = (each[each["outcome"] == outcome] for each in (effects, pairs))
    kind = OUTCOMES[outcome]
    title = f"{kind.words} ({'more' if kind.more_is_better else 'less'} is better)"
    y = alt.Y("effect:N", title=None, sort=list(rows["effect"]), axis=alt.Axis(labelLimit=240))
    margin = rows.iloc[:1][["margin"]].assign(low=-rows["margin"].iloc[0], high=rows["margin"].iloc[0])
    band = (
        alt.Chart(margin)
        .mark_rect(opacity=0.15, color=QUIET)
        .encode(
            x=alt.X("low:Q", title="difference", scale=alt.Scale(padding=12)),
            x2="high:Q",
            tooltip=[alt.Tooltip("high:Q", title="margin")],
        )
    )
    zero = alt.Chart(margin).mark_rule(strokeDash=[4, 4], color=QUIET).encode(x=alt.datum(0))
    points = alt.Chart(dots[["effect", "pair", "difference"]]).mark_point(opacity=0.75, color=ACCENT, size=36)
    base = alt.Chart(rows[["effect", "difference", "low", "high", "verdict", "seeds"]])
    hover = ["effect:N", *(alt.Tooltip(f"{name}:Q", format="+.4f") for name in ("difference", "low", "high"))]
    hover += ["seeds:Q", "verdict:N"]
    return alt.layer(
        band,
        zero,
        base.mark_rule(strokeWidth=4, color=PALETTE[1]).encode(y, x="low:Q", x2="high:Q", tooltip=hover),
        points.encode(y, x="difference:Q", tooltip=["pair:N", alt.Tooltip("difference:Q", format="+.4f")]),
        base.mark_tick(thickness=4, size=20, color=PALETTE[1]).encode(y, x="difference:Q", tooltip=hover),
    ).properties(title=title, width=WIDTH - 280, height=ROW * len(rows))


def differences(effects: pd.DataFrame, pairs: pd.DataFrame, outcomes: Sequence[str]) -> alt.TopLevelMixin | None:
    """The main effects on each of `outcomes`, a panel each; None of one variant. The tables are those of effects.py."""
    if not len(pairs):
        return None
    main = effects[effects["kind"] == MAIN]
    return alt.vconcat(*(panel(main, pairs, outcome) for outcome in outcomes)).resolve_scale(x="independent")


def interactions(counts: pd.DataFrame, axes: Sequence[str], outcome: str) -> alt.TopLevelMixin | None:
    """How the levels of each two axes go together: a line a level of the second one, runs as dots; None of one axis."""
    panels = []
    for i, one in enumerate(axes):
        for other in axes[i + 1 :]:
            data = pd.DataFrame({one: counts[one].astype(str), other: counts[other].astype(str)})
            data = data.assign(value=counts[outcome], run=counts["run"]).dropna()
            names = list(dict.fromkeys(data[other]))
            x = alt.X(f"{one}:N", sort=list(dict.fromkeys(data[one])), axis=alt.Axis(labelAngle=0))
            y = alt.Y("value:Q", title=OUTCOMES[outcome].words, scale=alt.Scale(zero=False))
            colors = alt.Color(f"{other}:N", scale=colours(names), title=other, legend=alt.Legend(orient="right"))
            base = alt.Chart(data).encode(x, y, colors)
            dots = base.mark_point(opacity=0.6).encode(tooltip=["run:N", alt.Tooltip("value:Q", format=".4f")])
            means = base.mark_line(strokeWidth=2.5).encode(y=alt.Y("mean(value):Q", title=OUTCOMES[outcome].words))
            panels.append((means + dots).properties(width=WIDTH - 180, height=HEIGHT * 0.6))
    return alt.vconcat(*panels).resolve_scale(color="independent") if panels else None


def divergence(counts: pd.DataFrame, axes: Sequence[str]) -> alt.TopLevelMixin | None:
    """Rate against warm-up: the mean validation IoU of each cell, and how many of its runs diverged; None without both.

    An edge marks the rate below which no run diverged.
    """
    if not {"lr", "warmup_epochs"} <= set(axes):
        return None
    others = [axis for axis in axes if axis not in ("lr", "warmup_epochs")]
    panel = counts[others].astype(str).apply(lambda row: ", ".join(f"{k} {v}" for k, v in row.items()), axis=1)
    keyed = counts.assign(panel=panel if others else "", failed=counts["status"] != FINISHED)
    cells = keyed.groupby(["panel", "lr", "warmup_epochs"], sort=False)
    data = cells.agg(val_iou=("val_iou", "mean"), failed=("failed", "sum"), runs=("failed", "size")).reset_index()
    data["told"] = [
        f"{failed} of {runs} diverged" if failed else f"{iou:.3f}"
        for iou, failed, runs in zip(data["val_iou"], data["failed"], data["runs"], strict=True)
    ]
    first = data[data["failed"] > 0].groupby(["panel", "warmup_epochs"], sort=False)["lr"].min().reset_index()
    rates = sorted(data["lr"].unique())
    x = alt.X("warmup_epochs:O", title="warm-up epochs", axis=alt.Axis(labelAngle=0))
    y = alt.Y("lr:O", title="peak learning rate", sort=rates[::-1])
    base = alt.Chart(data).encode(x, y)
    fill = alt.Color("val_iou:Q", title="validation IoU", scale=alt.Scale(scheme="cividis"))
    hover = ["panel:N", "lr:Q", "warmup_epochs:Q", alt.Tooltip("val_iou:Q", format=".4f"), "failed:Q", "runs:Q"]
    dark = alt.when(alt.datum.val_iou > data["val_iou"].mean()).then(alt.value("#000")).otherwise(alt.value("#fff"))
    edge = (
        alt.Chart(first)
        .mark_tick(orient="horizontal", opacity=1, thickness=5, color=PALETTE[1], bandSize=WIDE)
        .encode(x, alt.Y("lr:O", sort=rates[::-1], bandPosition=1))
    )
    drawn = [
        alt.layer(
            *(
                layer.transform_filter(alt.datum.panel == name)
                for layer in (
                    base.mark_rect(stroke="white").encode(fill, tooltip=hover),
                    base.mark_text(fontSize=11).encode(text="told:N", color=dark),
                    edge,
                )
            )
        ).properties(title=name, width=WIDE * data["warmup_epochs"].nunique(), height=ROW * len(rates))
        for name in dict.fromkeys(data["panel"])
    ]
    return alt.concat(*drawn, columns=2)
