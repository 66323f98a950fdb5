"""Crops of frames with another camera's look, and batches of them: number n of a seed is always the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cgdet_core.config import LookConfig, Recipe
from cgdet_core.data.augment.sensor import vary_camera
from cgdet_core.data.feed.sources import Source
from cgdet_core.data.sets.rgb_partner import RgbArray, RgbPartner
from cgdet_core.tasks import task_of
from cgdet_core.tasks.task import Part, Rows, TrainingBatch
from cgdet_core.thermal import ToneLimits, apply_tone
from cgdet_core.types import BoolArray, FloatArray, GroundTruth, ImageArray

if TYPE_CHECKING:
    from cgdet_core.tasks import Placement


@dataclass(frozen=True)
class Crop:
    """A training crop: image float32 [H, W] in [0, 1], and the labels in its pixels. rgb: uint8 [H, W, 3], the same
    place in RGB, and rgb_valid: bool [H, W], where there is any; both None where there is none at all."""

    image: FloatArray
    truth: GroundTruth
    rgb: RgbArray | None = None
    rgb_valid: BoolArray | None = None


def take_crop(
    grey: ImageArray,
    limits: ToneLimits,
    truth: GroundTruth,
    placement: Placement,
    config: LookConfig,
    rng: np.random.Generator,
    polarity_free: bool = False,
    partner: RgbPartner | None = None,
) -> Crop:
    """A crop of a raw grey frame [H, W], normalised as the node would, then varied. truth: of the crop; polarity_free:
    of a grey RGB frame; partner: the frame's RGB, cut as the frame is and not varied."""
    image = np.asarray(placement.lay(apply_tone(placement.cut(grey), limits)), np.float32)
    # the predictor pads with 0 after normalisation, so a border off the frame takes no part in what a camera does
    on_frame = placement.on_frame(grey.shape[0], grey.shape[1]) or (slice(None), slice(None))
    framed = np.zeros_like(image)
    framed[on_frame] = vary_camera(np.ascontiguousarray(image[on_frame]), config, polarity_free, rng)
    return Crop(framed, truth) if partner is None else Crop(framed, truth, *partner.crop(placement))


def join_crops(parts: Sequence[Part], crops: Sequence[Crop], truth: GroundTruth) -> Crop:
    """One picture of crops that cover it, with these labels; where some have RGB, others are not valid in it."""
    width, height = (max(part[side] for part in parts) for side in (2, 3))
    image = np.empty((height, width), np.float32)
    rgb, valid = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.bool_)
    for (left, top, right, bottom), crop in zip(parts, crops, strict=True):
        image[top:bottom, left:right] = crop.image
        if crop.rgb is not None and crop.rgb_valid is not None:
            rgb[top:bottom, left:right] = crop.rgb
            valid[top:bottom, left:right] = crop.rgb_valid
    return Crop(image, truth) if all(crop.rgb is None for crop in crops) else Crop(image, truth, rgb, valid)


class TrainingBatches(Dataset[TrainingBatch]):
    """Batch n of a run: picture k is drawn by a generator seeded with (seed, k) alone, in whichever process.

    Of each part of a picture (`Task.parts`) the source is drawn by weight, the frame and the crop's place in it by the
    source's `Sampler`. Where `ranks` processes share the batches, this is the part of process `rank`.
    """

    def __init__(self, sources: Sequence[Source], recipe: Recipe, rank: int = 0, ranks: int = 1) -> None:
        self._rank, self._ranks = rank, ranks
        self._sources = list(sources)
        self._recipe = recipe
        self._task = task_of(recipe)
        self._source_reach = _reach(np.array([source.weight for source in sources], np.float64))
        self._samplers = [self._task.sampler([frame.truth for frame in each.frames]) for each in self._sources]
        self._frame_reaches = [_reach(sampler.frame_weights) for sampler in self._samplers]

    def __len__(self) -> int:
        return -(-self._recipe.train.images // self._recipe.train.batch_size)

    def __getitem__(self, number: int) -> TrainingBatch:
        size = self._recipe.train.batch_size
        share = size // self._ranks
        crops = [self.crop(number * size + self._rank * share + position) for position in range(share)]
        targets = self._task.collate([crop.truth for crop in crops])
        return stack(crops, targets, self._recipe.uses_rgb)

    def crop(self, index: int) -> Crop:
        """Training picture `index`."""
        rng = np.random.default_rng((self._recipe.train.seed, index))
        parts = self._task.parts(index, rng)
        crops = [self._draw((bottom - top, right - left), rng) for left, top, right, bottom in parts]
        if len(parts) == 1:
            return crops[0]
        return join_crops(parts, crops, self._task.join(parts, [crop.truth for crop in crops]))

    def _draw(self, height_width_px: tuple[int, int], rng: np.random.Generator) -> Crop:
        number = _drawn(self._source_reach, rng)
        source = self._sources[number]
        frame = source.frames[_drawn(self._frame_reaches[number], rng)]
        grey = frame.grey
        placement = self._samplers[number].place((grey.shape[0], grey.shape[1]), frame.truth, height_width_px, rng)
        return take_crop(
            grey,
            frame.limits,
            self._task.crop(frame.truth, placement),
            placement,
            self._recipe.augment,
            rng,
            source.polarity_free,
            frame.rgb if self._recipe.uses_rgb else None,
        )


def _reach(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cumulative shares."""
    return np.asarray(np.cumsum(weights / weights.sum()))


def _drawn(reach: NDArray[np.float64], rng: np.random.Generator) -> int:
    return min(int(np.searchsorted(reach, rng.random(), side="right")), len(reach) - 1)


def stack(crops: Sequence[Crop], targets: Rows, with_rgb: bool = False) -> TrainingBatch:
    """Crops of one size and their labels -> a batch; with_rgb: it has RGB, be there any in these crops or none."""
    images = torch.from_numpy(np.stack([crop.image for crop in crops])[:, None])
    if not with_rgb:
        return TrainingBatch(images, targets)
    shape = crops[0].image.shape
    rgb = np.zeros((len(crops), 3, *shape), np.uint8)
    valid = np.zeros((len(crops), *shape), np.bool_)
    for row, crop in enumerate(crops):
        if crop.rgb is not None and crop.rgb_valid is not None:
            rgb[row] = crop.rgb.transpose(2, 0, 1)
            valid[row] = crop.rgb_valid
    return TrainingBatch(images, targets, torch.from_numpy(rgb), torch.from_numpy(valid))
