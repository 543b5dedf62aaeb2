"""The networks that can be named: the own U-Net, and those of segmentation_models_pytorch as smp.<Architecture>.

Neither library is imported here, so that names can be checked without waiting for it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fieldgap.base.errors import InputError
from fieldgap.parts.registry import find

if TYPE_CHECKING:
    from torch import nn


# A test holds the list against the library.
ARCHITECTURES = (
    "unet",
    "smp.DPT",
    "smp.DeepLabV3",
    "smp.DeepLabV3Plus",
    "smp.FPN",
    "smp.Linknet",
    "smp.MAnet",
    "smp.PAN",
    "smp.PSPNet",
    "smp.Segformer",
    "smp.UPerNet",
    "smp.Unet",
    "smp.UnetPlusPlus",
)


def foreign(name: str, options: Mapping[str, Any], bands: int, classes: int) -> nn.Module:
    """-> a network of segmentation_models_pytorch, without pretrained weights, or of the user's own.

    Raises InputError for an option that it does not take.
    """
    if ":" in name:
        make = functools.partial(find({}, name), **({} if bands == 3 else {"bands": bands}))
    else:
        import segmentation_models_pytorch as smp

        make = functools.partial(getattr(smp, name.removeprefix("smp.")), encoder_weights=None, in_channels=bands)
        # The library passes over what it does not know.
        if unknown := options.keys() - inspect.signature(make).parameters.keys():
            raise InputError(f"options.{name}.{min(unknown)}: no such option; see segmentation_models_pytorch")
    try:
        net = make(classes=classes, **options)
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"options.{name}: {error}; see what {name} takes") from None
    return net
