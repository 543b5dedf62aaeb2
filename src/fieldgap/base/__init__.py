"""What every room may use and no experiment is about.

Errors that end a stage, files that appear whole, locks, the names of the files that stages write, class labels, the
environment that a result names. Nothing here imports another room. What knows a stage, a
network or a scene lives elsewhere: files of scenes in `data/`, results and their keys in `engines/`.
"""
