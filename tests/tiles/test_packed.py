from __future__ import annotations

import dataclasses
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_rows, write_rows
from fieldgap.tiles.batches import augmented, batch
from fieldgap.tiles.packed import load

CPU = torch.device("cpu")


def test_a_batch_is_channels_last_without_a_copy_of_its_own(tiles: Path) -> None:
    images, classes = batch(load(tiles), np.array([5, 2]), CPU)
    assert images.shape == (2, 3, 32, 32)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(images[0].permute(1, 2, 0), np.load(tiles / "images.npy")[5])
    assert np.array_equal(classes[1], np.load(tiles / "masks.npy")[2])


def test_splits_share_no_tile(tiles: Path) -> None:
    packed = load(tiles)
    parts = [packed.indices(split) for split in ("train", "val", "test")]
    assert sorted(np.concatenate(parts).tolist()) == list(range(48))


def test_the_eight_symmetries_are_distinct_and_move_image_and_mask_together() -> None:
    square = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4).expand(8, 3, 4, 4)
    images, classes = augmented(square, square[:, 0].long(), torch.arange(8))
    assert len({tuple(image.flatten().tolist()) for image in images}) == 8
    assert torch.equal(images[:, 0].long(), classes)
    assert torch.equal(images[0], square[0])
    for image in images:
        assert sorted(image[0].flatten().tolist()) == list(range(16))
        edges = (image[0, 0].int() - image[0, 1].int()).abs()
        assert edges.tolist() in ([1] * 4, [4] * 4)  # Neighbours stay neighbours.


def test_augmentation_of_a_tile_depends_on_its_own_draw_alone() -> None:
    square = torch.arange(16).reshape(1, 1, 4, 4)
    alone, _ = augmented(square, square[:, 0], torch.tensor([5]))
    together, _ = augmented(square.expand(3, 1, 4, 4), square[:, 0].expand(3, 4, 4), torch.tensor([1, 5, 0]))
    assert torch.equal(alone[0], together[1])


@pytest.mark.parametrize("name", ["images.npy", "masks.npy", "tiles.csv", "mask_report.json"])
def test_a_missing_file_is_named_with_its_stage(tiles: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(tiles, tmp_path / "tiles")
    (tmp_path / "tiles" / name).unlink()
    with pytest.raises(InputError, match=r"tiles.*run (normalize|the stage that makes it) again"):
        load(tmp_path / "tiles")


def test_files_of_two_makings_are_refused(tiles: Path, tmp_path: Path) -> None:
    shutil.copytree(tiles, tmp_path / "tiles")
    np.save(tmp_path / "tiles/masks.npy", np.zeros((3, 32, 32), np.uint8))
    with pytest.raises(InputError, match="differ in length"):
        load(tmp_path / "tiles")


def test_smaller_shares_of_the_training_scenes_lie_in_larger_ones(tiles: Path) -> None:
    packed = load(tiles)
    whole = packed.indices("train")
    shares = [packed.training(share) for share in (0.01, 0.4, 0.7, 1.0)]
    for smaller, larger in pairwise(shares):
        assert set(smaller) < set(larger)
    assert shares[-1].tolist() == whole.tolist()
    assert len(np.unique(packed.scenes[shares[0]])) == 1
    for chosen in shares:
        scenes = np.unique(packed.scenes[chosen])
        assert set(chosen) == {i for i in whole if packed.scenes[i] in scenes}, "scenes are taken whole"


def test_balanced_weights_give_each_class_the_same_sum_and_mean_one(tiles: Path) -> None:
    packed = load(tiles)
    indices = packed.training(1.0)
    counts = np.bincount(packed.masks[indices].ravel(), minlength=2)
    weights = np.array(packed.balanced_weights(indices))
    assert weights[0] * counts[0] == pytest.approx(weights[1] * counts[1])
    assert (weights * counts).sum() == pytest.approx(counts.sum())
    three = dataclasses.replace(packed, classes=("background", "farmland", "water"))
    assert three.balanced_weights(indices)[2] == 0


def folded(tiles: Path, tmp_path: Path) -> Path:
    """The tiles with folds 0 and 1 dealt to what is not in test."""
    shutil.copytree(tiles, tmp_path / "tiles")
    rows = read_rows(tiles / "tiles.csv")
    for row in rows:
        row["fold"] = "" if row["split"] == "test" else str(int(row["scene"][-1]) % 2)
    write_rows(tmp_path / "tiles/tiles.csv", rows)
    return tmp_path / "tiles"


def test_a_fold_is_val_and_the_others_train(tiles: Path, tmp_path: Path) -> None:
    folder = folded(tiles, tmp_path)
    whole, packs = load(folder), [load(folder, fold) for fold in (0, 1)]
    for fold, pack in enumerate(packs):
        assert pack.indices("test").tolist() == whole.indices("test").tolist()
        assert {int(scene[-1]) % 2 for scene in pack.scenes[pack.indices("val")]} == {fold}
        assert {int(scene[-1]) % 2 for scene in pack.scenes[pack.indices("train")]} == {1 - fold}
        pixels = pack.images[pack.indices("train")].reshape(-1, 3)
        np.testing.assert_allclose(pack.mean, pixels.mean(0), err_msg="the statistics are those of the fold's training")
    assert packs[0].indices("val").tolist() == packs[1].indices("train").tolist()
    with pytest.raises(InputError, match=r"fold: 2 is none of the folds of these tiles; raise split\.folds above 2"):
        load(folder, 2)


def test_split_by_tile_keeps_the_counts_and_tears_scenes_apart(tiles: Path) -> None:
    whole, torn = load(tiles), load(tiles, split_by="tile")
    for split in ("train", "val", "test"):
        assert len(whole.indices(split)) == len(torn.indices(split))
    shared = set(torn.scenes[torn.indices("train")]) & set(torn.scenes[torn.indices("val")])
    assert len(shared) > 3
    assert load(tiles, split_by="tile").splits.tolist() == torn.splits.tolist()
    assert torn.mean == whole.mean
