"""Facial landmarks as a task: 68 points of one face in each crop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cgdet_core.config import FaceAugmentConfig, LandmarkLossConfig, LandmarkPostprocessConfig, Recipe
from cgdet_core.drawing import Colour
from cgdet_core.errors import InputError
from cgdet_core.tasks.landmarks.draw import GROUP_COLOURS
from cgdet_core.tasks.landmarks.loss import landmark_loss
from cgdet_core.tasks.landmarks.points import POINTS
from cgdet_core.tasks.landmarks.sampling import FacePlacement, FaceSampler, crop_truth, whole_faces
from cgdet_core.tasks.landmarks.teaching import (
    LandmarkTargets,
    LandmarkTeacherLosses,
    LandmarkTeacherReading,
    MapPredictions,
)
from cgdet_core.tasks.task import Part, Regions, TeacherOutput, TrainingBatch
from cgdet_core.types import GroundTruth

if TYPE_CHECKING:
    from cgdet_core.tasks import Placement


class LandmarkTask:
    """See DetectionTask. A crop holds one face, without regions: RCS has no classes, CMG compares whole maps."""

    has_regions = False

    def __init__(self, recipe: Recipe) -> None:
        assert isinstance(recipe.augment, FaceAugmentConfig)
        assert isinstance(recipe.loss, LandmarkLossConfig)
        assert isinstance(recipe.postprocess, LandmarkPostprocessConfig)
        self._augment, self._loss, self._box_scale = recipe.augment, recipe.loss, recipe.postprocess.box_scale
        self._crop_px = recipe.model.input_height_width_px[0]

    @property
    def legend(self) -> list[tuple[str, Colour]]:
        return list(GROUP_COLOURS.items())

    def sampler(self, truths: Sequence[GroundTruth]) -> FaceSampler:
        return FaceSampler(truths, self._augment, self._box_scale)

    def parts(self, index: int, rng: np.random.Generator) -> list[Part]:
        return [(0, 0, self._crop_px, self._crop_px)]

    def crop(self, truth: GroundTruth, placement: Placement) -> GroundTruth:
        assert isinstance(placement, FacePlacement)
        return crop_truth(truth, placement)

    def join(self, parts: Sequence[Part], truths: Sequence[GroundTruth]) -> GroundTruth:
        raise ValueError("a picture of a face is one part")

    def collate(self, truths: Sequence[GroundTruth]) -> LandmarkTargets:
        """Each truth is of one face."""
        points = np.stack([truth.points_xy_px[0] for truth in truths if truth.points_xy_px is not None])
        labelled = np.stack([truth.points_labelled[0] for truth in truths if truth.points_labelled is not None])
        return LandmarkTargets(torch.from_numpy(points.astype(np.float32)), torch.from_numpy(labelled.copy()))

    def count(self, truths: Sequence[GroundTruth]) -> dict[str, Any]:
        """faces: those with a labelled point; points: labelled ones of them, by number from 0 as text;
        median_side_px: of the faces' boxes, the longer side, in pixels of the frames."""
        faces = [(truth, face) for truth in truths for face in whole_faces(truth)]
        labelled = np.zeros(POINTS, np.int64)
        sides = []
        for truth, face in faces:
            assert truth.points_labelled is not None
            labelled += truth.points_labelled[face]
            left, top, right, bottom = truth.boxes_xyxy_px[face]
            sides.append(max(right - left, bottom - top))
        return {
            "faces": len(faces),
            "points": {str(place): int(count) for place, count in enumerate(labelled)},
            "median_side_px": round(float(np.median(sides)), 1) if sides else None,
        }

    def describe(self, counts: Mapping[str, Any]) -> str:
        side = counts["median_side_px"]
        points = sum(counts["points"].values())
        return f": {counts['faces']} faces with {points} points" + (
            "" if side is None else f", median side {side:.0f} px"
        )

    def not_learned(self, counts: Sequence[Mapping[str, Any]]) -> list[str]:
        missing = [place for place in range(POINTS) if not any(each["points"][str(place)] for each in counts)]
        if len(missing) == POINTS:
            raise InputError(
                f"no training frame has a face with labelled points: give COCO keypoints, {POINTS} a face in iBUG's "
                "order (cgdet convert)"
            )
        return [f"points {', '.join(map(str, missing))} will not be learned, no face has them"] if missing else []

    def tensors_by_class(self, names: Iterable[str]) -> list[str]:
        return []

    def loss(self, output: Tensor, targets: LandmarkTargets) -> dict[str, Tensor]:
        return landmark_loss(output, targets.points_xy_px, targets.labelled, self._crop_px, self._loss)

    def regions(self, targets: LandmarkTargets) -> Regions:
        """None: terms that need any are refused, whole maps do without."""
        boxes = targets.points_xy_px.new_zeros(0, 5)
        return Regions(boxes, boxes[:, 0].long())

    def seen(self, predictions: MapPredictions, regions: Regions) -> Tensor:
        raise ValueError("this task has no regions")

    def read_teacher(
        self, class_names: Sequence[str], class_map: Mapping[str, str], origin: str
    ) -> LandmarkTeacherReading:
        return LandmarkTeacherReading()

    def teacher_losses(
        self, batch: TrainingBatch, teacher: TeacherOutput, known: Sequence[bool], sure_score: float
    ) -> LandmarkTeacherLosses:
        return LandmarkTeacherLosses(batch, teacher.predictions, self._loss, sure_score)
