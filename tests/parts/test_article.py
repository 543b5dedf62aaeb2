"""What docs/article.md claims: what goes wrong in the article's code, and that it does not go wrong here."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PATTERN, ROOT, pair
from torch import nn
from torchvision.transforms import functional

from fieldgap.base.errors import InputError
from fieldgap.data.masks import classify, make_table
from fieldgap.parts.schedules import article_warmup_cosine, cosine


def test_floor_division_drops_what_is_nearly_255() -> None:
    mask = np.array([[0, 254, 255]], np.uint8)
    assert (mask // 255).tolist() == [[0, 0, 1]]
    table = make_table({"background": ("0",), "farmland": ("255",)}, (), tolerance=0)
    with pytest.raises(InputError, match=r"m\.png: contains 254, which"):
        classify(mask[:, :, None], None, table, Path("m.png"))
    near = make_table({"background": ("0",), "farmland": ("255",)}, (), tolerance=1)
    assert classify(mask[:, :, None], None, near, Path("m.png")).classes.tolist() == [[0, 1, 1]]


def scenes(folder: Path, names: list[str]) -> Path:
    """Return a folder of empty files, created in the order of `names`."""
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


def test_a_stem_may_hold_dots(tmp_path: Path) -> None:
    name = "40.1--90.2.png"
    assert name.split(".", maxsplit=1)[0] == "40"
    folder = scenes(tmp_path / "a", [name, "40.1--90.2_mask.png"])
    assert list(pair(folder, folder, PATTERN)) == ["40.1--90.2"]


def test_pairs_do_not_depend_on_the_order_of_the_folder(tmp_path: Path) -> None:
    names = ["b.png", "a_mask.png", "c.png", "a.png", "c_mask.png", "b_mask.png"]
    folders = [scenes(tmp_path / str(i), order) for i, order in enumerate((names, names[::-1]))]
    pairs = [[(image.name, mask.name) for image, mask in pair(f, f, PATTERN).values()] for f in folders]
    assert pairs[0] == pairs[1] == [(f"{s}.png", f"{s}_mask.png") for s in "abc"]


def test_to_tensor_takes_four_times_the_bytes() -> None:
    tile = np.zeros((128, 128, 3), np.uint8)
    tensor = functional.to_tensor(tile)
    assert tensor.dtype == torch.float32
    assert (tensor.nbytes, tile.nbytes) == (196_608, 49_152)


def test_a_generator_of_batches_holds_one_at_a_time() -> None:
    def batches() -> Iterator[np.ndarray]:
        for _ in range(50):
            yield np.ones(100_000, np.uint8)

    def peak_bytes(kind: Callable[[Iterator[np.ndarray]], Iterable[np.ndarray]]) -> int:
        tracemalloc.start()
        total = sum(int(batch[0]) for batch in kind(batches()))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == 50
        return peak

    assert peak_bytes(list) > 50 * 100_000
    assert peak_bytes(iter) < 3 * 100_000


def test_the_demonstration_block_cannot_run() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3))
    with pytest.raises(RuntimeError, match="to have 3 channels, but got 2"):
        net(torch.zeros(1, 3, 8, 8))


class CompoundingScheduler:
    """The article's scheduler, called after each epoch: its cosine branch overwrites the base rate."""

    def __init__(self, base_lr: float, epochs: int) -> None:
        self.base_lr, self.epochs = base_lr, epochs

    def __call__(self, epoch: int) -> float:
        self.base_lr = self.base_lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        return self.base_lr


@pytest.mark.parametrize("epochs", [1, 7, 40])
def test_the_slip_multiplies_all_factors_so_far(epochs: int) -> None:
    scheduler = CompoundingScheduler(0.1, epochs)
    for epoch in range(1, epochs + 1):
        assert 0.1 * article_warmup_cosine(epoch / epochs, epochs=epochs) == pytest.approx(scheduler(epoch), rel=1e-12)
    if epochs == 40:
        assert article_warmup_cosine(0.5, epochs=40) == pytest.approx(0.0086, abs=5e-5)
        assert cosine(0.5) == pytest.approx(0.5)


def test_the_page_names_tests_that_exist() -> None:
    page = (ROOT / "docs/article.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = [word for word in page.split("`") if word.startswith("test_")]
    assert len(named) > 8
    for name in named:
        assert f"def {name}(" in sources, name
