"""The page and its summary: templates filled from an analysis. Whatever is not markup is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fieldgap.analysis import literature, population
from fieldgap.analysis.ablation import FINISHED, SEED, variants
from fieldgap.analysis.effects import FRESH, INTERACTION, MAIN, OUTCOMES
from fieldgap.analysis.tables import Analysis, class_scores, classes_of, mean_and_bounds, naive_gaps
from fieldgap.base.files import read_json
from fieldgap.report import failures, wording
from fieldgap.report.pictures import CLASS_COLOURS, Picture

if TYPE_CHECKING:
    from fieldgap.settings.sections import Report

FOLDER = Path(__file__).parent / "templates"
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
WORDS = {name: outcome.words for name, outcome in {**OUTCOMES, **FRESH}.items()} | {
    "train_iou": "training IoU",
    "test_boundary_iou": "test IoU along borders",
    "test_calibration_error": "calibration error on test",
}


def scripts() -> list[str]:
    """-> the chart library, and the page's own script."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return [bundle, (FOLDER / "page.js").read_text(encoding="utf-8")]


def policy(texts: Sequence[str]) -> str:
    """-> a content security policy under which a page runs these scripts and no other, and loads nothing."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """-> the rows of a table by column."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def headline(effects: pd.DataFrame) -> list[dict[str, Any]]:
    """-> each main comparison with a line a headline outcome: the verdict, and what it rests on, in words."""
    found = []
    main = effects[effects["kind"] == MAIN]
    for keys, rows in main.groupby(["axis", "from", "to"], sort=False):
        lines = []
        for row in records(rows):
            if row["outcome"] in wording.HEADLINE:
                says = " ".join(filter(None, (wording.sentence(row), wording.scene_sentence(row))))
                lines.append({"verdict": row["verdict"], "says": says})
        axis, first, second = keys
        found.append({"axis": axis, "first": first, "second": second, "lines": lines})
    return found


def effect_rows(effects: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """-> the rows of each kind of effect."""
    rows = records(effects)
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in (MAIN, INTERACTION)}
    return {kind: found for kind, found in kinds.items() if found}


def fits(table: pd.DataFrame) -> list[dict[str, Any]]:
    """-> for each variant with a finished run: training error, gap and shift over seeds, and what its curves say."""
    found = []
    for variant, rows in table[table["status"] == FINISHED].groupby("variant", sort=False):
        since = [int(epoch) for epoch in rows["overfits_from"].dropna()]
        kinds = {str(fit): int(count) for fit, count in rows["fit"].value_counts(sort=False).items()}
        error = 1 - rows["train_iou"]
        row: dict[str, Any] = {"variant": variant, "train": error.mean(), "train_std": error.std()}
        row |= {
            "gap": mean_and_bounds(rows["gap_val_iou"]),
            "shift": mean_and_bounds(rows["val_iou"] - rows["test_iou"]),
        }
        found.append({**row, "says": wording.fit_sentence(kinds, since)})
    return found


def context(analysis: Analysis, pictures: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """-> what the templates are filled with, figures and scripts aside."""
    counts, finished = analysis.counts, analysis.finished
    known = population.section(analysis)
    shared = literature.measured(counts, [run.config for run in analysis.runs], analysis.gap, report)
    return {
        "question": wording.QUESTION,
        "axes": analysis.axes,
        "runs": len(counts),
        "seeds": counts[SEED].nunique() if SEED in counts else 1,
        "failed": counts.loc[counts["status"] != FINISHED, ["run", "status"]].to_dict("records"),
        "headline": headline(analysis.effects) if len(analysis.effects) else [],
        "effects": effect_rows(analysis.effects),
        "variants": variants(counts, SHOWN).to_dict("records"),
        "fits": fits(analysis.table),
        "population": known and {**known, "says": wording.population_sentence(known["overall"])},
        "literature": literature.held_against(shared),
        "naive": wording.naive_sentence(naive_gaps(analysis.gap)) if len(analysis.gap) else "",
        "class_scores": class_scores(finished).to_dict("records") if finished else [],
        "classes": classes_of(finished) if finished else [],
        "class_colours": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in CLASS_COLOURS],
        "test_scenes": finished[0].scenes.query("split == 'test'")["scene"].nunique() if finished else 0,
        "level": analysis.level,
        "report": report,
        "shown": SHOWN,
        "population_shown": population.SHOWN,
        "words": WORDS,
        "captions": wording.CAPTIONS,
        **pictures,
    }


def environment() -> Environment:
    """-> templates that escape whatever they are given unless told that it is markup."""
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(values: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]) -> str:
    """-> the page. values: context(); figures: for each name its svg and its specification."""
    texts = scripts()
    template = environment().get_template("index.html.j2")
    return template.render(**values, figures=figures, scripts=texts, policy=policy(texts))


def summary(values: Mapping[str, Any]) -> str:
    """-> the answer as Markdown, to be put into a pull request."""
    return environment().get_template("summary.md.j2").render(**values)


def shown_pictures(analysis: Analysis, tiles: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """-> the pictures of the page with their sentence, and what variants disagree on. Raises InputError."""
    chosen, votes = failures.by_variant(analysis.runs, len(read_json(tiles / "mask_report.json")["classes"]))
    tested = failures.read_tested(tiles, chosen)
    shares = failures.disagreement(votes)
    pictures: list[Picture] = failures.pictures(votes, tested)
    disputed = failures.disputed(votes, tested)
    told = wording.disagreement_sentence(shares)
    return {"pictures": pictures, "disputed": disputed, "disagreement": told}, shares
