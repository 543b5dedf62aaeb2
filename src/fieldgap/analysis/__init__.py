"""Runs to tables, effects and verdicts: pure functions of what is on disk.

Paired differences over seeds, tests and intervals, resampled scenes, fresh scenes, published statements. How they are
told and drawn is `report/`; what a single run scores is `evaluation/`.
"""
