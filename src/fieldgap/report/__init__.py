"""Stage report: the page, its sentences, charts and pictures.

What they show is computed in `analysis/`. `charts/` holds the figures and `templates/` the markup; `context.py` gathers
the values that fill it. MLflow receives the same files through `tracking/`.
"""
