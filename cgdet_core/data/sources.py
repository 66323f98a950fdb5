"""The frames that a recipe trains on, of several sets, in memory; and those that it holds out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cgdet_core.config import Recipe
from cgdet_core.data.blocks import block_of_name
from cgdet_core.data.coco import CocoRecord, CocoSet, load_coco
from cgdet_core.data.sampling import restrict_to
from cgdet_core.errors import InputError
from cgdet_core.thermal import ToneLimits, to_grey, tone_limits
from cgdet_core.types import GroundTruth, ImageArray, Sample


@dataclass(frozen=True)
class CachedFrame:
    """A raw grey frame with the tone limits of the whole of it."""

    grey: ImageArray
    limits: ToneLimits
    truth: GroundTruth


@dataclass(frozen=True)
class Source:
    """One set in memory."""

    name: str
    weight: float
    frames: tuple[CachedFrame, ...]
    polarity_free: bool


def split_held_out(records: Sequence[CocoRecord], fold: int) -> tuple[list[CocoRecord], list[CocoRecord]]:
    """(training, held out): of the blocks of 50 frame numbers present, every fifth from `fold` is held out.

    The blocks are those of `block_of_name`. Raises InputError where a name holds no frame number.
    """
    blocks = []
    for record in records:
        block = block_of_name(record.file_name)
        if block is None:
            raise InputError(f"{record.path}: has no frame number in its name, so no block can be held out")
        blocks.append(block)
    held = set(sorted(set(blocks))[fold::5])
    training = [record for record, block in zip(records, blocks, strict=True) if block not in held]
    held_out = [record for record, block in zip(records, blocks, strict=True) if block in held]
    return training, held_out


def load_sources(recipe: Recipe, folder: Path, progress: bool = True) -> tuple[list[Source], CocoSet | None]:
    """All training frames of a recipe in memory, and the frames it holds out for validation, if any.

    Relative paths of the recipe are taken from `folder`.
    """
    if not recipe.sources and not recipe.synthetic.frames:
        raise InputError("the recipe names no training data: give it sources or synthetic.frames")
    sources: list[Source] = []
    held_out: list[CocoRecord] = []
    for config in recipe.sources:
        coco = load_coco(folder / config.path, recipe.model.class_names, config.class_map)
        if config.labelled_classes is not None:
            coco = restrict_to(coco, config.labelled_classes)
        training = list(coco.records)
        if config.hold_out_fold is not None:
            training, held = split_held_out(coco.records, config.hold_out_fold)
            if not training or not held:
                raise InputError(
                    f"{coco.path}: hold_out_fold {config.hold_out_fold} leaves {len(training)} frames to train and "
                    f"{len(held)} to validate: leave it out, or choose another fold"
                )
            held_out += held
        chosen = CocoSet(coco.path, coco.class_names, tuple(training))
        frames = _cache(chosen, len(chosen), config.path, recipe, progress)
        sources.append(Source(config.path, config.weight, frames, config.grey_rgb))
    if recipe.synthetic.frames:
        from cgdet_core.data.synthetic import synthetic_training_sample

        count = recipe.synthetic.frames
        rendered = (synthetic_training_sample(recipe.synthetic.seed, index) for index in range(count))
        frames = _cache(rendered, count, "synthetic", recipe, progress)
        sources.append(Source("synthetic", recipe.synthetic.weight, frames, False))
    validation = CocoSet(folder, recipe.model.class_names, tuple(held_out)) if held_out else None
    return sources, validation


def _cache(samples: Iterable[Sample], count: int, name: str, recipe: Recipe, progress: bool) -> tuple[CachedFrame, ...]:
    frames = []
    for sample in tqdm(
        samples, f"reading {name}", count, mininterval=progress_interval_s(), disable=not progress, unit="frame"
    ):
        if sample.truth is None:
            raise InputError(f"{name}: frame {sample.name} has no labels: leave it out of training")
        grey = np.ascontiguousarray(to_grey(sample.frame.image))
        frames.append(CachedFrame(grey, tone_limits(grey, recipe.thermal), sample.truth))
    return tuple(frames)


def progress_interval_s() -> float:
    """How often a progress bar is drawn: seldom where it goes into a log and every drawing stays."""
    return 0.1 if sys.stderr.isatty() else 30.0
