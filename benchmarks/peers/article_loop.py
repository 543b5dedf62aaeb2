"""Train as the article does: one cv2.imread per file and sample, a DataLoader without workers, batches of 5.

Learning rate, U-Net and augmentation are those of the race, because the article's own schedule and demo block do not
work as written; docs/article.md says why. Tuned, it uses the race's batch size and channels last, and still decodes in
the loop.
"""

from __future__ import annotations

from argparse import Namespace

import torch
from common import Folder, hand_over, network, optimizer, parse, scheduler
from torch import nn
from torch.utils.data import DataLoader

BATCH = 5


def main(given: Namespace) -> None:
    size = given.batch_size if given.tuned else BATCH
    train = DataLoader(Folder(given.data, "train", augment=True), size, shuffle=True)
    val = DataLoader(Folder(given.data, "val", augment=False), size)
    net = network(given)
    layout = torch.channels_last if given.tuned else torch.contiguous_format
    net = net.to(memory_format=layout)
    chosen = optimizer(net, given)
    rates = scheduler(chosen, len(train), given)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(given.epochs):
        errors = {}
        for split, loader in (("train", train), ("val", val)):
            net.train(split == "train")
            wrong = pixels = 0
            for images, classes in loader:
                with torch.set_grad_enabled(split == "train"):
                    with torch.autocast("cpu", torch.bfloat16, enabled=given.bf16):
                        logits = net(images.to(memory_format=layout))
                        loss = criterion(logits, classes)
                    if split == "train":
                        chosen.zero_grad()
                        loss.backward()
                        chosen.step()
                        rates.step()
                wrong += int((logits.argmax(1) != classes).sum())
                pixels += classes.numel()
            errors[split] = wrong / pixels
        print(f"epoch {epoch}: training error {errors['train']:.4f}, generalisation error {errors['val']:.4f}")
    hand_over(net, given)


if __name__ == "__main__":
    main(parse())
