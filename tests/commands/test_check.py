"""The pipeline accepts what check proposes for folders in many styles."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from conftest import ELSEWHERE, NORMALIZE, ROOT, SPLIT, TINY, call, run_training
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from projects import SMALL, configure
from styles import STYLES, Scene, save, save_tiff

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json, read_rows
from fieldgap.base.labels import IGNORE
from fieldgap.cli import main
from fieldgap.commands import check
from fieldgap.commands.sharing import places_of
from fieldgap.data import normalize, split
from fieldgap.data.pairs import scenes_in
from fieldgap.evaluation import evaluate
from fieldgap.settings.params import check as check_params
from fieldgap.settings.sections import Evaluate

CLASSES = {"colour masks": 3, "indexed masks with a border": 3}
BANDS = {"sixteen bit geotiffs": 4}
IGNORED = {"sixteen bit geotiffs": 6 * 64, "transparent images": 8 * 64, "indexed masks with a border": 5 * 64}


@pytest.fixture(scope="module")
def drawn(scenes: Path) -> list[Scene]:
    paths = sorted((scenes / "images").iterdir())
    masks = [cv2.imread(str(scenes / f"masks/{path.stem}_mask.png"), cv2.IMREAD_GRAYSCALE) > 0 for path in paths]
    return [(cv2.imread(str(path))[:, :, ::-1], mask) for path, mask in zip(paths, masks, strict=True)]


def proposed(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """Return the lines that check proposes for a folder, parsed like params.yaml."""
    check.run(folder)
    stdout = capsys.readouterr().out
    assert f"{folder}: 12 scenes" in stdout
    assert "; the tiles use 100.0% of all pixels" in stdout
    return yaml.safe_load(stdout.split("# params.yaml")[1].split("\n", 1)[1])


@pytest.mark.parametrize("style", STYLES)
def test_the_proposed_values_are_accepted_and_can_be_trained_on(
    style: str, drawn: list[Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "Data of somebody"
    folder.mkdir()
    STYLES[style](folder, drawn)
    proposal = proposed(folder, capsys)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for block, values in proposal.items():
        params[block] |= values
    config = check_params(params)
    assert proposal["normalize"]["tile"] == 64

    split.run(config.data, tmp_path / "split.csv", SPLIT)
    normalize.run(config.data, tmp_path / "split.csv", ELSEWHERE, tmp_path / "tiles", replace(NORMALIZE, tile=64))
    images, masks = (np.load(tmp_path / f"tiles/{name}.npy") for name in ("images", "masks"))
    assert images.shape == (12, 64, 64, BANDS.get(style, 3))
    assert set(np.unique(masks)) - {IGNORE} == set(range(CLASSES.get(style, 2)))
    assert {int((mask == IGNORE).sum()) for mask in masks} == {IGNORED.get(style, 0)}
    farmland = np.stack([farm for _, farm in drawn])
    assert ((masks > 0) == farmland)[masks != IGNORE].mean() > 0.99, (
        "the mask is the drawn one, apart from pixels that JPEG blurred"
    )

    run_training(tmp_path / "tiles", tmp_path / "run", replace(TINY, epochs=2, warmup_epochs=0, batch_size=2))
    evaluate.run(tmp_path / "tiles", tmp_path / "run", Evaluate(device="cpu"))
    assert 0 <= read_json(tmp_path / "run/metrics.json")["test"]["mean_iou"] <= 1


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_the_whole_pipeline_runs_on_every_style(
    style: str, drawn: list[Scene], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("own") / "Data of somebody"
    folder.mkdir()
    STYLES[style](folder, drawn)
    stdout = call(project, "python", "-m", "fieldgap", "check", str(folder)).stdout
    configure(project, SMALL)
    (project / "mine.yaml").write_text(stdout.split("# params.yaml")[1].split("\n", 1)[1])
    call(
        project,
        "snakemake",
        "--cores",
        "2",
        "--configfile",
        "mine.yaml",
        "--config",
        "normalize={tile: 32}",
    )
    assert (project / "reports/index.html").stat().st_size > 100_000


def test_inverted_masks_need_only_two_lists(drawn: list[Scene], tmp_path: Path) -> None:
    STYLES["two folders"](tmp_path, [(image, ~farm) for image, farm in drawn])
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["data"] |= {"images": str(tmp_path / "images"), "masks": str(tmp_path / "masks")}
    params["data"] |= {"foreground": [0], "background": [255]}
    data = check_params(params).data
    split.run(data, tmp_path / "split.csv", SPLIT)
    normalize.run(data, tmp_path / "split.csv", ELSEWHERE, tmp_path / "tiles", replace(NORMALIZE, tile=64))
    assert np.array_equal(np.load(tmp_path / "tiles/masks.npy"), np.stack([farm for _, farm in drawn]))


def test_unusable_files_are_listed_after_the_table(
    drawn: list[Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    STYLES["two folders"](tmp_path, drawn)
    (tmp_path / "images/s03.png").write_bytes(b"")
    save(tmp_path / "masks/s07_mask.png", np.zeros((5, 64), np.uint8))
    with pytest.raises(InputError) as error:
        check.run(tmp_path)
    assert "2 of 12 scenes cannot be used" in str(error.value)
    assert "s03.png: is empty" in str(error.value)
    assert "s07_mask.png: is 64 x 5 px but s07.png is 64 x 64 px" in str(error.value)
    stdout = capsys.readouterr().out
    assert re.search(r"64 x 64 px, 3 x 8 bit +10\n", stdout)
    assert "foreground: [255]" in stdout


def test_scenes_that_show_the_same_place_are_listed(
    drawn: list[Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    STYLES["two folders"](tmp_path, drawn)
    for name in ("images/{}.png", "masks/{}_mask.png"):
        shutil.copy(tmp_path / name.format("s01"), tmp_path / name.format("s99"))
    check.run(tmp_path)
    assert "pairs of scenes that show the same place: 1\n  s01 and s99: same bytes" in capsys.readouterr().out


def test_overlapping_geotiffs_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, place in enumerate((0, 0.05, 3)):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8)
        save_tiff(tmp_path / f"s{i}.tif", pixels, place)  # type: ignore[arg-type]
        save(tmp_path / f"s{i}_mask.png", np.eye(64, dtype=np.uint8))
    check.run(tmp_path)
    stdout = capsys.readouterr().out
    assert "s0 and s1: overlap" in stdout
    assert re.search(r"EPSG:32615 +3\n", stdout)


@pytest.mark.parametrize("names", [["a/x.png", "b/y.png"], ["x.png", "y.png"], []])
def test_a_folder_whose_files_do_not_pair_up_is_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="no files that pair up by their names"):
        check.run(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        check.run(tmp_path / "nowhere")


FOLDERS = [("SegmentationClass", "{}.png"), ("trainannot", "{}.png"), ("lbl", "{}_lbl.png"), ("masques", "m_{}.png")]


@pytest.mark.parametrize(("name", "mask"), FOLDERS)
def test_masks_are_found_by_their_names_and_not_by_that_of_their_folder(
    drawn: list[Scene], tmp_path: Path, name: str, mask: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside previews, pictures of something else, hidden folders and files of other kinds."""
    for folder in ("a/photos", f"b/{name}", "previews", ".thumbs"):
        (tmp_path / folder).mkdir(parents=True)
    for i, (image, farm) in enumerate(drawn):
        save(tmp_path / f"a/photos/s{i:02d}.jpg", image)
        save(tmp_path / f"b/{name}" / mask.format(f"s{i:02d}"), farm * np.uint8(255))
        save(tmp_path / f"previews/s{i:02d}.jpg", image[::4, ::4])
        save(tmp_path / f".thumbs/s{i:02d}.png", farm * np.uint8(255))
    save(tmp_path / "overview.png", drawn[0][0])
    (tmp_path / "labels.mat").write_bytes(b"x")
    proposal = proposed(tmp_path, capsys)
    assert proposal["data"]["images"] == str(tmp_path / "a/photos")
    assert proposal["data"]["masks"] == str(tmp_path / "b" / name)
    assert proposal["data"]["mask_pattern"] == mask.format("{stem}")


@pytest.mark.parametrize(
    ("image", "mask", "pattern"),
    [
        ("{}_sat.jpg", "{}_mask.png", "{stem}_sat.jpg"),
        ("image_{}.png", "label_{}.png", "image_{stem}"),
        ("a/image_{}.png", "b/label_{}.png", "image_{stem}"),
        ("a/{}_rgb_v2.tif", "b/{}_gt.tif", "{stem}_rgb_v2.tif"),
    ],
)
def test_images_may_have_names_of_their_own(
    drawn: list[Scene], tmp_path: Path, image: str, mask: str, pattern: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, (pixels, farm) in enumerate(drawn):
        for name, content in ((image, pixels), (mask, farm * np.uint8(255))):
            path = tmp_path / name.format(f"{i:03d}")
            path.parent.mkdir(exist_ok=True)
            save(path, content)
    proposal = proposed(tmp_path, capsys)
    assert proposal["data"]["image_pattern"] == pattern
    assert proposal["data"]["mask_pattern"] == Path(mask).name.format("{stem}")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["data"] |= proposal["data"]
    assert list(scenes_in(check_params(params).data)) == [f"{i:03d}" for i in range(12)]


def test_what_no_scene_uses_is_named(drawn: list[Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    STYLES["two folders"](tmp_path, drawn)
    save(tmp_path / "masks/left_over.png", drawn[0][0])
    (tmp_path / "labels.mat").write_bytes(b"x")
    check.run(tmp_path)
    stdout = capsys.readouterr().out
    assert f"1 image files are part of no scene, such as {tmp_path}/masks/left_over.png" in stdout
    assert "1 .mat file passed over" in stdout


def test_images_without_a_mask_are_counted_and_the_proposed_lines_leave_them_out(
    drawn: list[Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    STYLES["two folders"](tmp_path, drawn)
    (tmp_path / "masks/s03_mask.png").unlink()
    check.run(tmp_path)
    stdout = capsys.readouterr().out
    assert f"1 image files have no mask, such as {tmp_path}/images/s03.png" in stdout
    assert yaml.safe_load(stdout.split("# params.yaml")[1].split("\n", 1)[1])["data"]["unlabelled"] == "skip"


@pytest.mark.parametrize(("count", "seed"), [(3, True), (12, False)])
def test_in_a_project_small_sets_get_a_seed_and_a_batch_size_that_work(
    count: int, seed: bool, drawn: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 5 leaves a split of the three scenes empty."""
    folder = tmp_path / "set"
    folder.mkdir()
    STYLES["two folders"](folder, drawn[:count])
    monkeypatch.chdir(folder)
    check.run(folder, write=tmp_path / "elsewhere.yaml")
    assert yaml.safe_load((tmp_path / "elsewhere.yaml").read_text()).keys() == {"data", "normalize"}
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    check.run(folder, write=Path("mine.yaml"))
    params, mine = (yaml.safe_load(Path(name).read_text()) for name in ("params.yaml", "mine.yaml"))
    assert ("split" in mine) == seed
    for block, values in mine.items():
        params[block] |= values
    settings = check_params(params)
    split.run(settings.data, Path("split.csv"), replace(settings.split, table=str(ROOT / "params/scenes.csv")))
    normalize.run(settings.data, Path("split.csv"), ELSEWHERE, Path("tiles"), settings.normalize)
    training = [row for row in read_rows(Path("tiles/tiles.csv")) if row["split"] == "train"]
    assert 2 * int(settings.train["batch_size"]) <= max(2, len(training))


def test_scenes_of_one_place_stay_together_by_the_table_that_is_written(
    drawn: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    STYLES["two folders"](folder, [*drawn, *drawn[:5], *drawn[:2]])
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    check.run(folder, write=Path("mine.yaml"))
    params, mine = (yaml.safe_load(Path(name).read_text()) for name in ("params.yaml", "mine.yaml"))
    assert (mine["split"]["table"], mine["split"]["group"]) == ("mine.csv", "column:place")
    for block, values in mine.items():
        params[block] |= values
    settings = check_params(params)
    split.run(settings.data, Path("split.csv"), settings.split)
    normalize.run(settings.data, Path("split.csv"), ELSEWHERE, Path("tiles"), settings.normalize)
    assert settings.normalize.leakage == "error", "and nothing leaks"
    rows = {row["scene"]: row for row in read_rows(Path("split.csv"))}
    assert rows["s00"]["group"] == rows["s12"]["group"] == rows["s17"]["group"] == "s00"
    counted = Counter(row["split"] for row in rows.values())
    assert "{train} train, {val} val, {test} test;".format(**counted) in capsys.readouterr().out
    with pytest.raises(InputError, match=r"mine\.csv: exists already"):
        check.run(folder, write=Path("mine.txt").with_name("mine.yml"))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_places_are_the_connected_parts_of_all_pairs(pairs: list[tuple[int, int]]) -> None:
    parts = {number: {number} for number in range(10)}
    for one, other in pairs:
        joined = parts[one] | parts[other]
        for number in joined:
            parts[number] = joined
    places = places_of(map(str, range(10)), [(str(one), str(other)) for one, other in pairs])
    assert places == {str(number): str(min(part)) for number, part in parts.items()}


def test_a_long_list_of_equal_places_is_cut_short(
    drawn: list[Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    STYLES["two folders"](tmp_path, drawn[:1] * 20)
    check.run(tmp_path)
    stdout = capsys.readouterr().out
    [count] = re.findall("pairs of scenes that show the same place: ([0-9]+)", stdout)
    assert stdout.count(": same bytes") == 12 < int(count)
    assert f"  and {int(count) - 12} more" in stdout


def test_of_several_answers_the_flags_choose_one(
    drawn: list[Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    STYLES["two folders"](tmp_path, drawn)
    (tmp_path / "second").mkdir()
    for i, (_, farm) in enumerate(drawn):
        save(tmp_path / f"second/s{i:02d}.png", ~farm * np.uint8(255))
    with pytest.raises(InputError) as error:
        check.run(tmp_path)
    images = tmp_path / "images"
    assert f"--images {images} --masks {tmp_path}/masks: 12 pairs, masks named {{stem}}_mask.png" in str(error.value)
    assert f"--images {images} --masks {tmp_path}/second: 12 pairs, masks named {{stem}}.png" in str(error.value)
    for masks in (Path("second"), tmp_path / "second"):
        check.run(tmp_path, masks=masks)
        assert f'masks: "{tmp_path}/second"' in capsys.readouterr().out


def test_the_lines_are_written_to_a_new_file(
    drawn: list[Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    STYLES["two folders"](tmp_path, drawn)
    mine = tmp_path / "mine.yaml"
    assert main(["check", str(tmp_path), "--write", str(mine)]) == 0
    assert yaml.safe_load(mine.read_text()) == yaml.safe_load(
        capsys.readouterr().out.split("\n# params.yaml")[1].split("\n", 1)[1]
    )
    assert main(["check", str(tmp_path), "--write", str(mine)]) == 1
    assert "mine.yaml: exists already" in capsys.readouterr().err


def accepted(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> np.ndarray:
    """Return the masks that normalize makes with what check proposes for a folder."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for block, values in proposed(folder, capsys).items():
        params[block] |= values
    config = check_params(params)
    split.run(config.data, tmp_path / "split.csv", SPLIT)
    normalize.run(config.data, tmp_path / "split.csv", ELSEWHERE, tmp_path / "tiles", replace(NORMALIZE, tile=64))
    return np.load(tmp_path / "tiles/masks.npy")


def test_palettes_in_different_orders_are_proposed_as_colours(
    drawn: list[Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    STYLES["two folders"](tmp_path, drawn)
    for index, path in enumerate(sorted((tmp_path / "masks").iterdir())):
        farm = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0
        indexed = Image.fromarray((farm != index % 2).astype(np.uint8), "P")
        indexed.putpalette([0, 200, 0, 0, 0, 0] if index % 2 else [0, 0, 0, 0, 200, 0])
        indexed.save(path)
    masks = accepted(tmp_path, tmp_path, capsys)
    assert np.array_equal(masks, np.stack([farm for _, farm in drawn]))


def test_reflectances_in_arrays_are_accepted_and_no_two_are_alike(
    drawn: list[Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for index, (image, farm) in enumerate(drawn):
        np.save(tmp_path / f"images/s{index:02d}.npy", image.astype(np.float32) / 300 - 0.1)
        np.save(tmp_path / f"masks/s{index:02d}.npy", np.where(farm, 1, 0))
    check.run(tmp_path)
    stdout = capsys.readouterr().out
    assert re.search(r"64 x 64 px, 3 x float32 +12\n", stdout)
    assert "pairs of scenes that show the same place: 0" in stdout
    assert 'scale: "percentiles:1:99"' in stdout
    assert np.array_equal(accepted(tmp_path, tmp_path, capsys), np.stack([farm for _, farm in drawn]))


def test_a_mask_that_lies_elsewhere_is_named(tmp_path: Path) -> None:
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8)
        save_tiff(tmp_path / f"s{i}.tif", pixels, i)
        save_tiff(tmp_path / f"s{i}_mask.tif", np.eye(64, dtype=np.uint8)[:, :, None], i + 300 * (i == 1))
    with pytest.raises(InputError, match=r"1 of 3 scenes cannot be used:\n  .*s1_mask\.tif: covers EPSG:32615 801000"):
        check.run(tmp_path)
