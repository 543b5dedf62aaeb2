"""The networks that can be named: the own U-Net, and those of segmentation_models_pytorch as smp.<Architecture>.

Neither library is imported here, so that names can be checked without waiting for it.
"""

from __future__ import annotations

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
