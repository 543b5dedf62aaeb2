"""Files in a folder that look like images or annotations but are of no format that is read, to be named."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

RASTERS = """
    avif heic heif jxl exr tga ico psd svg pdf dng cr2 nef arw vrt img ecw sid bil bsq bip asc dem hdf h4 h5 hdf5 nc nc4
    grib grb zarr mat pkl pickle pt pth rds fits dcm nii parquet mp4 avi mov zip tar gz tgz 7z rar bz2 xz
"""
ANNOTATIONS = "json jsonl geojson xml csv txt yaml yml shp gpkg gdb kml kmz gml fgb topojson"
MENDS = {
    **dict.fromkeys(RASTERS.split(), "convert or unpack them to GeoTIFF, PNG or .npy files if they are scenes"),
    **dict.fromkeys(ANNOTATIONS.split(), "draw masks from them first if they hold the labels"),
}
SIDE_CARS = (".aux.xml", ".msk.xml")


def passed_over(folder: Path) -> Counter[str]:
    """Return how many files below a folder look like scenes or labels but are not read, by suffix.

    Hidden files and folders are not counted, nor are those that accompany an image. Links are not followed.
    """
    counts: Counter[str] = Counter()
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (*names, *folders):  # Some formats are folders.
            suffix = name.lower().rpartition(".")[2]
            if suffix in MENDS and not name.startswith(".") and not name.lower().endswith(SIDE_CARS):
                counts[f".{suffix}"] += 1
    return counts


def as_lines(counts: Counter[str]) -> list[str]:
    """Return a line for each suffix, the most frequent first, such as "12 .mat files passed over; convert ..."."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        f"{count} {suffix} {'file' if count == 1 else 'files'} passed over; {MENDS[suffix[1:]]}"
        for suffix, count in ordered
    ]
