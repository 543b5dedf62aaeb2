"""The sections of params.yaml: the type, the rule and the meaning of each key.

The meanings are the help of the flags, what editors show, and the comments in params.yaml. Stages receive these objects
and never read the file. Both engines load this module at each start, so it does not wait for torch.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from fieldgap.base.errors import InputError
from fieldgap.base.labels import check_labels
from fieldgap.settings import values as v
from fieldgap.settings.train import Train
from fieldgap.settings.values import CONFIG, Many, MaskValue, Natural, Number, Positive, Share, Text, Truth, Whole

__all__ = ["Data", "Demo", "Engine", "Evaluate", "Normalize", "Record", "Report", "Split", "Train"]


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
    image_pattern: v.Pattern = Field(description="name of an image; {stem} alone stands for any")
    mask_pattern: v.Pattern = Field(description="name of an image's mask, with the image's {stem} in it")
    bands: v.Bands = Field(
        description="bands of the images in the order that the network sees; a grey image stands for each"
    )
    tolerance: Whole = Field(
        ge=0, le=255, description="a value not listed counts as the nearest one this close; 127 for blurred masks"
    )
    unlabelled: Literal["error", "skip"] = Field(description="what to do with images that have no mask")
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
