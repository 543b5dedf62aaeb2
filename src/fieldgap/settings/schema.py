"""The JSON schema of params.yaml, by which editors complete, explain and check it.

Write it again after a change of keys or parts:

    python -m fieldgap.settings.schema > params.schema.json

It also fits files with only some of the values, such as those in params/, so no key is required.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from fieldgap.parts.inits import INITS
from fieldgap.parts.losses import LOSSES
from fieldgap.parts.networks import ARCHITECTURES
from fieldgap.parts.optimizers import OPTIMIZERS
from fieldgap.parts.schedules import SCHEDULES
from fieldgap.settings.messages import schema_of
from fieldgap.settings.options import options_type
from fieldgap.settings.params import Settings


def _narrowed(options: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of all options with the parts that there are, and with the options of the project's own."""
    free = options["additionalProperties"]
    libraries = dict.fromkeys((*OPTIMIZERS, *ARCHITECTURES), free)
    own = {name: schema_of(options_type(part)) for name, part in (INITS | SCHEDULES | LOSSES).items()}
    parts = {"properties": libraries | own, "patternProperties": {":": free}, "additionalProperties": False}
    return options | parts


def params_schema() -> dict[str, Any]:
    """Return the JSON schema of params.yaml and of files with some of its values."""
    schema = copy.deepcopy(schema_of(Settings))
    train = schema["$defs"]["Train"]["properties"]
    train["options"] = _narrowed(train["options"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


if __name__ == "__main__":
    print(json.dumps(params_schema(), indent=2))
