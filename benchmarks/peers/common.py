"""Provide what all peers share: tiles as PNG files, the U-Net and its seed, the schedule, and a file for the weights.

Everything else is the peer's own.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset

from fieldgap.parts.rates import learning_rate
from fieldgap.parts.schedules import cosine
from fieldgap.parts.unet import UNet

MEAN, STD = np.float32(127.5), np.float32(64.0)  # Constants, so that no peer has to measure them during the race.


def parse() -> argparse.Namespace:
    """Parse the flags of a peer: its data, where its weights go, what it trains, and whether it is tuned."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--device", default="cpu")
    for name, kind in {"epochs": int, "batch_size": int, "lr": float, "warmup_epochs": int, "seed": int}.items():
        parser.add_argument(f"--{name}", type=kind, required=True)
    for name in ("width", "depth"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser.parse_args()


def network(given: argparse.Namespace) -> nn.Module:
    """Return the U-Net that fieldgap trains, with PyTorch's default initialisation."""
    torch.manual_seed(given.seed)
    return UNet(given.width, given.depth, 2, "batch")


def optimizer(net: nn.Module, given: argparse.Namespace) -> Optimizer:
    return torch.optim.SGD(net.parameters(), given.lr, momentum=0.9, weight_decay=1e-4)


def scheduler(
    chosen: torch.optim.Optimizer, steps: int, given: argparse.Namespace
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return warm-up and cosine, to be stepped once per batch; `steps` is the number of batches per epoch."""
    factor = functools.partial(
        learning_rate,
        peak=1.0,
        start=0.01,
        warmup_steps=given.warmup_epochs * steps,
        total_steps=given.epochs * steps,
        decay=cosine,
    )
    return LambdaLR(chosen, factor)


def turned(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both in a random one of the 8 symmetries of the square."""
    turns, mirrored = int(torch.randint(4, ())), bool(torch.randint(2, ()))
    image, mask = np.rot90(image, turns), np.rot90(mask, turns)
    return (image[:, ::-1], mask[:, ::-1]) if mirrored else (image, mask)


class Folder(Dataset):
    """The tiles of a split. A sample decodes two files into image (3, H, W) float32 and classes (H, W) int64."""

    def __init__(self, data: Path, split: str, augment: bool) -> None:
        self.images = sorted((data / split / "images").glob("*.png"))
        self.masks = sorted((data / split / "masks").glob("*.png"))
        self.augment = augment

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = cv2.cvtColor(cv2.imread(str(self.images[index])), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(self.masks[index]), cv2.IMREAD_GRAYSCALE)
        if self.augment:
            image, mask = turned(image, mask)
        pixels = (np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) - MEAN) / STD
        return torch.from_numpy(pixels), torch.from_numpy((mask == 255).astype(np.int64))


def hand_over(net: nn.Module, given: argparse.Namespace) -> None:
    """Write the weights, so that the race can measure all contenders with the same code."""
    given.out.mkdir(parents=True, exist_ok=True)
    state = {f"net.{name}": tensor.detach().float().contiguous() for name, tensor in net.state_dict().items()}
    state = {name: tensor.long() if name.endswith("num_batches_tracked") else tensor for name, tensor in state.items()}
    state |= {"mean": torch.full((3, 1, 1), float(MEAN)), "std": torch.full((3, 1, 1), float(STD))}
    save_file(state, given.out / "weights.safetensors")
