"""Train with PyTorch Lightning and the metrics of segmentation_models_pytorch, as in that library's examples."""

from __future__ import annotations

import logging
import os
import warnings
from argparse import Namespace

import lightning
import segmentation_models_pytorch as smp
import torch
from common import Folder, hand_over, network, optimizer, parse, scheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader


class Segmenter(lightning.LightningModule):
    """A U-Net that logs loss and IoU of both splits in every epoch. For training, the weights change meanwhile."""

    def __init__(self, given: Namespace, steps: int) -> None:
        super().__init__()
        self.given, self.steps = given, steps
        self.net = network(given)
        if given.tuned:
            self.net = self.net.to(memory_format=torch.channels_last)
        self.told: dict[str, list[tuple[Tensor, ...]]] = {"train": [], "val": []}

    def shared_step(self, batch: tuple[Tensor, Tensor], split: str) -> Tensor:
        images, classes = batch
        if self.given.tuned:
            images = images.to(memory_format=torch.channels_last)
        logits = self.net(images)
        loss = nn.functional.cross_entropy(logits, classes)
        self.told[split].append(smp.metrics.get_stats(logits.argmax(1), classes, mode="binary"))
        self.log(f"{split}_loss", loss, on_epoch=True, on_step=False)
        return loss

    def shared_end(self, split: str) -> None:
        tp, fp, fn, tn = (torch.cat(each) for each in zip(*self.told[split], strict=True))
        self.log(f"{split}_iou", smp.metrics.iou_score(tp, fp, fn, tn, reduction="micro"))
        self.log(f"{split}_iou_of_tiles", smp.metrics.iou_score(tp, fp, fn, tn, reduction="micro-imagewise"))
        self.told[split].clear()

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return self.shared_step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return self.shared_step(batch, "val")

    def on_train_epoch_end(self) -> None:
        self.shared_end("train")

    def on_validation_epoch_end(self) -> None:
        self.shared_end("val")

    def configure_optimizers(self) -> dict[str, object]:
        chosen = optimizer(self.net, self.given)
        return {
            "optimizer": chosen,
            "lr_scheduler": {"scheduler": scheduler(chosen, self.steps, self.given), "interval": "step"},
        }


def main(given: Namespace) -> None:
    lightning.seed_everything(given.seed, verbose=False)
    workers = {"num_workers": 2}
    if given.tuned:
        workers = {"num_workers": os.cpu_count(), "persistent_workers": True, "pin_memory": given.device == "cuda"}
    train = DataLoader(Folder(given.data, "train", augment=True), given.batch_size, shuffle=True, **workers)
    val = DataLoader(Folder(given.data, "val", augment=False), given.batch_size, **workers)
    model = Segmenter(given, len(train))
    trainer = lightning.Trainer(
        max_epochs=given.epochs,
        accelerator="gpu" if given.device == "cuda" else "cpu",
        precision="bf16-mixed" if given.bf16 else "32-true",
        default_root_dir=given.out,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, train, val)
    hand_over(model.net, given)


if __name__ == "__main__":
    logging.getLogger("lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    main(parse())
