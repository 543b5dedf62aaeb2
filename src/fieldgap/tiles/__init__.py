"""Packed tiles, and tiles as batches on a device.

`packed.py` maps the files that stage normalize wrote and loads no torch; `splits.py` says which split each tile is in;
`batches.py` brings tiles to a device, shuffled and augmented from the seed. How tiles are cut is in `data/`.
"""
