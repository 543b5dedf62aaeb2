"""Charts of final scores: split against split, gaps at the best and last epoch, calibration, scenes, disagreement."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from fieldgap.analysis.inference import estimate
from fieldgap.report.charts.style import HEIGHT, LABEL, WIDTH, color, dash, diagonal, highlight, shape, tooltips

SIDE = WIDTH / 2 - 70
SPLITS = {"train": "training", "val": "validation", "test": "test"}
PANELS = {"val": "gap on validation", "test": "gap on test", "fresh": "population gap"}


def _against(table: pd.DataFrame, x: str, y: str, opacity: Any) -> alt.LayerChart:
    """Return the error on one split against that on another: a point per run, and a diagonal where they are equal."""
    data = table[["run", "variant"]].assign(x=1 - table[f"{x}_iou"], y=1 - table[f"{y}_iou"])
    low, high = float(data[["x", "y"]].min().min()) - 0.01, float(data[["x", "y"]].max().max()) + 0.01
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    names = list(data["variant"].unique())
    dots = (
        alt.Chart(data)
        .mark_point(filled=True, size=70)
        .encode(
            alt.X("x:Q", title=f"{SPLITS[x]} error", scale=scale),
            alt.Y("y:Q", title=f"{SPLITS[y]} error", scale=scale),
            color("variant", names),
            shape("variant", names),
            opacity=opacity,
            tooltip=["run:N", *tooltips(["x", "y"])],
        )
    )
    return (diagonal(low, high) + dots).properties(width=SIDE, height=SIDE)


def splits(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Return test error against training error, and test error against validation error.

    Args:
        table: The rows of `ablation.ablation_table` for finished runs, as for `gap_ends`.
    """
    clicked, opacity = highlight("variant")
    first, second = (_against(table, split, "test", opacity) for split in ("train", "val"))
    return alt.hconcat(first.add_params(clicked), second)


def gap_at_ends(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean gap of each variant at the best and at the last epoch, with its interval over seeds.

    The columns are variant, split, epoch, gap, low, high and seeds. The fresh scenes appear only where they were
    measured, and at the last epoch only.
    """
    columns = [
        (split, epoch, f"{prefix}gap_{split}_iou")
        for split in PANELS
        for epoch, prefix in (("best", "best_"), ("last", ""))
        if f"{prefix}gap_{split}_iou" in table
    ]
    rows = []
    for variant, group in table.groupby("variant", sort=False):
        for split, epoch, column in columns:
            gap = estimate(group[column].to_numpy(np.float64))
            row = {"variant": variant, "split": split, "epoch": epoch, "gap": float(gap.mean)}
            rows.append({**row, "low": float(gap.low), "high": float(gap.high), "seeds": int(gap.seeds)})
    return pd.DataFrame(rows)


def gap_ends(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Return gaps on held-out and fresh scenes, at each run's best and last epoch."""
    data = gap_at_ends(table)
    data["panel"] = data["split"].map(PANELS)
    panels, variants = list(data["panel"].unique()), list(data["variant"].unique())
    y = alt.Y("epoch:N", title=None, axis=alt.Axis(labels=False, ticks=False, domain=False))
    hover = ["variant:N", "epoch:N", *tooltips(["gap", "low", "high"]), "seeds:Q"]
    base = alt.Chart(data).encode(y, color("epoch", ["best", "last"]))
    bar = base.mark_rule(strokeWidth=3).encode(alt.X("low:Q", title="error - training error"), alt.X2("high:Q"))
    dot = base.mark_point(filled=True, size=60).encode(x="gap:Q", shape=shape("epoch", ["best", "last"]), tooltip=hover)
    header = alt.Header(labelAngle=0, labelAlign="left", labelLimit=LABEL)
    return (
        (bar + dot)
        .properties(width=2 * (SIDE - 60) / len(panels), height=26)
        .facet(
            row=alt.Row("variant:N", title=None, sort=variants, header=header),
            column=alt.Column("panel:N", title=None, sort=panels),
            spacing={"row": 4},
        )
    )


def reliability(bins: pd.DataFrame) -> pd.DataFrame:
    """Return mean confidence and share of correct pixels in each filled bin of the test split, by variant.

    Args:
        bins: Rows of calibration.csv with their variant.
    """
    test = bins[bins["split"] == "test"]
    pooled = test.groupby(["variant", "bin"], sort=False)[["pixels", "confidence", "right"]].sum().reset_index()
    pooled = pooled[pooled["pixels"] > 0]
    return pooled.assign(confidence=pooled["confidence"] / pooled["pixels"], correct=pooled["right"] / pooled["pixels"])


def calibration(bins: pd.DataFrame) -> alt.TopLevelMixin:
    """Return the share of correct test pixels against confidence, pooled over seeds; `bins` as for `reliability`."""
    data = reliability(bins)
    names = list(data["variant"].unique())
    clicked, opacity = highlight("variant")
    line = (
        alt.Chart(data)
        .mark_line(point=True)
        .encode(
            alt.X("confidence:Q", title="mean confidence", scale=alt.Scale(zero=False)),
            alt.Y("correct:Q", title="share of correct pixels", scale=alt.Scale(zero=False)),
            color("variant", names),
            dash("variant", names),
            opacity=opacity,
            tooltip=["variant:N", "pixels:Q", *tooltips(["confidence", "correct"])],
        )
    )
    low = float(data["confidence"].min())
    return (diagonal(low, 1.0) + line.add_params(clicked)).properties(width=HEIGHT * 1.2, height=HEIGHT * 1.2)


def scenes(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Return the IoU of each test scene and variant, mean over seeds, hardest scene first.

    Args:
        table: What `confusions.scene_scores` returns.
    """
    data = table.groupby(["scene", "variant"], sort=False)["iou"].mean().reset_index()
    order = list(data.groupby("scene")["iou"].mean().sort_values(kind="stable").index)
    names = list(table["variant"].unique())
    clicked, opacity = highlight("variant")
    dots = (
        alt.Chart(data)
        .mark_point(size=60, strokeWidth=2)
        .encode(
            alt.X("iou:Q", title="IoU", scale=alt.Scale(zero=False)),
            alt.Y("scene:N", title=None, sort=order, axis=alt.Axis(grid=True)),
            color("variant", names),
            shape("variant", names),
            opacity=opacity,
            tooltip=["scene:N", "variant:N", *tooltips(["iou"])],
        )
    )
    return dots.add_params(clicked).properties(width=WIDTH - 160, height=alt.Step(18))


def disagreement(shares: pd.DataFrame) -> alt.TopLevelMixin | None:
    """Return the share of test pixels on which runs of two variants differ, or None for a single run.

    Args:
        shares: The columns one, other and share.
    """
    shares = shares.dropna()
    if not len(shares):
        return None
    names = list(dict.fromkeys(shares["one"]))
    base = alt.Chart(shares).encode(
        alt.X("other:N", title=None, sort=names, axis=alt.Axis(labelAngle=-35, labelLimit=LABEL)),
        alt.Y("one:N", title=None, sort=names, axis=alt.Axis(labelLimit=LABEL)),
    )
    scale, legend = alt.Scale(scheme="cividis"), alt.Legend(format="%")
    fill = alt.Color("share:Q", title="share of pixels", scale=scale, legend=legend)
    middle = float((shares["share"].min() + shares["share"].max()) / 2)
    ink = alt.when(alt.datum.share > middle).then(alt.value("#000")).otherwise(alt.value("#fff"))
    cells = base.mark_rect().encode(fill, tooltip=["one:N", "other:N", *tooltips(["share"], ".2%")])
    labels = base.mark_text(fontSize=11).encode(text=alt.Text("share:Q", format=".1%"), color=ink)
    return (cells + labels).properties(width=alt.Step(56), height=alt.Step(30))
