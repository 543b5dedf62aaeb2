"""Scenes are read by threads in portions, and come back in order."""

from __future__ import annotations

import threading
from pathlib import Path

from fieldgap.base.environment import cores
from fieldgap.data.reading import PORTION, PORTION_BYTES, Item, in_order, portions


def scenes(folder: Path, sizes: list[int]) -> list[Item]:
    """Write files of these sizes; their masks are missing."""
    for index, size in enumerate(sizes):
        (folder / f"{index}.png").write_bytes(bytes(size))
    return [(str(index), (folder / f"{index}.png", folder / f"{index}_mask.png")) for index in range(len(sizes))]


def test_small_files_go_together_and_large_ones_end_a_portion(tmp_path: Path) -> None:
    items = scenes(tmp_path, [10] * (PORTION + 2) + [PORTION_BYTES + 1, PORTION_BYTES + 1, 10])
    found = list(portions(items))
    assert [len(portion) for portion in found] == [PORTION, 3, 1, 1]
    assert [item for portion in found for item in portion] == items
    assert list(portions([])) == []


def test_results_come_in_order_and_few_wait(tmp_path: Path) -> None:
    items, begun, lock = scenes(tmp_path, [10] * 40 * PORTION), 0, threading.Lock()

    def number(item: Item) -> int:
        nonlocal begun
        with lock:
            begun += 1
        return int(item[0])

    for index, result in enumerate(in_order(number, items)):
        assert result == index
        assert begun <= index + (2 * cores() + 2) * PORTION
