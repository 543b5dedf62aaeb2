"""Section train of params.yaml: what a run of the grid may vary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from fieldgap.base.errors import InputError
from fieldgap.parts.inits import INITS
from fieldgap.parts.losses import LOSSES, terms
from fieldgap.parts.networks import ARCHITECTURES
from fieldgap.parts.optimizers import OPTIMIZERS
from fieldgap.parts.rates import WARMUPS
from fieldgap.parts.registry import Part, bind, source_of
from fieldgap.parts.schedules import SCHEDULES
from fieldgap.settings import values as v
from fieldgap.settings.options import Blocks, guessed, resolved
from fieldgap.settings.own import part_of
from fieldgap.settings.values import CONFIG, Natural, Number, Positive, Truth, one_of


@dataclass(frozen=True, config=CONFIG)
class Train:
    """The training of a run. Any of these keys but options may move to grid."""

    options: Blocks = Field(description="options of init, schedule, loss, optimizer and model, by the name of each")
    augment: Truth = Field(description="turn and flip tiles at random: the eight symmetries of the square")
    residual: Truth = Field(description="each block of unet adds to its input")
    zero_gamma: Truth = Field(description="residual blocks start as the identity")
    balanced: Truth = Field(description="weight the classes in the loss by their training pixels")
    recompute: Truth = Field(description="compute activations again in the backward pass: less memory, more time")
    epochs: Positive = Field(description="passes over the training tiles")
    batch_size: Literal["full"] | Positive = Field(
        description="tiles per step; 1 is stochastic descent, full is plain gradient descent"
    )
    micro_batch: Positive = Field(description="tiles in memory at once; larger batches accumulate gradients")
    optimizer: Annotated[str, one_of(OPTIMIZERS)] = Field(description="an optimizer of torch.optim")
    lr: Number = Field(gt=0, description="peak learning rate")
    weight_decay: Number = Field(ge=0, description="decay of weights, not of biases and norms")
    clip_norm: Number = Field(ge=0, description="largest norm of the gradient; 0 for no limit")
    ema: Number = Field(
        ge=0, lt=1, description="decay of averaged weights, which are then measured and kept; 0 for none"
    )
    schedule: Annotated[str, one_of(SCHEDULES, v.Own)] = Field(description="how the rate falls after the warm-up")
    schedule_per: Literal["step", "epoch"] = Field(description="how often the rate changes")
    warmup: Annotated[str, one_of(WARMUPS)] = Field(description="how the rate rises to lr")
    warmup_epochs: Natural = Field(description="epochs of warm-up, less than epochs; 0 for none")
    warmup_start: Number = Field(gt=0, description="learning rate at the start of the warm-up, at most lr")
    init: Annotated[str, one_of(INITS, v.Own)] = Field(description="initialisation of the weights")
    loss: Annotated[str, one_of(LOSSES, v.Sum)] = Field(description="loss, or a weighted sum of losses")
    train_share: Number = Field(gt=0, le=1, description="share of the training scenes to learn from")
    fold: Literal["none"] | Natural = Field(description="fold to validate on, for cross-validation; see split.folds")
    split_by: Literal["scene", "tile"] = Field(
        description="tile tears scenes apart, and so shows what leakage would have promised"
    )
    model: Annotated[str, one_of(ARCHITECTURES, v.Own)] = Field(
        description="unet, or smp.<Architecture> of segmentation_models_pytorch"
    )
    norm: Literal["batch", "group", "none"] = Field(description="norm layers of unet")
    width: Positive = Field(description="channels of unet at full resolution")
    depth: Positive = Field(description="halvings of resolution in unet")
    seed: Natural = Field(description="seed of initial weights, order of tiles and augmentation")
    device: Literal["auto", "cpu", "cuda"] = Field(description="where to compute; auto is a GPU if there is one")
    precision: Literal["fp32", "bf16"] = Field(description="type of numbers in forward and backward passes")
    threads: Positive = Field(description="CPU threads; sums round differently with another number")
    keep: Literal["last", "best"] = Field(description="epoch whose weights are the result; best is by val_iou")
    patience: Natural = Field(description="epochs without a better val_iou that end a run early; 0 for never")

    def __post_init__(self) -> None:
        self._check_warmup()
        if self.zero_gamma and self.model == "unet" and (self.norm == "none" or not self.residual):
            raise InputError(
                "zero_gamma: without residual blocks and their norms it would silence the network for good; "
                "set residual: true and norm: batch or group, or zero_gamma: false"
            )
        if ":" in self.model:
            source_of(self.model)
        options = self._used_options()
        object.__setattr__(self, "options", options)  # Options that a run does not use are not part of its identity.
        if ":" not in self.schedule:
            self.try_schedule()

    def try_schedule(self) -> None:
        """Call the schedule once, so that it can refuse its options.

        Raises:
            InputError: It does, or it begins below the peak that a warm-up climbs to.
        """
        first = bind(SCHEDULES, self.schedule, self.options)(0.0)
        if self.warmup_epochs and first < 1:
            raise InputError(
                f"schedule: {self.schedule} begins at {first:.3g} of the peak and climbs by itself, so after a warm-up "
                "the rate would fall at once; set warmup_epochs: 0"
            )

    def _used_options(self) -> dict[str, dict[str, Any]]:
        losses = [name for _, name in terms(self.loss)]
        registries: dict[str, Mapping[str, Part]] = {self.init: INITS, self.schedule: SCHEDULES}
        registries |= dict.fromkeys(losses, LOSSES)
        options = {name: resolved(part_of(registry, name), name, self.options) for name, registry in registries.items()}
        if self.balanced and not any("weights" in options[name] for name in losses):
            raise InputError(f"balanced: {self.loss} has no class weights; set balanced: false or another loss")
        return options | {name: guessed(name, self.options) for name in (self.optimizer, self.model)}

    def _check_warmup(self) -> None:
        if self.warmup_epochs >= self.epochs:
            raise InputError(
                f"warmup_epochs: {self.warmup_epochs} leaves no epoch of {self.epochs} to decay in; "
                "lower warmup_epochs or raise epochs"
            )
        if self.warmup_epochs and self.warmup_start > self.lr:
            raise InputError(
                f"warmup_start: {self.warmup_start} is above lr: {self.lr}; a warm-up climbs, so lower warmup_start"
            )
