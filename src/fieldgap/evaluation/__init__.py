"""Stage evaluate: measure a run on every split, and break down where it errs.

The metrics come from `network/measure.py`, as those of training do. How runs compare with each other is in `analysis/`.
"""
