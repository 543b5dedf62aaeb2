"""The networks that can be named beside our U-Net: those of segmentation_models_pytorch, and the user's own.

Neither torch nor that library is imported at the top, so that checking a name does not have to wait for them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fieldgap.base.errors import InputError
from fieldgap.parts.registry import Part, find

if TYPE_CHECKING:
    from torch import nn

# Ours, then all of the library; a test compares the list with it.
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


def make_network(name: str, options: Mapping[str, Any], bands: int, classes: int) -> nn.Module:
    """Return the network `smp.<Architecture>` without pretrained weights, or `package.module:function` of the user's.

    Raises:
        InputError: If the network refuses one of its options.
    """
    make = _of_user(name, bands) if ":" in name else _of_library(name, options, bands)
    try:
        return make(classes=classes, **options)
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"options.{name}: {error}; see what {name} accepts") from None


def _of_user(name: str, bands: int) -> Part:
    return functools.partial(find({}, name), **({} if bands == 3 else {"bands": bands}))


def _of_library(name: str, options: Mapping[str, Any], bands: int) -> Part:
    import segmentation_models_pytorch as smp

    make = functools.partial(getattr(smp, name.removeprefix("smp.")), encoder_weights=None, in_channels=bands)
    # The library ignores options that it does not know.
    if unknown := options.keys() - inspect.signature(make).parameters.keys():
        raise InputError(f"options.{name}.{min(unknown)}: no such option; see segmentation_models_pytorch")
    return make
