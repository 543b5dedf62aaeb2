"""The values that fill the templates of page and summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fieldgap.analysis import literature, population
from fieldgap.analysis.ablation import naive_gaps, variant_table
from fieldgap.analysis.confusions import class_scores, classes_of
from fieldgap.analysis.contrasts import INTERACTION, MAIN, variant_axes
from fieldgap.analysis.effects import FRESH_OUTCOMES, OUTCOMES
from fieldgap.analysis.evidence import Evidence
from fieldgap.analysis.inference import mean_and_bounds
from fieldgap.analysis.runs import FINISHED, SEED, shared_items
from fieldgap.report import failures, votes, wording
from fieldgap.report.captions import CAPTIONS
from fieldgap.report.pictures import CLASS_COLOURS

if TYPE_CHECKING:
    from fieldgap.analysis.tables import Analysis
    from fieldgap.settings.sections import Report
    from fieldgap.tiles.packed import PackedTiles

SHOWN = (
    "train_iou",
    "val_iou",
    "test_iou",
    "test_background_iou",
    "test_boundary_iou",
    "test_calibration_error",
    "gap_val_iou",
    "gap_test_iou",
)
WORDS = {name: outcome.words for name, outcome in {**OUTCOMES, **FRESH_OUTCOMES}.items()} | {
    "train_iou": "training IoU",
    "test_boundary_iou": "test IoU along borders",
    "test_calibration_error": "calibration error on test",
}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table, by column."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _headline_lines(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "verdict": row["verdict"],
            "text": " ".join(filter(None, (wording.sentence(row), wording.scene_sentence(row)))),
        }
        for row in records(rows[rows["outcome"].isin(wording.HEADLINE)])
    ]


def headline(effects: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the main comparisons, each with its verdict on every headline outcome and what that rests on."""
    if not len(effects):
        return []
    main = effects[effects["kind"] == MAIN]
    return [
        {"axis": axis, "baseline": baseline, "level": level, "lines": _headline_lines(rows)}
        for (axis, baseline, level), rows in main.groupby(["axis", "from", "to"], sort=False)
    ]


def effects_by_kind(effects: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each kind of effect that there is."""
    rows = records(effects)
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in (MAIN, INTERACTION)}
    return {kind: rows for kind, rows in kinds.items() if rows}


def _fit_row(variant: str, rows: pd.DataFrame) -> dict[str, Any]:
    since = [int(epoch) for epoch in rows["overfits_from"].dropna()]
    kinds = {str(fit): int(count) for fit, count in rows["fit"].value_counts(sort=False).items()}
    error, shift = 1 - rows["train_iou"], rows["val_iou"] - rows["test_iou"]
    return {
        "variant": variant,
        "train": error.mean(),
        "train_std": error.std(),
        "gap": mean_and_bounds(rows["gap_val_iou"].to_numpy(np.float64)),
        "shift": mean_and_bounds(shift.to_numpy(np.float64)),
        "text": wording.fit_sentence(kinds, since),
    }


def fits(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return training error, gap, shift and diagnosis over seeds, for each variant with a finished run."""
    finished = table[table["status"] == FINISHED]
    return [_fit_row(str(variant), rows) for variant, rows in finished.groupby("variant", sort=False)]


def _population(analysis: Analysis) -> dict[str, Any] | None:
    if not (section := population.section(analysis)):
        return None
    return {**section, "text": wording.population_sentence(section["overall"])}


def _literature(analysis: Analysis, report: Report) -> list[dict[str, str]]:
    shared = shared_items([run.config for run in analysis.runs])
    return literature.check_statements(Evidence(analysis.scored, shared, analysis.gap, report))


def _test_scenes(analysis: Analysis) -> int:
    return analysis.finished[0].scenes.query("split == 'test'")["scene"].nunique() if analysis.finished else 0


def context(analysis: Analysis, report: Report) -> dict[str, Any]:
    """Return the values of all sections that follow from the analysis."""
    scored, finished, axes = analysis.scored, analysis.finished, variant_axes(analysis.axes)
    variants = records(variant_table(scored, SHOWN))
    seeds = scored[SEED].nunique() if SEED in scored else 1
    return {
        "axes": analysis.axes,
        "question": wording.question(axes),
        "design": wording.design(axes, len(variants), seeds),
        "failed": records(scored.loc[scored["status"] != FINISHED, ["run", "status"]]),
        "headline": headline(analysis.effects),
        "effects": effects_by_kind(analysis.effects),
        "variants": variants,
        "fits": fits(analysis.table),
        "population": _population(analysis),
        "literature": _literature(analysis, report),
        "naive": wording.naive_sentence(naive_gaps(analysis.gap)) if len(analysis.gap) else "",
        "class_scores": records(class_scores(finished)) if finished else [],
        "classes": classes_of(finished) if finished else [],
        "class_colours": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in CLASS_COLOURS],
        "test_scenes": _test_scenes(analysis),
        "level": analysis.level,
        "report": report,
        "shown": SHOWN,
        "population_shown": population.SHOWN,
        "words": WORDS,
        "captions": CAPTIONS,
    }


def failure_context(analysis: Analysis, packed: PackedTiles) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Return the pictures of failures with their sentence, and the shares of pixels on which variants disagree.

    Raises:
        InputError: A run's predictions are missing, broken, or not of these tiles.
    """
    chosen, by_variant = votes.votes_by_variant(analysis.runs, len(packed.classes))
    tested = failures.held_out(packed, chosen)
    shares = votes.disagreement(by_variant)
    values = {
        "pictures": failures.failure_pictures(by_variant, tested),
        "disputed": failures.disputed_picture(by_variant, tested),
        "disagreement": wording.disagreement_sentence(shares),
    }
    return values, shares
