"""Charts of final scores: split against split, gaps at the best and last epoch, calibration, scenes, disagreement."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from fieldgap.analysis.inference import student
from fieldgap.report.charts.style import HEIGHT, WIDTH, color, dash, diagonal, shape, switch

SIDE = WIDTH / 2 - 70
PANELS = {"val": "gap on validation", "test": "gap on test", "fresh": "population gap"}


def against(table: pd.DataFrame, x: str, y: str, opacity: Any) -> alt.LayerChart:
    """-> the error on one split against that on another: a point a run, the diagonal where they are equal."""
    words = {"train": "training", "val": "validation", "test": "test"}
    data = table[["run", "variant"]].assign(x=1 - table[f"{x}_iou"], y=1 - table[f"{y}_iou"])
    low, high = float(data[["x", "y"]].min().min()) - 0.01, float(data[["x", "y"]].max().max()) + 0.01
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    names = list(data["variant"].unique())
    dots = (
        alt.Chart(data)
        .mark_point(filled=True, size=70)
        .encode(
            alt.X("x:Q", title=f"{words[x]} error", scale=scale),
            alt.Y("y:Q", title=f"{words[y]} error", scale=scale),
            color("variant", names),
            shape("variant", names),
            opacity=opacity,
            tooltip=["run:N", alt.Tooltip("x:Q", format=".4f"), alt.Tooltip("y:Q", format=".4f")],
        )
    )
    return (diagonal(low, high) + dots).properties(width=SIDE, height=SIDE)


def splits(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Test against training error, and test against validation error. table: that of compare.ablation()."""
    clicked, opacity = switch("variant")
    first, second = (against(table, split, "test", opacity) for split in ("train", "val"))
    return alt.hconcat(first.add_params(clicked), second)


def ends(table: pd.DataFrame) -> pd.DataFrame:
    """-> variant, split, epoch, gap, low, high: the mean gap at the best and last epoch, its interval over seeds.

    Fresh scenes are there only where they were measured, and at the last epoch alone.
    """
    rows = []
    for variant, group in table.groupby("variant", sort=False):
        for split, epoch, column in (
            (split, epoch, f"{prefix}gap_{split}_iou")
            for split in PANELS
            for epoch, prefix in (("best", "best_"), ("last", ""))
            if f"{prefix}gap_{split}_iou" in group
        ):
            found = student(group[column].to_numpy(np.float64))
            rows.append(
                {"variant": variant, "split": split, "epoch": epoch, "gap": float(found.mean)}
                | {"low": float(found.low), "high": float(found.high), "seeds": int(found.seeds)}
            )
    return pd.DataFrame(rows)


def gap_ends(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Gaps on held-out and fresh scenes at each run's best and last epoch. table: that of compare.ablation()."""
    data = ends(table)
    data["panel"] = data["split"].map(PANELS)
    panels = list(data["panel"].unique())
    y = alt.Y("epoch:N", title=None, axis=alt.Axis(labels=False, ticks=False, domain=False))
    hover = [
        "variant:N",
        "epoch:N",
        *(alt.Tooltip(f"{name}:Q", format=".4f") for name in ("gap", "low", "high")),
        "seeds:Q",
    ]
    base = alt.Chart(data).encode(y, color("epoch", ["best", "last"]))
    bar = base.mark_rule(strokeWidth=3).encode(alt.X("low:Q", title="gap (error - training error)"), alt.X2("high:Q"))
    dot = base.mark_point(filled=True, size=60).encode(x="gap:Q", shape=shape("epoch", ["best", "last"]), tooltip=hover)
    header = alt.Header(labelAngle=0, labelAlign="left", labelLimit=260)
    return (
        (bar + dot)
        .properties(width=2 * (SIDE - 60) / len(panels), height=26)
        .facet(
            row=alt.Row("variant:N", title=None, sort=list(data["variant"].unique()), header=header),
            column=alt.Column("panel:N", title=None, sort=panels),
            spacing={"row": 4},
        )
    )


def reliability(bins: pd.DataFrame) -> pd.DataFrame:
    """Rows of calibration.csv with their variant -> means of confidence and right of each filled test bin."""
    test = bins[bins["split"] == "test"]
    pooled = test.groupby(["variant", "bin"], sort=False)[["pixels", "confidence", "right"]].sum().reset_index()
    pooled = pooled[pooled["pixels"] > 0]
    return pooled.assign(confidence=pooled["confidence"] / pooled["pixels"], right=pooled["right"] / pooled["pixels"])


def calibration(bins: pd.DataFrame) -> alt.TopLevelMixin:
    """Share of right test pixels against confidence, pooled over seeds; on the diagonal confidence is earned."""
    data = reliability(bins)
    names = list(data["variant"].unique())
    clicked, opacity = switch("variant")
    line = (
        alt.Chart(data)
        .mark_line(point=True)
        .encode(
            alt.X("confidence:Q", title="mean confidence", scale=alt.Scale(zero=False)),
            alt.Y("right:Q", title="share of right pixels", scale=alt.Scale(zero=False)),
            color("variant", names),
            dash("variant", names),
            opacity=opacity,
            tooltip=["variant:N", "pixels:Q", *(alt.Tooltip(f"{n}:Q", format=".4f") for n in ("confidence", "right"))],
        )
    )
    low = float(data["confidence"].min())
    return (diagonal(low, 1.0) + line.add_params(clicked)).properties(width=HEIGHT * 1.2, height=HEIGHT * 1.2)


def scenes(table: pd.DataFrame) -> alt.TopLevelMixin:
    """IoU of each test scene and variant, mean over seeds, hardest scene first. table: scene, variant, iou."""
    data = table.groupby(["scene", "variant"], sort=False)["iou"].mean().reset_index()
    order = list(data.groupby("scene")["iou"].mean().sort_values(kind="stable").index)
    names = list(table["variant"].unique())
    clicked, opacity = switch("variant")
    dots = (
        alt.Chart(data)
        .mark_point(size=60, strokeWidth=2)
        .encode(
            alt.X("iou:Q", title="IoU", scale=alt.Scale(zero=False)),
            alt.Y("scene:N", title=None, sort=order, axis=alt.Axis(grid=True)),
            color("variant", names),
            shape("variant", names),
            opacity=opacity,
            tooltip=["scene:N", "variant:N", alt.Tooltip("iou:Q", format=".4f")],
        )
    )
    return dots.add_params(clicked).properties(width=WIDTH - 160, height=alt.Step(18))


def disagreement(shares: pd.DataFrame) -> alt.TopLevelMixin | None:
    """Share of test pixels on which a run of one variant and a run of another differ; None of a single run.

    shares: one, other, share.
    """
    shares = shares.dropna()
    if not len(shares):
        return None
    names = list(dict.fromkeys(shares["one"]))
    base = alt.Chart(shares).encode(
        alt.X("other:N", title=None, sort=names, axis=alt.Axis(labelAngle=-35)), alt.Y("one:N", title=None, sort=names)
    )
    fill = alt.Color(
        "share:Q", title="share of pixels", scale=alt.Scale(scheme="cividis"), legend=alt.Legend(format="%")
    )
    middle = float((shares["share"].min() + shares["share"].max()) / 2)
    ink = alt.when(alt.datum.share > middle).then(alt.value("#000")).otherwise(alt.value("#fff"))
    cells = base.mark_rect().encode(fill, tooltip=["one:N", "other:N", alt.Tooltip("share:Q", format=".2%")])
    drawn = cells + base.mark_text(fontSize=11).encode(text=alt.Text("share:Q", format=".1%"), color=ink)
    return drawn.properties(width=alt.Step(56), height=alt.Step(30))
