"""The parts that an ablation varies: initialisers, schedules, losses, optimizers and networks.

Each part is a function that is found by its name, and its keyword-only parameters are its options. To add one, write a
function and a line in the registry of its kind, or name it as `package.module:function` in params.yaml. How an
initialiser reaches the layers of a network is in `training/initialise.py`; how a network is fitted to its tiles is in
`network/`.
"""
