"""What a run's network makes of whole frames: embeddings of its regions, and its maps beside the teacher's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cgdet_core.config import Recipe, TermConfig
from cgdet_core.data.augment.crop import Crop
from cgdet_core.data.feed.dataset import TrainingBatch, collate
from cgdet_core.distill.taps import Taps, pool, regions_of
from cgdet_core.distill.teachers.base import seen_scores
from cgdet_core.distill.terms import at_strides, look, teacher_of
from cgdet_core.errors import InputError
from cgdet_core.thermal import Letterbox, letterbox, normalise
from cgdet_core.training.checkpoint import load_checkpoint
from cgdet_core.training.state import RunState
from cgdet_core.types import FloatArray, GroundTruth, IntArray, Sample


@dataclass(frozen=True)
class EmbeddedRegions:
    """K labelled objects of some frames.

    vectors: float32 [K, D], of length 1; class_ids: int64 [K]; heights_px: float32 [K], in their frames;
    frames: the name of each one's frame; lights: its light, "" where the set names none.
    """

    vectors: FloatArray
    class_ids: IntArray
    heights_px: FloatArray
    frames: tuple[str, ...]
    lights: tuple[str, ...]

    def agreement(self) -> dict[int, float]:
        """class id -> share of its objects whose nearest neighbour in another frame, by angle, is of the class."""
        alike = self.vectors @ self.vectors.T
        frames = np.array(self.frames)
        alike[frames[:, None] == frames[None]] = -np.inf
        right = self.class_ids[alike.argmax(1)] == self.class_ids
        # an object whose frame is the only one has no such neighbour
        counted = np.isfinite(alike.max(1))
        classes = np.unique(self.class_ids[counted])
        return {int(each): float(right[counted & (self.class_ids == each)].mean()) for each in classes}

    def plane(self) -> FloatArray:
        """[K, 2]: the vectors on the two axes along which they differ most (principal components)."""
        centred = self.vectors - self.vectors.mean(0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        return np.asarray(centred @ axes[:2].T, np.float32)


@dataclass(frozen=True)
class FrameMaps:
    """Of one frame, cut to the picture: maps float32 [C, h, w] by stride.

    adapted: the student's, as the teacher's channels; teacher: None without guidance or without RGB;
    seen: what the teacher sees of each true object, float32 [K], in the order of the batch.
    """

    image: FloatArray
    student: dict[int, FloatArray]
    adapted: dict[int, FloatArray] | None
    teacher: dict[int, FloatArray] | None
    seen: FloatArray | None


class Inside:
    """A run's averaged network with its projections, adapters and teacher, for a look at single frames.

    folder: that the path of the run's teacher starts from. Raises InputError where the run has no checkpoint.
    """

    def __init__(self, run: Path, folder: Path) -> None:
        path = run / "checkpoint.safetensors"
        if not path.exists():
            raise InputError(f"{path}: is missing: give the folder of a run that `cgdet train` began")
        checkpoint = load_checkpoint(path)
        self.recipe: Recipe = checkpoint.recipe
        self._teacher = teacher_of(self.recipe, folder)
        state = RunState(self.recipe, torch.device("cpu"), teacher=self._teacher)
        state.restore(checkpoint, path)
        self._extra = state.extra.eval()
        state.extra.remove()
        self._detector = state.average.detector.eval()
        names = [*self.recipe.contrast.student_layers, *self.recipe.guidance.student_layers]
        self._taps = Taps(self._detector, names, "student_layers")

    @torch.inference_mode()
    def regions(self, samples: Iterable[Sample]) -> EmbeddedRegions:
        """Their true objects: as the run's contrast embeds them, or, without one, their mean features at stride 8."""
        vectors, class_ids, heights = [], [], []
        frames: list[str] = []
        lights: list[str] = []
        for sample in samples:
            batch, _ = self._batch(sample)
            if not bool(batch.objects.any()):
                continue
            self._detector(batch.images)
            maps = self._taps.take()
            if self._extra.contrast is not None:
                embedded = self._extra.contrast.embed(at_strides(self.recipe.contrast, maps), batch)
                found, regions = embedded.vectors, embedded.regions
            else:
                lowest = TermConfig(strides=(8,), student_layers=self.recipe.contrast.student_layers)
                regions = regions_of(batch, lowest)
                (_, features) = pool(at_strides(lowest, maps), regions, lowest.roi_px)[8]
                found = functional.normalize(features.mean((2, 3)))
            truth = _true(sample)
            vectors.append(found.float().numpy())
            class_ids.append(regions.class_ids.numpy())
            heights.append(truth.boxes_xyxy_px[~truth.ignore][:, 3] - truth.boxes_xyxy_px[~truth.ignore][:, 1])
            frames += [sample.name] * len(regions)
            lights += [sample.light or ""] * len(regions)
        if not vectors:
            return EmbeddedRegions(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), (), ())
        return EmbeddedRegions(
            np.concatenate(vectors), np.concatenate(class_ids), np.concatenate(heights), tuple(frames), tuple(lights)
        )

    @torch.inference_mode()
    def maps(self, sample: Sample) -> FrameMaps:
        """The maps that guidance compares, or would compare."""
        batch, placed = self._batch(sample)
        height, width = round(placed.height_px * placed.scales_xy[1]), round(placed.width_px * placed.scales_xy[0])
        self._detector(batch.images)
        student = {
            stride: value.float() for stride, value in at_strides(self.recipe.guidance, self._taps.take()).items()
        }

        def cut(maps: dict[int, torch.Tensor]) -> dict[int, FloatArray]:
            return {
                stride: value[0, :, : -(-height // stride), : -(-width // stride)].numpy()
                for stride, value in maps.items()
            }

        adapted = teacher = seen = None
        by_heat = self.recipe.guidance.teacher.sees == "thermal"
        if self._extra.guidance is not None and self._teacher is not None and (batch.rgb is not None or by_heat):
            adapters = self._extra.guidance.adapters
            adapted = cut({stride: adapters[str(stride)](value) for stride, value in student.items()})
            view, _ = look(self._teacher, batch, self.recipe)
            teacher = cut({stride: view.maps[stride].float() for stride in student})
            seen = seen_scores(view, regions_of(batch, self.recipe.guidance)).numpy()
        return FrameMaps(batch.images[0, 0, :height, :width].numpy(), cut(student), adapted, teacher, seen)

    def _batch(self, sample: Sample) -> tuple[TrainingBatch, Letterbox]:
        """A batch of the one whole frame, as the node would give it to the network, and how it lies there."""
        size = self.recipe.model.input_height_width_px
        canvas, placed = letterbox(normalise(sample.frame.image, self.recipe.thermal), size)
        truth = _true(sample)
        scales = np.array(placed.scales_xy * 2, np.float32)
        rgb = valid = None
        if sample.rgb is not None:
            channels = [letterbox(sample.rgb[..., index].astype(np.float32), size)[0] for index in range(3)]
            rgb = np.stack(channels, axis=-1).round().astype(np.uint8)
            valid = np.ones(size, np.bool_)
        placed_truth = GroundTruth(truth.boxes_xyxy_px * scales, truth.class_ids, truth.ignore, truth.labelled)
        crop = Crop(canvas, placed_truth, rgb, valid)
        return collate([crop], len(self.recipe.model.class_names), with_rgb=rgb is not None), placed


def common_colours(*maps: FloatArray) -> list[NDArray[np.uint8]]:
    """Maps [C, h, w] of the same channels -> pictures [h, w, 3] in which like colours are like features.

    Each channel of each map has its mean taken away and is divided by its deviation, as PKD compares
    them; the three directions in which all places together differ most are red, green and blue.
    """
    flat = [each.reshape(len(each), -1).astype(np.float64) for each in maps]
    flat = [(each - each.mean(1, keepdims=True)) / (each.std(1, keepdims=True) + 1e-6) for each in flat]
    everything = np.concatenate(flat, axis=1)
    _, axes = np.linalg.eigh(everything @ everything.T)
    values = [axes[:, ::-1][:, :3].T @ each for each in flat]
    together = np.concatenate(values, axis=1)
    low, high = np.percentile(together, (1, 99), axis=1)
    pictures = []
    for each, value in zip(maps, values, strict=True):
        scaled = (value - low[:, None]) / np.maximum(high - low, 1e-6)[:, None]
        coloured = np.zeros((3, value.shape[1]))
        coloured[: len(scaled)] = scaled
        pictures.append((coloured.clip(0, 1) * 255).astype(np.uint8).T.reshape(*each.shape[1:], 3))
    return pictures


def unlikeness(student: FloatArray, teacher: FloatArray) -> FloatArray:
    """[C, h, w] twice -> [h, w]: mean over channels of the squared difference of the standardised maps, halved."""
    standard = [
        (each - each.mean((1, 2), keepdims=True)) / (each.std((1, 2), keepdims=True) + 1e-6)
        for each in (student, teacher)
    ]
    return np.asarray(np.square(standard[0] - standard[1]).mean(0) / 2, np.float32)


def _true(sample: Sample) -> GroundTruth:
    if sample.truth is None:
        return GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    return sample.truth
