"""Compare the U-Nets with a strong per-pixel classifier on RGB: colour alone must not solve the drawn farmland.

Run `make run` first: this reads the tiles and runs of the default ablation. It prints a table of test scores, and exits
with status 1 if some U-Net leads by less than LEAD in background IoU.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from fieldgap.base.scores import scores
from fieldgap.tiles.packed import Tiles, load

SAMPLES = 300_000
LEAD = 0.10


def pixels(tiles: Tiles, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours (n, 3) and classes (n,) of a whole split."""
    chosen = tiles.indices(split)
    return tiles.images[chosen].reshape(-1, 3), tiles.masks[chosen].ravel()


def colour_scores(tiles: Tiles, samples: int) -> dict[str, float]:
    """Return the test scores of gradient boosting on single training pixels."""
    colours, classes = pixels(tiles, "train")
    drawn = np.random.default_rng(0).choice(len(classes), min(samples, len(classes)), replace=False)
    model = HistGradientBoostingClassifier(max_iter=200, random_state=0).fit(colours[drawn], classes[drawn])
    colours, classes = pixels(tiles, "test")
    predicted = model.predict(colours)
    return scores(np.bincount(classes * 2 + predicted, minlength=4).reshape(2, 2))


def main(runs: Path) -> int:
    """Print the table; return 0 if every U-Net leads by LEAD, otherwise 1."""
    colour = colour_scores(load(Path("data/tiles")), SAMPLES)
    rows = {"colour alone": colour}
    rows |= {path.parent.name: json.loads(path.read_text())["test"] for path in sorted(runs.glob("*/metrics.json"))}
    for name, row in rows.items():
        print(f"{name:24}  test IoU {row['iou']:.3f}  background IoU {row['background_iou']:.3f}")
    lead = min(row["background_iou"] for row in list(rows.values())[1:]) - colour["background_iou"]
    print(f"smallest lead of a U-Net in background IoU: {lead:.3f} (at least {LEAD} is required)")
    return int(lead < LEAD)


if __name__ == "__main__":
    sys.exit(main(Path("runs")))
