"""Stage train: one run of the grid, from its initial weights to its last epoch.

The loop is `train.py`. Beside it: how a run starts, gradients, CUDA graphs, several processes, less memory, the state
from which a killed run goes on, and what a training says of itself while it runs. Networks are in `network/`, their
parts in `parts/`, the reading of that journal in `tracking/`.
"""
