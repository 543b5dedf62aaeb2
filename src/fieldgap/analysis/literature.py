"""Published statements held against what a grid measured: agrees, disagrees, or not tested here, each from numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fieldgap.analysis.ablation import FINISHED, SEED
from fieldgap.analysis.inference import LEVEL, Student, p_difference, p_equivalence, student

if TYPE_CHECKING:
    from fieldgap.settings.sections import Report

AGREES, DISAGREES, UNTESTED = "agrees", "disagrees", "not tested here"
OUTCOME = "val_iou"
Answer = tuple[str, str]


@dataclass(frozen=True)
class Measured:
    """What statements are held against: effects.counted(), the values that all runs share, and compare.gap_table()."""

    counts: pd.DataFrame
    shared: dict[str, Any]
    gap: pd.DataFrame
    report: Report

    def where(self, **values: object) -> pd.DataFrame:
        """-> the runs with these values, be they an axis of the grid or shared by all."""
        rows = self.counts
        for key, value in values.items():
            if key in rows:
                rows = rows[rows[key] == value]
            elif self.shared.get(key) != value:
                rows = rows.iloc[:0]
        return rows


def step(rows: pd.DataFrame, axis: str, first: object, second: object) -> Student:
    """-> the effect on OUTCOME of one level against another, averaged over the rest of the grid within each seed."""
    seeds = rows[SEED] if SEED in rows else pd.Series(0, rows.index)
    means = [rows[rows[axis] == level].groupby(seeds)[OUTCOME].mean() for level in (first, second)]
    return student((means[1] - means[0]).to_numpy(np.float64))


def told(found: Student) -> str:
    return (
        f"{float(found.mean):+.4f} in validation IoU, 95 % interval {float(found.low):+.4f} to {float(found.high):+.4f}"
    )


def he_and_xavier(rows: pd.DataFrame) -> tuple[str, str] | None:
    """-> a Xavier and a He init of the same shape among the runs, or None."""
    there = set(rows["init"]) if "init" in rows else set()
    for shape in ("normal", "uniform"):
        if {f"xavier_{shape}", f"kaiming_{shape}"} <= there:
            return f"xavier_{shape}", f"kaiming_{shape}"
    return None


def norms_hide_the_init(measured: Measured) -> Answer:
    rows = measured.where(norm="batch")
    if not (names := he_and_xavier(rows)):
        return UNTESTED, "It needs both a He and a Xavier init with norm: batch."
    found = step(rows, "init", *names)
    if p_equivalence(found, measured.report.margin) < LEVEL:
        return AGREES, f"He against Xavier: {told(found)}, within the margin of {measured.report.margin:g}."
    if min(abs(found.low), abs(found.high)) > measured.report.margin and found.low * found.high > 0:
        return DISAGREES, f"He against Xavier: {told(found)}, beyond the margin of {measured.report.margin:g}."
    return UNTESTED, f"{int(found.seeds)} seeds do not decide it: He against Xavier, {told(found)}."


def he_without_norms(measured: Measured) -> Answer:
    rows = measured.where(norm="none")
    if not (names := he_and_xavier(rows)):
        return UNTESTED, "It needs both a He and a Xavier init with norm: none."
    found = step(rows, "init", *names)
    if p_difference(found) < LEVEL:
        return AGREES if found.mean > 0 else DISAGREES, f"He against Xavier: {told(found)}."
    return UNTESTED, f"{int(found.seeds)} seeds do not decide it: He against Xavier, {told(found)}."


def stable_rate(rows: pd.DataFrame) -> float:
    """-> the largest rate at and below which no run diverged; 0 when the lowest already has one that did."""
    failed = (rows["status"] != FINISHED).groupby(rows["lr"]).any().sort_index()
    return float(failed.index[~failed.cummax()].max()) if not failed.iloc[0] else 0.0


def rates_and_warmups(rows: pd.DataFrame) -> bool:
    return {"lr", "warmup_epochs"} <= set(rows.columns) and rows["lr"].nunique() > 1


def longest(rows: pd.DataFrame) -> Any:
    return rows["warmup_epochs"].max()


def warmup_tolerates_larger_rates(measured: Measured) -> Answer:
    rows = measured.counts
    if not rates_and_warmups(rows) or 0 not in set(rows["warmup_epochs"]) or longest(rows) == 0:
        return UNTESTED, "It needs several lr crossed with warmup_epochs of 0 and more."
    told, signs = [], []
    for norm in dict.fromkeys(rows.get("norm", [measured.shared.get("norm")])):
        part = measured.where(norm=norm)
        without, with_it = (stable_rate(part[part["warmup_epochs"] == n]) for n in (0, longest(rows)))
        if (part["status"] != FINISHED).any():
            told.append(
                f"norm {norm}: all runs finish up to a rate of {without:g} without and {with_it:g} with warm-up"
            )
            signs.append(np.sign(with_it - without))
    if not signs or not any(signs):
        return UNTESTED, "; ".join([*told, "no warm-up moved the rate at which training diverges"]) + "."
    return AGREES if min(signs) >= 0 else DISAGREES, "; ".join(told) + "."


def warmup_stabilises_like_norms(measured: Measured) -> Answer:
    rows = measured.counts
    if not rates_and_warmups(rows) or not {"batch", "none"} <= set(rows.get("norm", [])):
        return UNTESTED, "It needs several lr crossed with warmup_epochs and with norm batch and none."
    warm = rows[(rows["norm"] == "none") & (rows["warmup_epochs"] == longest(rows))]
    normed = rows[(rows["norm"] == "batch") & (rows["warmup_epochs"] == rows["warmup_epochs"].min())]
    if not ((warm["status"] != FINISHED).any() or (normed["status"] != FINISHED).any()):
        return UNTESTED, "No rate of this grid was large enough to make training diverge."
    rate, other = stable_rate(warm), stable_rate(normed)
    evidence = f"All runs finish up to a rate of {rate:g} with warm-up alone, of {other:g} with BatchNorm alone."
    return AGREES if rate >= other else DISAGREES, evidence


def running_loss_is_no_training_error(measured: Measured) -> Answer:
    excess = (
        (measured.gap["running_loss"] - measured.gap["train_loss"])
        .groupby(measured.gap.get(SEED, pd.Series(0, measured.gap.index)))
        .median()  # A run on its way to diverge has losses beside which all others vanish.
    )
    found = student(excess.to_numpy(np.float64))
    evidence = (
        f"In the median epoch the running loss lies {float(found.mean):+.4f} above the training loss "
        f"(95 % interval {float(found.low):+.4f} to {float(found.high):+.4f} over {int(found.seeds)} seeds)."
    )
    if p_difference(found) < LEVEL:
        return AGREES if found.mean > 0 else DISAGREES, evidence
    return UNTESTED, f"The seeds do not decide it. {evidence}"


@dataclass(frozen=True)
class Statement:
    says: str
    source: str
    holds: Callable[[Measured], Answer]


STATEMENTS = (
    Statement(
        "Warm-up lets training tolerate a larger peak learning rate.",
        "Kalra and Barkeshli 2024, arXiv:2406.09405",
        warmup_tolerates_larger_rates,
    ),
    Statement(
        "Warm-up stabilises training about as well as normalisation layers do.",
        "Gilmer et al. 2021, arXiv:2110.04369",
        warmup_stabilises_like_norms,
    ),
    Statement(
        "Batch normalisation makes training less sensitive to how the weights start.",
        "Ioffe and Szegedy 2015, arXiv:1502.03167",
        norms_hide_the_init,
    ),
    Statement(
        "With ReLU and without norms, He's variance trains better than Xavier's.",
        "He et al. 2015, arXiv:1502.01852",
        he_without_norms,
    ),
    Statement(
        "The loss shown while training, in train mode and while the weights move, lies above the training error.",
        "Keras FAQ, keras.io/getting_started/faq",
        running_loss_is_no_training_error,
    ),
)


def held_against(measured: Measured) -> list[dict[str, str]]:
    """-> each statement with its source, the answer and the numbers behind it."""
    rows = []
    for statement in STATEMENTS:
        answer, evidence = statement.holds(measured)
        rows.append({"says": statement.says, "source": statement.source, "answer": answer, "evidence": evidence})
    return rows


def measured(counts: pd.DataFrame, configs: Sequence[dict[str, Any]], gap: pd.DataFrame, report: Report) -> Measured:
    """-> what held_against() takes; configs: the configuration of each run."""
    shared = {key: value for key, value in configs[0].items() if all(each.get(key) == value for each in configs)}
    return Measured(counts, shared, gap, report)
