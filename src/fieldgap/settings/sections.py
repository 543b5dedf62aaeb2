"""The sections of params.yaml: one frozen dataclass each, with the rule of each value beside it.

Stages receive these objects and never read params.yaml. Both engines pass the values as command-line flags; the
engines track flags, so this module itself is no input of a stage. It must import in milliseconds: the Snakefile and
the command line load it each time, and neither may wait for torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fieldgap.base.errors import InputError
from fieldgap.base.labels import check_labels
from fieldgap.parts.inits import INITS
from fieldgap.parts.losses import LOSSES, terms
from fieldgap.parts.networks import ARCHITECTURES
from fieldgap.parts.optimizers import OPTIMIZERS
from fieldgap.parts.rates import WARMUPS
from fieldgap.parts.registry import Options, Part, find, source_of
from fieldgap.parts.schedules import SCHEDULES
from fieldgap.settings.values import literal, resolved_options


def rule(says: str, holds: Callable[[Any], bool]) -> Any:
    """A field whose value must satisfy `holds`; `says` completes the sentence "must be ..."."""
    return field(metadata={"says": says, "holds": holds})


def at_least(low: float) -> Any:
    return rule(f"{low} or more", lambda value: value >= low)


def above(low: float) -> Any:
    return rule(f"above {low}", lambda value: value > low)


def share() -> Any:
    return rule("a share between 0 and 1", lambda value: 0 < value < 1)


def one_of(names: Iterable[str]) -> Any:
    return field(metadata={"names": tuple(names)})


def part(registry: Iterable[str], own: str = ":") -> Any:
    """A field that names a part of a registry, or with a character of `own` in it a function of the user's own."""
    return field(metadata={"names": tuple(registry), "own": own})


GROUPS = {  # Ways to group scenes, with what follows them.
    "scene$": "scene",
    "stem:.": "stem:REGULAR_EXPRESSION",
    "column:.": "column:NAME",
    "block:.": "block:SIZE",
}


def is_scale(text: str) -> bool:
    """-> whether a text is a way to scale 16 bits to 8: percentiles or limits, the low one below the high one."""
    kind, low, high = text.split(":") if re.fullmatch(r"(percentiles|limits)(:\d+(\.\d+)?){2}", text) else ("", 0, 0)
    return float(low) < float(high) <= (100 if kind == "percentiles" else 65535)


@dataclass(frozen=True)
class Data:
    images: str
    masks: str
    foreground: tuple[str, ...]
    background: tuple[str, ...]
    classes: dict[str, tuple[str, ...]]
    ignore: tuple[str, ...]
    mask_pattern: str = rule(
        "a file name that contains {stem} once", lambda value: value.count("{stem}") == 1 and "/" not in value
    )
    bands: tuple[int, ...] = rule("band numbers from 1", lambda value: min(value, default=0) >= 1)
    tolerance: int = rule("0 to 255", lambda value: 0 <= value <= 255)
    max_pixels: int = at_least(1)

    def __post_init__(self) -> None:
        check_labels(self.table, self.ignore)

    @property
    def table(self) -> dict[str, tuple[str, ...]]:
        """-> the values of each class, the background's first."""
        return self.classes or {"background": self.background, "farmland": self.foreground}


@dataclass(frozen=True)
class Demo:
    scenes: int = at_least(3)
    size: int = at_least(32)
    seed: int = at_least(0)
    fresh: int = at_least(0)


@dataclass(frozen=True)
class Split:
    table: str
    stratify: bool
    val: float = share()
    test: float = share()
    seed: int = at_least(0)
    group: str = rule(
        f"one of {', '.join(GROUPS.values())}", lambda value: re.match("|".join(GROUPS), value) is not None
    )
    folds: int = rule("0, or 2 or more", lambda value: value == 0 or value >= 2)

    def __post_init__(self) -> None:
        kind, _, detail = self.group.partition(":")
        try:
            if (kind == "stem" and not re.compile(detail)) or (kind == "block" and not float(detail) > 0):
                raise ValueError("a block has a size above 0")
        except (re.error, ValueError) as error:
            raise InputError(f"split.group: {self.group!r} cannot be used ({error})") from None
        if self.val + self.test >= 1:
            raise InputError(f"val and test: {self.val} + {self.test} leave nothing to train on; lower one of them")


@dataclass(frozen=True)
class Normalize:
    pad: bool
    tile: int = at_least(16)
    stride: int | str = rule(
        "tile, or 1 or more", lambda value: value == "tile" if isinstance(value, str) else value > 0
    )
    min_valid: float = rule("a share from 0 to 1", lambda value: 0 <= value <= 1)
    scale: str = rule("percentiles:LOW:HIGH or limits:LOW:HIGH, LOW below HIGH", is_scale)
    leakage: str = one_of(["error", "report"])


def parts_of(init: str, schedule: str, loss: str) -> dict[str, Mapping[str, Part]]:
    """-> the names of a run's parts, each with its registry; a sum of losses has several."""
    return {init: INITS, schedule: SCHEDULES, **{name: LOSSES for _, name in terms(loss)}}


@dataclass(frozen=True)
class Train:
    options: Options
    augment: bool
    residual: bool
    zero_gamma: bool
    balanced: bool
    recompute: bool
    epochs: int = at_least(1)
    batch_size: int | str = rule(
        "1 or more, or full", lambda value: value == "full" if isinstance(value, str) else value > 0
    )
    micro_batch: int = at_least(1)
    optimizer: str = one_of(OPTIMIZERS)
    lr: float = above(0)
    weight_decay: float = at_least(0)
    clip_norm: float = at_least(0)
    ema: float = rule("0 or more and below 1", lambda value: 0 <= value < 1)
    schedule: str = part(SCHEDULES)
    schedule_per: str = one_of(["step", "epoch"])
    warmup: str = one_of(WARMUPS)
    warmup_epochs: int = at_least(0)
    warmup_start: float = above(0)
    init: str = part(INITS)
    loss: str = part(LOSSES, own=":+*")  # Also sums; terms() checks them.
    train_share: float = rule("a share above 0 and at most 1", lambda value: 0 < value <= 1)
    fold: int | str = rule(
        "none, or a fold from 0", lambda value: value == "none" if isinstance(value, str) else value >= 0
    )
    split_by: str = one_of(["scene", "tile"])
    model: str = part(ARCHITECTURES)
    norm: str = one_of(["batch", "group", "none"])
    width: int = at_least(1)
    depth: int = at_least(1)
    seed: int = at_least(0)
    device: str = one_of(["auto", "cpu", "cuda"])
    precision: str = one_of(["fp32", "bf16"])
    threads: int = at_least(1)
    keep: str = one_of(["last", "best"])
    patience: int = at_least(0)

    def __post_init__(self) -> None:
        if self.warmup_epochs >= self.epochs:
            raise InputError(
                f"warmup_epochs: {self.warmup_epochs} leaves no epoch of {self.epochs} to decay in; "
                "lower warmup_epochs or raise epochs"
            )
        if self.warmup_epochs and self.warmup_start > self.lr:
            raise InputError(
                f"warmup_start: {self.warmup_start} is above lr: {self.lr}; a warm-up climbs, so lower warmup_start"
            )
        if self.zero_gamma and self.model == "unet" and (self.norm == "none" or not self.residual):
            raise InputError(
                "zero_gamma: without residual blocks and their norms it would silence the network for good; "
                "set residual: true and norm: batch or group, or zero_gamma: false"
            )
        if ":" in self.model:
            source_of(self.model)
        used = parts_of(self.init, self.schedule, self.loss)
        options = {name: resolved_options(registry, name, self.options) for name, registry in used.items()}
        if self.balanced and not any("weights" in options[name] for _, name in terms(self.loss)):
            raise InputError(f"balanced: {self.loss} takes no class weights; unset it or use cross_entropy or focal")
        for name in (self.optimizer, self.model):  # Typed by their libraries, which are too slow to load here.
            options[name] = {key: literal(value) for key, value in self.options.get(name, {}).items()}
        object.__setattr__(self, "options", options)  # What a run does not use is no part of its identity.
        first = find(SCHEDULES, self.schedule)(0.0, **options[self.schedule])  # Its own checks, before any stage runs.
        if self.warmup_epochs and first < 1:
            raise InputError(
                f"schedule: {self.schedule} begins at {first:.3g} of the peak and climbs by itself, so after a warm-up "
                "the rate would fall at once; set warmup_epochs: 0"
            )


@dataclass(frozen=True)
class Evaluate:
    device: str = one_of(["auto", "cpu", "cuda"])


@dataclass(frozen=True)
class Report:
    margin: float = above(0)
    margin_epochs: float = above(0)
    reach: float = share()
    window: int = at_least(2)
    poor: float = share()
    small_gap: float = above(0)


@dataclass(frozen=True)
class Record:
    store: str = rule("a tracking URI such as sqlite:///mlflow.db", lambda value: ":" in value)
    experiment: str = rule("a name", bool)
    wait_seconds: float = above(0)


@dataclass(frozen=True)
class Engine:
    """Read by the Snakefile alone: no stage sees it, and no result depends on it."""

    runs_per_gpu: int = at_least(1)
