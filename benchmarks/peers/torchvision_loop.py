"""Train with a plain loop in the style of torchvision's segmentation reference: workers and a confusion matrix."""

from __future__ import annotations

from argparse import Namespace
from contextlib import AbstractContextManager

import torch
from common import Folder, hand_over, network, optimizer, parse, scheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader


def cast(given: Namespace) -> AbstractContextManager[None]:
    return torch.autocast("cpu", torch.bfloat16, enabled=given.bf16)


def placed(images: Tensor, tuned: bool) -> Tensor:
    return images.to(memory_format=torch.channels_last) if tuned else images


def evaluate(net: nn.Module, loader: DataLoader, given: Namespace) -> Tensor:
    """Return (2, 2) pixel counts: rows are true classes, columns predicted ones."""
    net.eval()
    counts = torch.zeros(4, dtype=torch.int64)
    with torch.inference_mode(), cast(given):
        for images, classes in loader:
            counts += torch.bincount((classes * 2 + net(placed(images, given.tuned)).argmax(1)).flatten(), minlength=4)
    net.train()
    return counts.reshape(2, 2)


def main(given: Namespace) -> None:
    workers = {"num_workers": 2, "persistent_workers": given.tuned}
    train = DataLoader(
        Folder(given.data, "train", augment=True), given.batch_size, shuffle=True, drop_last=False, **workers
    )
    val = DataLoader(Folder(given.data, "val", augment=False), given.batch_size if given.tuned else 1, **workers)
    net = network(given)
    net = net.to(memory_format=torch.channels_last) if given.tuned else net
    chosen = optimizer(net, given)
    rates = scheduler(chosen, len(train), given)
    for epoch in range(given.epochs):
        for images, classes in train:
            with cast(given):
                loss = nn.functional.cross_entropy(net(placed(images, given.tuned)), classes)
            chosen.zero_grad()
            loss.backward()
            chosen.step()
            rates.step()
        counts = evaluate(net, val, given).double()
        iou = counts.diag() / (counts.sum(0) + counts.sum(1) - counts.diag())
        print(f"epoch {epoch}: loss {loss.item():.4f} val iou {iou[1].item():.4f}")
    hand_over(net, given)


if __name__ == "__main__":
    main(parse())
