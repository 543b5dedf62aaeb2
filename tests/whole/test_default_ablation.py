"""The default ablation at full size, as in `make run`."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, call

pytestmark = pytest.mark.slow


def test_the_default_ablation_has_a_gap_and_is_not_solved_by_colour(project: Path) -> None:
    call(project, "snakemake", "--cores", "2")
    table = pd.read_csv(project / "reports/ablation.csv")
    assert len(table) == 12
    assert (table["gap_val_iou"] > 0.03).all()
    assert (table["test_iou"] > 0.7).all()
    printed = call(project, "python", str(ROOT / "benchmarks/colour.py")).stdout
    lead = re.search(r"smallest lead of a U-Net in background IoU: ([\d.]+)", printed)
    assert lead
    assert float(lead[1]) >= 0.1
