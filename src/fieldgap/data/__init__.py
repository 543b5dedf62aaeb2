"""Scenes as people have them, on their way to tiles: stages split and normalize, and the audit for leakage.

Files are paired by name, read in any format, their masks turned into classes, and cut into tiles. Packed tiles are read
in `tiles/`; what a folder holds and which values accept it is told by `commands/check.py`.
"""
