"""Charts over epochs, steps and layers."""

from __future__ import annotations

import altair as alt
import pandas as pd

from fieldgap.report.charts.style import HEIGHT, QUIET, WIDTH, color, dash, switch

EPOCH = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, grid=False))


def over_seeds(data: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """-> mean, lowest and highest `value` over the seeds, and their number, for each combination of `keys`."""
    found = data.groupby(keys, sort=False)["value"].agg(mean="mean", lowest="min", highest="max", seeds="size")
    return found.reset_index()


def bands(base: alt.Chart, y: str, field: str, names: list[str]) -> tuple[alt.Chart, alt.Chart]:
    """-> a band from the lowest to the highest seed, and the mean as a line; the data are those of over_seeds()."""
    colors = color(field, names)
    area = base.mark_area(opacity=0.18).encode(EPOCH, alt.Y("lowest:Q", title=y), alt.Y2("highest:Q"), colors)
    hover = [alt.Tooltip("variant:N"), alt.Tooltip("epoch:Q"), alt.Tooltip("seeds:Q")]
    hover += [alt.Tooltip(f"{name}:Q", format=".4f") for name in ("mean", "lowest", "highest")]
    line = base.mark_line(strokeWidth=2.5, point=alt.OverlayMarkDef(size=16))
    return area, line.encode(EPOCH, alt.Y("mean:Q", title=y), colors, dash(field, names), tooltip=hover)


def facet(field: str, names: list[str]) -> alt.Facet:
    return alt.Facet(f"{field}:N", title=None, sort=names, header=alt.Header(labelLimit=WIDTH / 2))


def gap(table: pd.DataFrame) -> alt.TopLevelMixin:
    """The generalization gap over epochs, a colour a variant. table: variant, epoch, gap."""
    data = over_seeds(table.assign(value=table["gap"]), ["variant", "epoch"])
    names = list(data["variant"].unique())
    clicked, opacity = switch("variant")
    area, line = bands(alt.Chart(data), "validation error - training error", "variant", names)
    faint = alt.when(clicked).then(alt.value(0.18)).otherwise(alt.value(0))
    zero = alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(strokeDash=[4, 4], color=QUIET).encode(y="zero:Q")
    lines = line.encode(opacity=opacity).add_params(clicked)
    return alt.layer(zero, area.encode(opacity=faint), lines).properties(width=WIDTH, height=HEIGHT)


def errors(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Training and validation error over epochs, a panel a variant. table: variant, epoch, the two errors."""
    data = table.melt(["variant", "epoch"], ["train_error", "val_error"], "split", "value")
    data["split"] = data["split"].map({"train_error": "training", "val_error": "validation"})
    keyed = over_seeds(data, ["variant", "split", "epoch"])
    area, line = bands(alt.Chart(), "error (1 - IoU)", "split", ["training", "validation"])
    panel = alt.layer(area, line, data=keyed).properties(width=WIDTH / 2 - 50, height=HEIGHT * 0.55)
    return panel.facet(facet("variant", list(keyed["variant"].unique())), columns=2)


def naive(table: pd.DataFrame) -> alt.TopLevelMixin:
    """The gap of the loss beside what the running loss would make of it, median over seeds, a panel a variant.

    table: variant, epoch, loss_gap, naive_gap.
    """
    names = {"loss_gap": "true gap", "naive_gap": "against the running loss"}
    data = table.groupby(["variant", "epoch"], sort=False)[list(names)].median().reset_index()
    data = data.rename(columns=names).melt(["variant", "epoch"], list(names.values()), "taken", "gap")
    line = (
        alt.Chart(data)
        .mark_line(strokeWidth=2.5)
        .encode(
            EPOCH,
            alt.Y("gap:Q", title="gap of the loss"),
            color("taken", list(names.values())),
            tooltip=["variant:N", "taken:N", "epoch:Q", alt.Tooltip("gap:Q", format=".4f")],
        )
    )
    panel = line.properties(width=WIDTH / 2 - 50, height=HEIGHT * 0.55)
    return panel.facet(facet("variant", list(data["variant"].unique())), columns=2)


def rates(steps: pd.DataFrame) -> alt.TopLevelMixin:
    """The learning rate in force at each step; variants that share a curve share a line. steps: variant, step, lr."""
    curves = steps.groupby("variant", sort=False)["lr"].agg(tuple)
    shared = curves.groupby(curves, sort=False).transform(lambda same: " | ".join(same.index))
    data = steps.assign(curve=steps["variant"].map(shared)).drop_duplicates(["curve", "step"])
    x = alt.X("step:Q", title="step", axis=alt.Axis(grid=False))
    line = alt.Chart(data[["curve", "step", "lr"]]).mark_line(strokeWidth=2)
    names = list(data["curve"].unique())
    drawn = line.encode(
        x,
        alt.Y("lr:Q", title="learning rate"),
        color("curve", names, 1),
        dash("curve", names, 1),
        tooltip=["curve", "step", "lr"],
    )
    return drawn.properties(width=WIDTH, height=HEIGHT * 0.6)


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
