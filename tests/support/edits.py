"""The shipped params.yaml, with edits."""

from __future__ import annotations

import copy
from typing import Any

import yaml
from conftest import ROOT


def edited(path: str, value: Any) -> dict[str, Any]:
    """Return the shipped params.yaml with one key set, or removed if the value is None."""
    params = copy.deepcopy(PARAMS)
    *parents, last = path.split(".")
    block = params
    for parent in parents:
        block = block[parent]
    if value is None:
        del block[last]
    else:
        block[last] = value
    return params


PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
