"""The default ablation at full size, as in `make run`; of its seeds CI trains the first alone."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, call, often
from projects import configure

pytestmark = [pytest.mark.slow, pytest.mark.repeated]
SEEDS = often(1, 3)


def test_the_default_ablation_has_a_gap_and_is_not_solved_by_colour(project: Path) -> None:
    configure(project, {"grid": {"seed": list(range(SEEDS))}})
    call(project, "snakemake", "--cores", "2")
    table = pd.read_csv(project / "reports/ablation.csv")
    assert len(table) == 4 * SEEDS
    assert (table["gap_val_iou"] > 0.03).all()
    assert (table["test_iou"] > 0.7).all()
    printed = call(project, "python", str(ROOT / "benchmarks/colour.py")).stdout
    lead = re.search(r"smallest lead of a U-Net in background IoU: ([\d.]+)", printed)
    assert lead
    assert float(lead[1]) >= 0.1
