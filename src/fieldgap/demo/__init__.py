"""Stage demo: the drawn scenes of the default run, and fresh ones of the same kind.

Country, parcels, fields, borders, waters, farmsteads and trees, painted on a canvas from a seed. Nothing here knows how
scenes are read or cut; that is `data/`.
"""
