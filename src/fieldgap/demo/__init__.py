"""Stage demo: the drawn scenes of the default ablation, and fresh ones of the same kind.

Parcels, fields, borders, waters, farmsteads and trees are painted on a canvas from a seed. How scenes are read and cut
is in `data/`.
"""
