"""The pipeline on real scenes, which lie outside the project: 40 aerial scenes of 1024 px (docs/real-scenes.md)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, call

FOLDER = Path(os.environ.get("FARMLAND_NAIP", ROOT / "farmland-naip")).absolute()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no real scenes: {FOLDER} is absent; set FARMLAND_NAIP to them"),
]


def test_a_short_training_on_real_scenes_beats_calling_everything_farmland(project: Path) -> None:
    """The configuration of docs/real-scenes.md with every fourth tile; bf16 is slow on processors without it."""
    config = yaml.safe_load((ROOT / "params/farmland-naip.yaml").read_text())
    config["data"] = {"images": str(FOLDER / "images"), "masks": str(FOLDER / "masks")}
    config["normalize"] |= {"stride": 512}
    config["train"] |= {"epochs": 5, "precision": "fp32"}
    (project / "real.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    call(project, "snakemake", "--cores", "2", "--configfile", "real.yaml")
    metrics = json.loads((project / "runs/kaiming_normal-1-0/metrics.json").read_text())
    scenes = json.loads((project / "data/tiles/mask_report.json").read_text())["scenes"]
    farmland = np.mean([s["pixels"]["farmland"] / 1024**2 for s in scenes if s["split"] == "test"])
    assert farmland == pytest.approx(0.691, abs=0.001), "other scenes than those of docs/real-scenes.md"
    assert metrics["test"]["iou"] > farmland + 0.1
    assert metrics["test"]["background_iou"] > 0.6
