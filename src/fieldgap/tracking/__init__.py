"""Stage record: the runs of a grid and their ablation in MLflow. The only room that imports MLflow.

`entries.py` says what MLflow is told of a run, `outbox.py` keeps what a store did not accept, `spools.py` reads what
trainings write while they run, and `unfit.py` sets aside what neither can use. `store.py` finds the MLflow run of a
key, `sqlite.py` makes and moves the file of a local store, and `upload.py` sends what a run lacks. `registry.py` makes
the best run a registered model, which is `served.py` with the code that `shipped.py` finds. No stage reads MLflow back.
The UI, the mirror of trainings under way and the merging of other machines' spools are in `commands/`.
"""
