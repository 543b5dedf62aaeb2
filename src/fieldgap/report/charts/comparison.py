"""Charts of effects: differences with their intervals, interactions, and where training diverges."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from fieldgap.analysis.contrasts import MAIN
from fieldgap.analysis.effects import OUTCOMES
from fieldgap.analysis.runs import FINISHED
from fieldgap.report.charts.style import ACCENT, HEIGHT, LABEL, PALETTE, QUIET, WIDTH, colours, tooltips

CELL = 110  # px, width of a cell of the chart of divergence.
ROW = 34  # px, height of a row or cell.


def _margin_band(margin: float) -> alt.LayerChart:
    """Return the differences that are too small to matter, and a line at 0."""
    base = alt.Chart(pd.DataFrame([{"margin": margin, "low": -margin, "high": margin}]))
    x = alt.X("low:Q", title="difference", scale=alt.Scale(padding=12))
    tooltip = [alt.Tooltip("high:Q", title="margin")]
    band = base.mark_rect(opacity=0.15, color=QUIET).encode(x=x, x2="high:Q", tooltip=tooltip)
    return band + base.mark_rule(strokeDash=[4, 4], color=QUIET).encode(x=alt.datum(0))


def _differences_in(outcome: str, effects: pd.DataFrame, pairs: pd.DataFrame) -> Any:
    rows, dots = (table[table["outcome"] == outcome] for table in (effects, pairs))
    y = alt.Y("effect:N", title=None, sort=list(rows["effect"]), axis=alt.Axis(labelLimit=LABEL))
    points = alt.Chart(dots[["effect", "pair", "difference"]]).mark_point(opacity=0.75, color=ACCENT, size=36)
    base = alt.Chart(rows[["effect", "difference", "low", "high", "verdict", "seeds"]])
    hover = ["effect:N", *tooltips(["difference", "low", "high"], "+.4f"), "seeds:Q", "verdict:N"]
    direction = "more" if OUTCOMES[outcome].more_is_better else "less"
    return alt.layer(
        _margin_band(rows["margin"].iloc[0]),
        base.mark_rule(strokeWidth=4, color=PALETTE[1]).encode(y, x="low:Q", x2="high:Q", tooltip=hover),
        points.encode(y, x="difference:Q", tooltip=["pair:N", *tooltips(["difference"], "+.4f")]),
        base.mark_tick(thickness=4, size=20, color=PALETTE[1]).encode(y, x="difference:Q", tooltip=hover),
    ).properties(title=f"{OUTCOMES[outcome].words} ({direction} is better)", width=WIDTH - 340, height=ROW * len(rows))


def differences(effects: pd.DataFrame, pairs: pd.DataFrame, outcomes: Sequence[str]) -> alt.TopLevelMixin | None:
    """Return the main effects on each of `outcomes`, one panel each, or None if there is only one variant.

    Args:
        effects: What `effects.effects` returns.
        pairs: What `effects.pairs` returns.
        outcomes: Keys of OUTCOMES.
    """
    if not len(pairs):
        return None
    main = effects[effects["kind"] == MAIN]
    panels = (_differences_in(outcome, main, pairs) for outcome in outcomes)
    return alt.vconcat(*panels).resolve_scale(x="independent")


def _interaction(scored: pd.DataFrame, one: str, other: str, outcome: str) -> alt.LayerChart:
    data = pd.DataFrame({one: scored[one].astype(str), other: scored[other].astype(str)})
    data = data.assign(value=scored[outcome], run=scored["run"]).dropna()
    x = alt.X(f"{one}:N", sort=list(dict.fromkeys(data[one])), axis=alt.Axis(labelAngle=0))
    y = alt.Y("value:Q", title=OUTCOMES[outcome].words, scale=alt.Scale(zero=False))
    scale = colours(list(dict.fromkeys(data[other])))
    colour = alt.Color(f"{other}:N", scale=scale, title=other, legend=alt.Legend(orient="right"))
    base = alt.Chart(data).encode(x, y, colour)
    dots = base.mark_point(opacity=0.6).encode(tooltip=["run:N", *tooltips(["value"])])
    means = base.mark_line(strokeWidth=2.5).encode(y=alt.Y("mean(value):Q", title=OUTCOMES[outcome].words))
    return (means + dots).properties(width=WIDTH - 180, height=HEIGHT * 0.6)


def interactions(scored: pd.DataFrame, axes: Sequence[str], outcome: str) -> alt.TopLevelMixin | None:
    """Return a panel for every two axes, or None for a single one: a line per level of the second axis, a dot per run.

    Args:
        scored: What `effects.score_failures` returns.
        axes: The axes without the seed.
        outcome: A key of OUTCOMES.
    """
    panels = [_interaction(scored, one, other, outcome) for one, other in itertools.combinations(axes, 2)]
    return alt.vconcat(*panels).resolve_scale(color="independent") if panels else None


def _cells(scored: pd.DataFrame, others: Sequence[str]) -> pd.DataFrame:
    """Return panel, lr, warmup_epochs, val_iou, failed, runs and label of each cell."""
    panels = scored[others].astype(str).apply(lambda row: ", ".join(f"{k} {v}" for k, v in row.items()), axis=1)
    keyed = scored.assign(panel=panels if others else "", failed=scored["status"] != FINISHED)
    cells = keyed.groupby(["panel", "lr", "warmup_epochs"], sort=False)
    data = cells.agg(val_iou=("val_iou", "mean"), failed=("failed", "sum"), runs=("failed", "size")).reset_index()
    data["label"] = [
        f"{failed} of {runs} diverged" if failed else f"{iou:.3f}"
        for iou, failed, runs in zip(data["val_iou"], data["failed"], data["runs"], strict=True)
    ]
    return data


def divergence(scored: pd.DataFrame, axes: Sequence[str]) -> alt.TopLevelMixin | None:
    """Return learning rate against warm-up, or None if the grid does not cross them.

    A cell shows the mean validation IoU, or how many of its runs diverged. An edge marks the rate below which no run
    diverged.

    Args:
        scored: What `effects.score_failures` returns.
        axes: The axes without the seed.
    """
    if not {"lr", "warmup_epochs"} <= set(axes):
        return None
    data = _cells(scored, [axis for axis in axes if axis not in ("lr", "warmup_epochs")])
    first = data[data["failed"] > 0].groupby(["panel", "warmup_epochs"], sort=False)["lr"].min().reset_index()
    falling = sorted(data["lr"].unique(), reverse=True)
    x = alt.X("warmup_epochs:O", title="warm-up epochs", axis=alt.Axis(labelAngle=0))
    base = alt.Chart(data).encode(x, alt.Y("lr:O", title="peak learning rate", sort=falling))
    fill = alt.Color("val_iou:Q", title="validation IoU", scale=alt.Scale(scheme="cividis"))
    hover = ["panel:N", "lr:Q", "warmup_epochs:Q", *tooltips(["val_iou"]), "failed:Q", "runs:Q"]
    ink = alt.when(alt.datum.val_iou > data["val_iou"].mean()).then(alt.value("#000")).otherwise(alt.value("#fff"))
    edge = alt.Chart(first).mark_tick(orient="horizontal", opacity=1, thickness=5, color=PALETTE[1], bandSize=CELL)
    layers = (
        base.mark_rect(stroke="white").encode(fill, tooltip=hover),
        base.mark_text(fontSize=11).encode(text="label:N", color=ink),
        edge.encode(x, alt.Y("lr:O", sort=falling, bandPosition=1)),
    )
    size = {"width": CELL * data["warmup_epochs"].nunique(), "height": ROW * len(falling)}
    panels = [
        alt.layer(*(layer.transform_filter(alt.datum.panel == name) for layer in layers)).properties(title=name, **size)
        for name in dict.fromkeys(data["panel"])
    ]
    return alt.concat(*panels, columns=2)
