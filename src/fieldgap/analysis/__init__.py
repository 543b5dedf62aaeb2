"""Turn the runs of a grid into tables, effects and verdicts.

`runs.py` reads the runs from disk; everything else is a pure function of what it returns: paired comparisons over
seeds, their tests and intervals, resampled scenes, fresh scenes, and published statements. How results are worded and
drawn is the business of `report/`; how a single run is scored, that of `evaluation/`.
"""
