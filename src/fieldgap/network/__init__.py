"""A network fitted to its tiles, placed on a device, and measured.

`build.py` puts a network together, `deterministic.py` replaces layers whose gradients do not repeat, `device.py` sets
up torch, and `measure.py` computes the metrics of every split and epoch. The architectures are in `parts/`, the
training loop is in `training/`, and what is computed from a finished run is in `evaluation/`.
"""
