from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import vl_convert
from conftest import JUDGE, TINY, run_training
from made import made_run

from fieldgap.analysis.ablation import ablation_table
from fieldgap.analysis.effects import score_failures
from fieldgap.analysis.runs import read_runs
from fieldgap.base.errors import InputError
from fieldgap.base.names import FIGURES, REPORTED
from fieldgap.evaluation import evaluate
from fieldgap.report import provenance, report
from fieldgap.report.captions import CAPTIONS
from fieldgap.report.charts.comparison import CELL, ROW, divergence
from fieldgap.report.charts.style import PALETTE
from fieldgap.report.context import SHOWN
from fieldgap.settings.params import expand
from fieldgap.settings.sections import Evaluate
from fieldgap.tiles.packed import digest_of

GRID = expand({"init": ["kaiming_normal", "xavier_normal"], "warmup_epochs": [0, 1], "seed": [0, 1]})


@pytest.fixture(scope="module")
def runs(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the runs of GRID, trained and evaluated. Read only."""
    folder = tmp_path_factory.mktemp("runs")
    for name, axes in GRID.items():
        run_training(tiles, folder / name, dataclasses.replace(TINY, **axes))  # type: ignore[arg-type]
        evaluate.run(tiles, folder / name, Evaluate(device="cpu"))
    return folder


@pytest.fixture(scope="module")
def reports(runs: Path, tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    report.run(runs, tiles, folder, GRID, JUDGE, "0" * 64)
    return folder


class Page(HTMLParser):
    """The text of the cells in all tables, and whatever the page would load from elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.loads: list[str] = []
        self.cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = True
            self.rows[-1].append("")
        self.loads += [
            str(value) for name, value in attrs if name in ("src", "href") and not str(value).startswith(("#", "data:"))
        ]

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.cell:
            self.rows[-1][-1] += data


def test_the_edge_of_divergence_lies_below_the_lowest_rate_that_diverged() -> None:
    """Rates are 0.1, 1 and 10. Without warm-up one of two runs at 1 diverges; with it only runs at 10 do."""
    axes = {"lr": [0.1, 1.0, 10.0], "warmup_epochs": [0, 2], "seed": [0, 1]}
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]

    def status(point: dict[str, Any]) -> str:
        lost = point["lr"] == 10 or (point["lr"] == 1 and not point["warmup_epochs"] and point["seed"])
        return "diverged" if lost else "finished"

    runs = [made_run(point, status(point)) for point in points]
    chart = divergence(score_failures(ablation_table(runs, JUDGE), list(axes)), ["lr", "warmup_epochs"])
    assert chart
    picture = cv2.imdecode(np.frombuffer(vl_convert.vegalite_to_png(chart.to_dict()), np.uint8), cv2.IMREAD_COLOR)
    orange = tuple(int(PALETTE[1][i : i + 2], 16) for i in (5, 3, 1))
    edges = cv2.connectedComponentsWithStats((np.abs(picture - np.float64(orange)).sum(2) < 60).astype(np.uint8))[2]
    (left, first, wide, high, _), (right, second, *_) = sorted(edges[1:].tolist())
    assert wide > 0.9 * CELL > 10 * high
    assert right - left == pytest.approx(CELL, abs=4)
    assert first - second == pytest.approx(ROW, abs=4)


def test_exactly_the_promised_files_are_written(reports: Path) -> None:
    written = {path.relative_to(reports).as_posix() for path in reports.rglob("*") if path.is_file()}
    assert written == set(REPORTED)
    assert set(CAPTIONS) == set(FIGURES)


def test_the_page_loads_nothing_from_elsewhere(reports: Path) -> None:
    page = Page((reports / "index.html").read_text())
    assert page.loads == []
    assert (reports / "index.html").stat().st_size < 5_000_000


def test_the_table_of_variants_agrees_with_ablation_csv(reports: Path) -> None:
    table = pd.read_csv(reports / "ablation.csv")
    cells = Page((reports / "index.html").read_text()).rows
    rows = {row[0]: row for row in cells if len(row) == 3 + len(SHOWN)}
    for variant, group in table.groupby("variant"):
        shown = rows[str(variant)]
        assert shown[1] == "2"
        for cell, column in zip(shown[3:], SHOWN, strict=True):
            assert cell == f"{group[column].mean():.4f} ± {group[column].std():.4f}"


def test_the_table_of_the_population_gap_agrees_with_ablation_csv(runs: Path, reports: Path) -> None:
    table = pd.read_csv(reports / "ablation.csv")
    cells = Page((reports / "index.html").read_text()).rows
    start = next(i for i, row in enumerate(cells) if "population gap" in row)
    for row, (variant, group) in zip(cells[start + 1 :], table.groupby("variant"), strict=False):
        off = (group["gap_test_iou"] - group["gap_fresh_iou"]).mean()
        assert row[0] == variant
        assert (row[1].split()[0], row[-1].split()[0]) == (f"{group['gap_fresh_iou'].mean():+.4f}", f"{off:+.4f}")
    metrics = json.loads((runs / "kaiming_normal-0-0/metrics.json").read_text())
    assert table.loc[0, "gap_fresh_iou"] == metrics["gap"]["fresh"]["iou"]
    for name in ("index.html", "summary.md"):
        assert (
            "On 5 fresh scenes, which are drawn like the data but seen by no run, the gap is"
            in (reports / name).read_text()
        )
    assert "population gap" in (reports / "figures/gap_ends.svg").read_text()


def test_the_section_on_the_data_describes_each_split(tiles: Path, reports: Path) -> None:
    rows = {row[0]: row for row in Page((reports / "index.html").read_text()).rows if row and len(row) == 11}
    table = pd.read_csv(tiles / "tiles.csv")
    for split in ("train", "val", "test"):
        assert rows[split][1:5] == [
            str(table[table["split"] == split]["scene"].nunique()),
            str((table["split"] == split).sum()),
            "64 x 64",
            "100.0%",
        ]
        assert rows[split][-1] in ("0, 255", "255, 0")


def test_the_page_states_its_provenance(runs: Path, tiles: Path, reports: Path) -> None:
    section = unescape((reports / "index.html").read_text().partition('<h2 id="provenance">')[2])
    assert f"<code>{digest_of(tiles)[:16]}</code>" in section
    assert "batch_size <code>3</code>" in section
    for folder in runs.iterdir():
        status = json.loads((folder / "status.json").read_text())
        row = re.search(rf"<tr><td[^>]*>{folder.name}</td>.*?</tr>", section)
        assert row
        assert f"<code>{status['key'][:16]}</code>" in row[0]
        assert f"torch {torch.__version__}, cpu " in row[0]
        assert (
            f"Packages of all trainings: {', '.join(' '.join(package) for package in status['packages'].items())}."
            in section
        )


def test_packages_that_differ_between_trainings_are_listed_by_run(runs: Path, tiles: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    path = tmp_path / "runs/kaiming_normal-0-0/status.json"
    status = json.loads(path.read_text())
    path.write_text(json.dumps({**status, "packages": {**status["packages"], "python": "3.0"}}))
    section = provenance.section(read_runs(tmp_path / "runs", GRID), tiles, "0" * 64)
    assert "python 3" not in section["packages"]
    assert "numpy" in section["packages"]
    assert [row["machine"].startswith("python 3.0, ") for row in section["runs"]] == [True] + [False] * (len(GRID) - 1)


def test_the_tables_agree_with_the_runs(runs: Path, reports: Path) -> None:
    table, gap = pd.read_csv(reports / "ablation.csv"), pd.read_csv(reports / "gap.csv")
    assert list(table["run"]) == list(GRID)
    for row in table.itertuples():
        metrics = json.loads((runs / str(row.run) / "metrics.json").read_text())
        assert row.test_iou == metrics["test"]["iou"]
        assert row.gap_val_iou == metrics["gap"]["val"]["iou"]
        assert row.best_val_iou == metrics["best"]["val"]["iou"]
    history = pd.read_csv(runs / "kaiming_normal-0-0/history.csv")
    rows = gap[gap["run"] == "kaiming_normal-0-0"]
    assert (rows["gap"] == (1 - history["val_iou"]) - (1 - history["train_iou"])).all()


def test_the_summary_names_each_variant_once(reports: Path) -> None:
    summary = json.loads((reports / "summary.json").read_text())
    assert next(iter(summary)) == "kaiming_normal-0"
    table = pd.read_csv(reports / "ablation.csv")
    expected = table.groupby("variant", sort=False)["test_iou"].mean().to_list()
    assert [row["test_iou"] for row in summary.values()] == pytest.approx(expected, abs=1e-15)


def test_the_same_runs_give_the_same_bytes_however_wide_the_terminal(
    runs: Path, tiles: Path, reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "33")
    report.run(runs, tiles, tmp_path, GRID, JUDGE, "0" * 64)
    for path in reports.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / path.relative_to(reports)).read_bytes(), path.name


def test_variants_share_a_line_if_their_curves_agree(reports: Path) -> None:
    svg = (reports / "figures/rates.svg").read_text()
    labels = set(re.findall(r">([^<]*warmup_epochs[^<]*)<", svg))
    assert labels == {f"init kaiming_normal, warmup_epochs {n} | init xavier_normal, warmup_epochs {n}" for n in (0, 1)}


@pytest.mark.parametrize("axes", [["seed"], ["init"], ["lr", "seed"]])
def test_grids_of_other_shapes_have_a_report(tiles: Path, tmp_path: Path, axes: list[str]) -> None:
    levels: dict[str, list[Any]] = {"seed": [0, 1], "init": ["kaiming_normal", "xavier_normal"], "lr": [0.01, 0.1, 0.2]}
    grid = expand({axis: levels[axis] for axis in axes})
    for name, point in grid.items():
        run_training(tiles, tmp_path / "runs" / name, dataclasses.replace(TINY, epochs=2, **point))  # type: ignore[arg-type]
        evaluate.run(tiles, tmp_path / "runs" / name, Evaluate(device="cpu"))
    report.run(tmp_path / "runs", tiles, tmp_path / "reports", grid, JUDGE, "0" * 64)
    assert len(list((tmp_path / "reports/figures").iterdir())) == len(FIGURES)
    effects = pd.read_csv(tmp_path / "reports/effects.csv")
    assert len(effects) == {"seed": 0, "init": 6, "lr": 12}[axes[0]]


def test_a_missing_run_is_named(runs: Path, tiles: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    (tmp_path / "runs/xavier_normal-1-0/metrics.json").unlink()
    with pytest.raises(
        InputError, match=r"xavier_normal-1-0/metrics\.json: missing; train and evaluate this run first"
    ):
        report.run(tmp_path / "runs", tiles, tmp_path / "reports", GRID, JUDGE, "0" * 64)
    assert not (tmp_path / "reports").exists()


def test_a_run_of_another_value_is_refused(runs: Path, tiles: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "xavier_normal-1-0", tmp_path / "xavier_normal-1-7")
    grid = expand({"init": ["xavier_normal"], "warmup_epochs": [1], "seed": [7]})
    with pytest.raises(InputError, match="was trained with seed 0, not 7"):
        report.run(tmp_path, tiles, tmp_path / "reports", grid, JUDGE, "0" * 64)


def test_all_missing_runs_are_named(runs: Path, tiles: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/xavier_normal-1-0")
    (tmp_path / "runs/kaiming_normal-0-1/scenes.csv").unlink()
    with pytest.raises(InputError, match=r"kaiming_normal-0-1/scenes\.csv; .*xavier_normal-1-0/config\.json: missing"):
        report.run(tmp_path / "runs", tiles, tmp_path / "reports", GRID, JUDGE, "0" * 64)


def test_a_diverged_run_is_counted_and_named(runs: Path, tiles: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    path = tmp_path / "runs/xavier_normal-1-0/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "diverged"}))
    (path.parent / "history.csv").write_text((path.parent / "history.csv").read_text().splitlines()[0] + "\n")
    status = json.loads((path.parent / "status.json").read_text())
    (path.parent / "status.json").write_text(json.dumps({**status, "status": "diverged", "epoch": 0}))
    report.run(tmp_path / "runs", tiles, tmp_path / "reports", GRID, JUDGE, "0" * 64)
    html, text = ((tmp_path / "reports" / name).read_text() for name in ("index.html", "summary.md"))
    for page in (html, text):
        assert "Failed, and counted against their variants: " in page
        assert "xavier_normal-1-0 (diverged)" in page
    effects = pd.read_csv(tmp_path / "reports/effects.csv").set_index(["axis", "outcome"])
    assert effects.loc[("init", "gap_test_iou"), ["pairs", "lost", "seeds"]].tolist() == [4, 1, 1]
    table = pd.read_csv(tmp_path / "reports/ablation.csv").set_index("run")
    assert table.loc["xavier_normal-1-0", "status"] == "diverged"
    iou = table["test_iou"].where(table["status"] == "finished", 0)
    expected = iou[table["init"] == "xavier_normal"].mean() - iou[table["init"] == "kaiming_normal"].mean()
    assert effects.loc[("init", "test_iou"), "difference"] == pytest.approx(expected)


def test_a_report_of_runs_that_all_diverged_says_so(runs: Path, tiles: Path, tmp_path: Path) -> None:
    """They diverged at the start, so no loss is a number."""
    shutil.copytree(runs, tmp_path / "runs")
    for path in (tmp_path / "runs").glob("*/metrics.json"):
        metrics = json.loads(path.read_text()) | {"status": "diverged"}
        for split in ("train", "val", "test"):
            metrics[split]["loss"] = metrics["best"][split]["loss"] = None
        for split in ("val", "test"):
            metrics["gap"][split]["loss"] = metrics["best"]["gap"][split]["loss"] = None
        path.write_text(json.dumps(metrics))
    report.run(tmp_path / "runs", tiles, tmp_path / "reports", GRID, JUDGE, "0" * 64)
    assert (tmp_path / "reports/index.html").read_text().count("(diverged)") == len(GRID)
    assert json.loads((tmp_path / "reports/summary.json").read_text())["kaiming_normal-0"]["test_iou"] == 0


def test_broken_tiles_are_refused(runs: Path, tiles: Path, tmp_path: Path) -> None:
    shutil.copytree(tiles, tmp_path / "tiles")
    for name in ("images", "masks"):
        np.save(tmp_path / f"tiles/{name}.npy", np.load(tiles / f"{name}.npy")[:3])
    with pytest.raises(
        InputError, match=r"tiles: images\.npy, masks\.npy and tiles\.csv differ in length; run normalize again"
    ):
        report.run(runs, tmp_path / "tiles", tmp_path / "reports", GRID, JUDGE, "0" * 64)


def test_the_summary_in_markdown_has_verdicts_and_variants(reports: Path) -> None:
    text = (reports / "summary.md").read_text()
    assert text.startswith("## Do init and warmup_epochs change how well the model generalises")
    assert "- **init: xavier_normal against kaiming_normal**\n  - **inconclusive**: test IoU: " in text
    rows = [line for line in text.splitlines() if line.startswith("| init")]
    assert len(rows) == 4
    assert all(line.count("|") == rows[0].count("|") == 4 + len(SHOWN) for line in rows)
