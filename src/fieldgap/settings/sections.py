"""The sections of params.yaml: the type, the rule and the meaning of each key.

The meanings are the help of the flags, what editors show, and the comments in params.yaml. Stages receive these objects
and never read the file. Both engines load this module at each start, so it does not wait for torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from fieldgap.base.errors import InputError
from fieldgap.base.labels import check_labels
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
from fieldgap.settings.values import (
    CONFIG,
    Many,
    MaskValue,
    Natural,
    Number,
    Positive,
    Share,
    Text,
    Truth,
    Whole,
    one_of,
)


@dataclass(frozen=True, config=CONFIG)
class Data:
    """Your own scenes: folders of images and masks, and what the values in them mean."""

    images: Text = Field(description="folder of images")
    masks: Text = Field(description="folder of masks")
    foreground: Many[MaskValue] = Field(description="mask values that are farmland; colours as '#ff0000'")
    background: Many[MaskValue] = Field(description="mask values that are not farmland")
    classes: dict[Text, Many[MaskValue]] = Field(
        description="for more classes, in place of these two: name: [values], the background first"
    )
    ignore: Many[MaskValue] = Field(description="mask values that neither loss nor metrics see")
    mask_pattern: v.MaskPattern = Field(
        description="name of an image's mask, with {stem} for the image's name without suffix"
    )
    bands: v.Bands = Field(
        description="bands of the images in the order that the network sees; a grey image stands for each"
    )
    tolerance: Whole = Field(
        ge=0, le=255, description="a value not listed counts as the nearest one this close; 127 for blurred masks"
    )
    max_pixels: Positive = Field(description="pixels above which a file is refused before it is decoded")

    def __post_init__(self) -> None:
        check_labels(self.table, self.ignore)

    @property
    def table(self) -> dict[str, tuple[str, ...]]:
        """The mask values of each class, the background's first."""
        return self.classes or {"background": self.background, "farmland": self.foreground}


@dataclass(frozen=True, config=CONFIG)
class Demo:
    """The drawn scenes of the default experiment."""

    scenes: Whole = Field(ge=3, description="scenes to draw")
    size: Whole = Field(ge=32, description="height and width of a scene in px")
    seed: Natural = Field(description="another seed draws other scenes")
    fresh: Natural = Field(description="scenes that no run sees, to estimate the population gap; 0 for none")


@dataclass(frozen=True, config=CONFIG)
class Split:
    """The split of scenes into train, val and test."""

    table: Text = Field(description="your own table: columns scene, split (which then decides) and any to group by")
    stratify: Truth = Field(description="keep the shares within each quarter of foreground share")
    val: Share = Field(description="share of the scenes in val")
    test: Share = Field(description="share of the scenes in test")
    seed: Natural = Field(description="another seed deals the scenes differently")
    group: v.Group = Field(description="what stays in one split")
    folds: v.Folds = Field(description="folds to deal all scenes but test into; see train.fold")

    def __post_init__(self) -> None:
        if self.val + self.test >= 1:
            raise InputError(
                f"split.val and split.test: {self.val} + {self.test} leave nothing to train on; lower one of them"
            )


@dataclass(frozen=True, config=CONFIG)
class Normalize:
    """The cut of scenes into tiles."""

    pad: Truth = Field(description="complete the tiles at the edges, to be ignored there")
    tile: Whole = Field(ge=16, description="height and width of a tile in px")
    stride: Literal["tile"] | Positive = Field(description="px from tile to tile; tile for its width, less for overlap")
    min_valid: Number = Field(ge=0, le=1, description="least share of a tile that is not ignored")
    scale: v.Scale = Field(description="all but 8-bit images to 8 bits; percentiles are of training scenes")
    leakage: Literal["error", "report"] = Field(description="what to do with scenes that show one place in two splits")


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


@dataclass(frozen=True, config=CONFIG)
class Evaluate:
    """The measurement of a run."""

    device: Literal["auto", "cpu", "cuda"] = Field(description="where to compute; auto is a GPU if there is one")


@dataclass(frozen=True, config=CONFIG)
class Report:
    """What counts as a difference, and as overfitting. Errors are 1 - IoU."""

    margin: Number = Field(gt=0, description="a difference in IoU or in a gap that is too small to matter")
    margin_epochs: Number = Field(gt=0, description="a difference in epochs that is too small to matter")
    reach: Share = Field(
        description="share of the median final val_iou; runs are compared in the epoch that reaches it"
    )
    window: Whole = Field(ge=2, description="epochs over which train and val must part, for a run to be overfitting")
    poor: Share = Field(description="training error above which a run with a small gap is underfitting")
    small_gap: Number = Field(gt=0, description="largest gap that is small")


@dataclass(frozen=True, config=CONFIG)
class Record:
    """The store of MLflow."""

    store: v.Uri = Field(description="where MLflow keeps its runs")
    experiment: v.Name = Field(description="experiment of MLflow that runs go to")
    wait_seconds: Number = Field(
        gt=0, description="how late MLflow may be in all; what is left comes with the next record"
    )


@dataclass(frozen=True, config=CONFIG)
class Engine:
    """Read by Snakemake alone: no stage sees it, and no result depends on it."""

    runs_per_gpu: Positive = Field(
        description="trainings and evaluations at once on each GPU of this machine, as many as fit its memory"
    )
