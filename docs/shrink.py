"""Shrink scenes to a quarter of their size: python docs/shrink.py FROM TO, two folders with images/ and masks/."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2

for kind, interpolation in (("images", cv2.INTER_AREA), ("masks", cv2.INTER_NEAREST)):
    source, target = (Path(folder, kind) for folder in sys.argv[1:3])
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        scene = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(target / path.name), cv2.resize(scene, None, fx=0.25, fy=0.25, interpolation=interpolation))
