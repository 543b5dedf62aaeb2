"""What every room may use, and what no experiment is about.

Errors that end a stage, files that appear whole, locks between processes, the names of the files that stages write,
class labels, scores of pixel counts, and what a result names of its environment. Nothing here imports another room. The
files of scenes are in `data/`, results and their keys in `engines/`.
"""
