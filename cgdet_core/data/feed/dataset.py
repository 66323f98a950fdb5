"""Batch number n of a seed, always the same one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cgdet_core.config import Recipe
from cgdet_core.data.augment.crop import Crop, random_crop
from cgdet_core.data.augment.mosaic import mosaic
from cgdet_core.data.feed.sampling import class_weights, repeat_factors
from cgdet_core.data.feed.sources import Source
from cgdet_core.tasks import task_of
from cgdet_core.tasks.task import Targets, TrainingBatch


class TrainingBatches(Dataset[TrainingBatch]):
    """Batch n of a run: picture k is drawn by a generator seeded with (seed, k) alone.

    So batch n is the same whatever was drawn before, in whichever process, after any resume. Source
    by weight, frame by repeat factor within it, and an object to lay the crop over by the frequency
    of its class; a mosaic does so four times. The end of the run has no mosaics. Where `ranks`
    processes share the batches, this is the part of process `rank`: its crops alone are made.
    """

    def __init__(self, sources: Sequence[Source], recipe: Recipe, rank: int = 0, ranks: int = 1) -> None:
        self._rank, self._ranks = rank, ranks
        self._sources = list(sources)
        self._recipe = recipe
        self._task = task_of(recipe)
        augment, classes = recipe.augment, len(recipe.model.class_names)
        self._source_reach = _reach(np.array([source.weight for source in sources], np.float64))
        truths = [[frame.truth for frame in source.frames] for source in self._sources]
        self._frame_reaches = [_reach(repeat_factors(each, classes, augment.frame_class_balance)) for each in truths]
        self._class_weights = [class_weights(each, classes, augment.centre_class_balance) for each in truths]
        self._first_without_mosaic = recipe.train.images * (1 - augment.mosaic_off_fraction)

    def __len__(self) -> int:
        return -(-self._recipe.train.images // self._recipe.train.batch_size)

    def __getitem__(self, number: int) -> TrainingBatch:
        size = self._recipe.train.batch_size
        share = size // self._ranks
        crops = [self.crop(number * size + self._rank * share + position) for position in range(share)]
        targets = self._task.collate([crop.truth for crop in crops])
        return stack(crops, targets, self._recipe.uses_rgb)

    def crop(self, index: int) -> Crop:
        """Training picture `index`: a crop of one frame, or a mosaic of four."""
        augment = self._recipe.augment
        rng = np.random.default_rng((self._recipe.train.seed, index))
        if index < self._first_without_mosaic and rng.random() < augment.mosaic_probability:
            return mosaic(lambda size: self._draw(size, rng), augment, rng)
        return self._draw((augment.crop_px, augment.crop_px), rng)

    def _draw(self, height_width_px: tuple[int, int], rng: np.random.Generator) -> Crop:
        number = _drawn(self._source_reach, rng)
        source = self._sources[number]
        frame = source.frames[_drawn(self._frame_reaches[number], rng)]
        return random_crop(
            frame.grey,
            frame.limits,
            frame.truth,
            self._recipe.augment,
            rng,
            self._task.crop,
            source.polarity_free,
            height_width_px,
            self._class_weights[number],
            frame.rgb if self._recipe.uses_rgb else None,
        )


def _reach(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cumulative shares."""
    return np.asarray(np.cumsum(weights / weights.sum()))


def _drawn(reach: NDArray[np.float64], rng: np.random.Generator) -> int:
    return min(int(np.searchsorted(reach, rng.random(), side="right")), len(reach) - 1)


def stack(crops: Sequence[Crop], targets: Targets, with_rgb: bool = False) -> TrainingBatch:
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
