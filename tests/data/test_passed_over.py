from __future__ import annotations

from collections import Counter
from pathlib import Path

from fieldgap.data.pairs import SUFFIXES
from fieldgap.data.passed_over import MENDS, as_lines, passed_over


def test_files_that_look_like_scenes_or_labels_are_counted_by_suffix(tmp_path: Path) -> None:
    (tmp_path / "images/.hidden").mkdir(parents=True)
    for name in (
        "a.mat",
        "b.MAT",
        "c.v2.mat",
        "a.png",
        "README.md",
        "a.tif.aux.xml",
        "._a.mat",
        "a.tfw",
        ".hidden/a.mat",
    ):
        (tmp_path / "images" / name).touch()
    (tmp_path / "labels.geojson").touch()
    (tmp_path / "fields.gdb").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "images")
    found = passed_over(tmp_path)
    assert found == Counter({".mat": 3, ".geojson": 1, ".gdb": 1})
    assert as_lines(found) == [
        "3 .mat files passed over; convert or unpack them to GeoTIFF, PNG or .npy files if they are scenes",
        "1 .gdb file passed over; draw masks from them first if they hold the labels",
        "1 .geojson file passed over; draw masks from them first if they hold the labels",
    ]
    assert as_lines(Counter()) == []


def test_nothing_that_is_read_counts_as_passed_over() -> None:
    assert not {f".{suffix}" for suffix in MENDS} & set(SUFFIXES)
