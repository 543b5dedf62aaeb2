"""params.yaml, typed and checked before any stage runs.

One model per section with the type, the rule and the meaning of each key; from these come messages, `--help` and
params.schema.json. Also here: the grid that becomes runs, and values as command-line flags. Stages receive the models
and never read the file. Loads neither torch nor numpy, since the command line and the Snakefile import it each time.
How flags are parsed is in `engines/commandline.py`.
"""
