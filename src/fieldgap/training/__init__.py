"""Stage train: one run of the grid, from its initial weights to its last epoch.

`train.py` is the loop, to be read from top to bottom. Beside it: how a run starts (`start.py`, `initialise.py`), the
gradients of a batch (`gradients.py`, and `replay.py` as a CUDA graph), when a run has diverged, less memory
(`memory.py`, `recompute.py`), several processes (`parallel.py`), one process per run (`process.py`), the checkpoints
from which a killed run goes on (`state.py`, `checkpoints.py`), and what a run writes (`history.py`, `outputs.py`,
`progress.py`, `journal.py`). Networks are in `network/`, what they are made of in `parts/`, and what reads the journal
in `tracking/`.
"""
