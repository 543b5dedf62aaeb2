"""Charts over epochs, steps and layers."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from fieldgap.report.charts.style import HEIGHT, QUIET, WIDTH, color, dash, highlight, tooltips

EPOCH = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, grid=False))
PANEL = {"width": WIDTH / 2 - 50, "height": HEIGHT * 0.55}
SIGNALS = {
    "weight_std": "deviation of weights",
    "activation_std": "deviation of activations",
    "gradient_std": "deviation of gradients",
    "dead_share": "share of dead channels",
}


def over_seeds(data: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return mean, lowest and highest `value` over seeds, and their number, for each combination of `keys`."""
    summary = data.groupby(keys, sort=False)["value"].agg(mean="mean", lowest="min", highest="max", seeds="size")
    return summary.reset_index()


def _bands(base: alt.Chart, y: str, field: str, names: Sequence[str]) -> tuple[alt.Chart, alt.Chart]:
    """Return a band from the lowest to the highest seed, and the mean as a line, of what `over_seeds` returns."""
    colours = color(field, names)
    area = base.mark_area(opacity=0.18).encode(EPOCH, alt.Y("lowest:Q", title=y), alt.Y2("highest:Q"), colours)
    hover = ["variant:N", "epoch:Q", "seeds:Q", *tooltips(["mean", "lowest", "highest"])]
    line = base.mark_line(strokeWidth=2.5, point=alt.OverlayMarkDef(size=16))
    return area, line.encode(EPOCH, alt.Y("mean:Q", title=y), colours, dash(field, names), tooltip=hover)


def _by_variant(names: Sequence[str]) -> alt.Facet:
    return alt.Facet("variant:N", title=None, sort=names, header=alt.Header(labelLimit=WIDTH / 2))


def gap(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Return the generalization gap over epochs, a colour per variant.

    Args:
        table: What `ablation.gap_table` returns.
    """
    data = over_seeds(table.assign(value=table["gap"]), ["variant", "epoch"])
    clicked, opacity = highlight("variant")
    area, line = _bands(alt.Chart(data), "validation error - training error", "variant", list(data["variant"].unique()))
    faint = alt.when(clicked).then(alt.value(0.18)).otherwise(alt.value(0))
    zero = alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(strokeDash=[4, 4], color=QUIET).encode(y="zero:Q")
    lines = line.encode(opacity=opacity).add_params(clicked)
    return alt.layer(zero, area.encode(opacity=faint), lines).properties(width=WIDTH, height=HEIGHT)


def errors(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Return training and validation error over epochs, a panel per variant.

    Args:
        table: What `ablation.gap_table` returns.
    """
    data = table.melt(["variant", "epoch"], ["train_error", "val_error"], "split", "value")
    data["split"] = data["split"].map({"train_error": "training", "val_error": "validation"})
    summary = over_seeds(data, ["variant", "split", "epoch"])
    area, line = _bands(alt.Chart(), "error (1 - IoU)", "split", ["training", "validation"])
    panel = alt.layer(area, line, data=summary).properties(**PANEL)
    return panel.facet(_by_variant(list(summary["variant"].unique())), columns=2)


def naive(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Return the gap of the loss beside its gap against the running loss, median over seeds, a panel per variant.

    Args:
        table: What `ablation.gap_table` returns.
    """
    names = {"loss_gap": "true gap", "naive_gap": "gap against the running loss"}
    data = table.groupby(["variant", "epoch"], sort=False)[list(names)].median().reset_index()
    data = data.rename(columns=names).melt(["variant", "epoch"], list(names.values()), "kind", "gap")
    line = alt.Chart(data).mark_line(strokeWidth=2.5)
    hover = ["variant:N", "kind:N", "epoch:Q", *tooltips(["gap"])]
    gap_of_loss = alt.Y("gap:Q", title="gap of the loss")
    panel = line.encode(EPOCH, gap_of_loss, color("kind", list(names.values())), tooltip=hover).properties(**PANEL)
    return panel.facet(_by_variant(list(data["variant"].unique())), columns=2)


def rates(steps: pd.DataFrame) -> alt.TopLevelMixin:
    """Return the learning rate at each step; variants with the same curve share a line.

    Args:
        steps: The columns variant, step and lr.
    """
    curves = steps.groupby("variant", sort=False)["lr"].agg(tuple)
    shared = curves.groupby(curves, sort=False).transform(lambda same: " | ".join(same.index))
    data = steps.assign(curve=steps["variant"].map(shared)).drop_duplicates(["curve", "step"])
    names = list(data["curve"].unique())
    line = alt.Chart(data[["curve", "step", "lr"]]).mark_line(strokeWidth=2)
    return line.encode(
        alt.X("step:Q", title="step", axis=alt.Axis(grid=False)),
        alt.Y("lr:Q", title="learning rate"),
        color("curve", names, 1),
        dash("curve", names, 1),
        tooltip=["curve", "step", "lr"],
    ).properties(width=WIDTH, height=HEIGHT * 0.6)


def signals(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Return weights, activations, gradients and dead channels by layer before training, a colour per variant.

    Args:
        table: The columns variant and layer, and those of SIGNALS.
    """
    x = alt.X("layer:N", sort=list(table["layer"].unique()), title=None, axis=alt.Axis(labelAngle=-60))
    colours = color("variant", list(table["variant"].unique()))
    panels = []
    for column, title in SIGNALS.items():
        scale = alt.Scale(domain=[0, 1]) if column == "dead_share" else alt.Scale(type="log")
        line = alt.Chart(table[["variant", "layer", column]]).mark_line(point=True)
        panel = line.encode(x, alt.Y(f"{column}:Q", title=title, scale=scale), colours)
        panels.append(panel.properties(width=WIDTH, height=HEIGHT * 0.4))
    return alt.vconcat(*panels)
