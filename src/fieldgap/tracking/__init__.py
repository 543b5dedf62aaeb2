"""Stage record: runs and the ablation mirrored into MLflow. The only room that imports MLflow.

Entries say what a store is to know, the outbox keeps those that a store refused, the store takes them, the registry
holds the best model, and spools tell of trainings under way. No stage reads MLflow back; `commands/` has the UI, the
live mirror and the merging of other machines' spools.
"""
