"""Between Snakemake, DVC and the stages: what a job reads and writes, what is due, results kept by their keys.

Each module's first paragraph names the trap that it closes. The stages themselves live in the other rooms and know
nothing of an engine; values come from `settings/`, the code of a stage from `engines/rooms.py`.
"""
