"""Stage evaluate: every split measured with a finished run's weights, and where the run errs.

It measures with the code that training measures with, in `network/measure.py`. What differs between runs is
`analysis/`.
"""
