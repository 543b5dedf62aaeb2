"""What an ablation varies, found by name: inits, schedules, losses, optimizers and networks.

Each part is a function or a class in a registry, and its keyword-only parameters are its options. A part of your own
needs a function and a line here, or `package.module:function` in params.yaml. How weights reach the layers of a network
is in `training/initialise.py`, how a network is built for its tiles in `network/`.
"""
