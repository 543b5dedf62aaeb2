"""Stage record: the runs of a grid and their ablation in MLflow. The only room that imports MLflow.

`entries.py` says what MLflow is told of a run, `outbox.py` keeps what a store did not accept, `store.py` finds the
MLflow run of a key, `upload.py` sends what it lacks, `registry.py` makes the best run a registered model, which is
`served.py` with the code that `shipped.py` finds, and `spools.py` reads what trainings write while they run. No stage
reads MLflow back. The UI, the mirror of trainings under way and the merging of other machines' spools are in
`commands/`.
"""
