"""Packed tiles, and tiles as batches on a device.

`packed.py` reads the files that stage normalize writes, and needs no torch; `splits.py` says which split of a run each
tile is in; `batches.py` brings tiles to a device, shuffled and augmented. How scenes are cut into tiles is in `data/`.
"""
