"""Scenes as people have them, on their way to tiles: the stages split and normalize, and the leakage audit.

Files are paired by name and decoded whatever their format, masks become classes, and scenes are cut into tiles. How
tiles are read and batched is in `tiles/`; which settings fit a folder is worked out by `commands/check.py`.
"""
