"""What the runs of a grid say about a claim: an answer, and the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fieldgap.analysis.inference import LEVEL, Estimate, estimate, p_difference, p_equivalence
from fieldgap.analysis.runs import FINISHED, SEED

if TYPE_CHECKING:
    from fieldgap.settings.sections import Report

AGREES, DISAGREES, UNTESTED = "agrees", "disagrees", "not tested here"
OUTCOME = "val_iou"
Answer = tuple[str, str]


@dataclass(frozen=True)
class Evidence:
    """What claims are checked against.

    Attributes:
        scored: The table that `effects.score_failures` returns.
        shared: The parameters that have the same value in all runs.
        gap: The table that `ablation.gap_table` returns.
        report: What counts as a difference.
    """

    scored: pd.DataFrame
    shared: dict[str, Any]
    gap: pd.DataFrame
    report: Report

    def where(self, **values: object) -> pd.DataFrame:
        """Return the runs with these values, each of an axis of the grid or of a parameter that all runs share."""
        rows = self.scored
        for key, value in values.items():
            if key in rows:
                rows = rows[rows[key] == value]
            elif self.shared.get(key) != value:
                rows = rows.iloc[:0]
        return rows


def _step(rows: pd.DataFrame, axis: str, baseline: object, level: object) -> Estimate:
    """Estimate the effect of a level on OUTCOME, averaged over the rest of the grid within each seed."""
    seeds = rows[SEED] if SEED in rows else pd.Series(0, rows.index)
    before, after = (rows[rows[axis] == value].groupby(seeds)[OUTCOME].mean() for value in (baseline, level))
    return estimate((after - before).to_numpy(np.float64))


def _bounds(estimated: Estimate) -> str:
    return f"{float(estimated.low):+.4f} to {float(estimated.high):+.4f}"


def _he_against_xavier(estimated: Estimate) -> str:
    return f"He against Xavier: {float(estimated.mean):+.4f} in validation IoU (95% interval {_bounds(estimated)})"


def _he_and_xavier(rows: pd.DataFrame) -> tuple[str, str] | None:
    """Return the names of a Xavier and a He init of the same shape among the runs, or None."""
    inits = set(rows["init"]) if "init" in rows else set()
    for shape in ("normal", "uniform"):
        if {f"xavier_{shape}", f"kaiming_{shape}"} <= inits:
            return f"xavier_{shape}", f"kaiming_{shape}"
    return None


def norms_hide_the_init(evidence: Evidence) -> Answer:
    """Answer whether He's and Xavier's init are equivalent under batch normalisation, within the margin."""
    rows, margin = evidence.where(norm="batch"), evidence.report.margin
    if not (names := _he_and_xavier(rows)):
        return UNTESTED, "This needs a He and a Xavier init with norm: batch."
    effect = _step(rows, "init", *names)
    if p_equivalence(effect, margin) < LEVEL:
        return AGREES, f"{_he_against_xavier(effect)}, within the margin of {margin:g}."
    if min(abs(effect.low), abs(effect.high)) > margin and effect.low * effect.high > 0:
        return DISAGREES, f"{_he_against_xavier(effect)}, beyond the margin of {margin:g}."
    return UNTESTED, f"{_he_against_xavier(effect)}; {int(effect.seeds)} seeds do not settle it."


def he_without_norms(evidence: Evidence) -> Answer:
    """Answer whether He's init trains better than Xavier's without normalisation."""
    rows = evidence.where(norm="none")
    if not (names := _he_and_xavier(rows)):
        return UNTESTED, "This needs a He and a Xavier init with norm: none."
    effect = _step(rows, "init", *names)
    if p_difference(effect) < LEVEL:
        return AGREES if effect.mean > 0 else DISAGREES, f"{_he_against_xavier(effect)}."
    return UNTESTED, f"{_he_against_xavier(effect)}; {int(effect.seeds)} seeds do not settle it."


def stable_rate(rows: pd.DataFrame) -> float:
    """Return the largest learning rate at and below which no run diverged; 0 if one diverged at the lowest."""
    failed = (rows["status"] != FINISHED).groupby(rows["lr"]).any().sort_index()
    return float(failed.index[~failed.cummax()].max()) if not failed.iloc[0] else 0.0


def _crosses_rates_and_warmups(rows: pd.DataFrame) -> bool:
    return {"lr", "warmup_epochs"} <= set(rows.columns) and rows["lr"].nunique() > 1


def warmup_tolerates_larger_rates(evidence: Evidence) -> Answer:
    """Answer whether runs with the longest warm-up diverge at larger learning rates than those without, per norm."""
    rows = evidence.scored
    if not _crosses_rates_and_warmups(rows) or not {0} < set(rows["warmup_epochs"]):
        return UNTESTED, "This needs several values of lr, crossed with warmup_epochs of 0 and above."
    longest = rows["warmup_epochs"].max()
    limits, gains = [], []
    for norm in dict.fromkeys(rows.get("norm", [evidence.shared.get("norm")])):
        part = evidence.where(norm=norm)
        without, warm = (stable_rate(part[part["warmup_epochs"] == epochs]) for epochs in (0, longest))
        if (part["status"] != FINISHED).any():
            limits.append(f"norm {norm}: all runs finish up to a rate of {without:g} without warm-up, {warm:g} with it")
            gains.append(warm - without)
    if not any(gains):
        return UNTESTED, "; ".join([*limits, "warm-up did not change the rate at which training diverges"]) + "."
    return AGREES if min(gains) >= 0 else DISAGREES, "; ".join(limits) + "."


def warmup_stabilises_like_norms(evidence: Evidence) -> Answer:
    """Answer whether warm-up alone tolerates learning rates as large as batch normalisation alone."""
    rows = evidence.scored
    if not _crosses_rates_and_warmups(rows) or not {"batch", "none"} <= set(rows.get("norm", [])):
        return UNTESTED, "This needs several values of lr, crossed with warmup_epochs and with norm batch and none."
    shortest, longest = rows["warmup_epochs"].min(), rows["warmup_epochs"].max()
    warm = rows[(rows["norm"] == "none") & (rows["warmup_epochs"] == longest)]
    normed = rows[(rows["norm"] == "batch") & (rows["warmup_epochs"] == shortest)]
    if not ((warm["status"] != FINISHED).any() or (normed["status"] != FINISHED).any()):
        return UNTESTED, "No learning rate of this grid was large enough to make training diverge."
    with_warmup, with_norm = stable_rate(warm), stable_rate(normed)
    limits = f"All runs finish up to a rate of {with_warmup:g} with warm-up only and {with_norm:g} with BatchNorm only."
    return AGREES if with_warmup >= with_norm else DISAGREES, limits


def running_loss_is_above_the_training_loss(evidence: Evidence) -> Answer:
    """Answer whether the running loss lies above the training loss in the median epoch, over seeds."""
    excess = (
        (evidence.gap["running_loss"] - evidence.gap["train_loss"])
        .groupby(evidence.gap.get(SEED, pd.Series(0, evidence.gap.index)))
        .median()  # Losses just before a divergence would swamp a mean.
    )
    effect = estimate(excess.to_numpy(np.float64))
    numbers = (
        f"In the median epoch the running loss exceeds the training loss by {float(effect.mean):+.4f} "
        f"(95% interval {_bounds(effect)} over {int(effect.seeds)} seeds)."
    )
    if p_difference(effect) < LEVEL:
        return AGREES if effect.mean > 0 else DISAGREES, numbers
    return UNTESTED, f"{numbers} The seeds do not settle it."
