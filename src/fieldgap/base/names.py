"""The names of the files that stages write into a folder, for all who read them."""

from __future__ import annotations

from pathlib import Path

TILES = ("images.npy", "masks.npy", "tiles.csv", "mask_report.json")  # What a training depends on.
LEAKAGE, FRESH = "leakage.csv", "fresh.npz"  # Beside the tiles.
TRAINED = ("config.json", "history.csv", "steps.csv", "weights.safetensors", "best.safetensors", "status.json")
EVALUATED = ("metrics.json", "scenes.csv", "calibration.csv", "predictions.npz")


SPOOLS = Path(".fieldgap/spool")  # Seen from the project's folder, in which every stage runs.


CATEGORIES = {  # The report's figures, by the heading under which `snakemake --report` shows them.
    "The answer": ("verdict", "effects", "interactions", "divergence"),
    "The gap": ("gap", "errors", "gap_ends", "splits", "naive"),
    "Where it fails": ("scenes", "calibration", "disagreement"),
    "Training": ("rates",),
}
FIGURES = tuple(figure for figures in CATEGORIES.values() for figure in figures)


REPORTED = (
    *(f"{folder}/{name}.{end}" for folder, end in (("figures", "svg"), ("png", "png")) for name in FIGURES),
    *(f"captions/{name}.rst" for name in FIGURES),
    *("index.html", "summary.md", "summary.json", "ablation.csv", "gap.csv", "effects.csv", "pairs.csv"),
)
