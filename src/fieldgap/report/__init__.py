"""Stage report: the page, its sentences, its charts and its pictures.

What they say is computed in `analysis/`. `charts/` holds the figures, `templates/` the markup. MLflow gets the same
files through `tracking/`.
"""
