"""params.yaml, typed and checked before any stage runs.

One model per section with the meaning and the rule of each key, the grid that becomes runs, and values as command-line
flags. Stages receive the models and never read the file. Loads neither torch nor numpy: the command line and the
Snakefile import it each time. Which flags a stage takes is in `engines/commandline.py`.
"""
