"""Training crops of faces: laid as a face detector errs, turned, mirrored, and a part hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import FaceAugmentConfig
from cgdet_core.errors import InputError
from cgdet_core.tasks.landmarks.crop import FaceCrop, crop_of_box
from cgdet_core.tasks.landmarks.points import MIRROR, POINTS
from cgdet_core.types import GroundTruth, ImageArray


@dataclass(frozen=True)
class FacePlacement(FaceCrop):
    """face: which of the frame's labels the crop is of; hidden: left, top, right, bottom in pixels of the crop, and a
    tone in [0, 1], of what hides a part of the thermal picture (a hand, a microphone); None: nothing does.

    RGB is not hidden: a teacher that sees more is a better one.
    """

    face: int = 0
    hidden: tuple[int, int, int, int, float] | None = None

    def lay(self, part: ImageArray) -> ImageArray:
        crop = super().lay(part)
        if self.hidden is not None and crop.dtype == np.float32:  # the thermal picture, in grey values
            left, top, right, bottom, tone = self.hidden
            crop[top:bottom, left:right] = tone
        return crop


class FaceSampler:
    """Every face of a source as often; frame_weights: [F], how often each frame is drawn, its number of faces."""

    def __init__(self, truths: Sequence[GroundTruth], config: FaceAugmentConfig, box_scale: float) -> None:
        self._config, self._box_scale = config, box_scale
        self.frame_weights: NDArray[np.float64] = np.array([len(whole_faces(truth)) for truth in truths], np.float64)

    def place(
        self,
        frame_height_width_px: tuple[int, int],
        truth: GroundTruth,
        size_px: tuple[int, int],
        rng: np.random.Generator,
    ) -> FacePlacement:
        config, crop_px = self._config, size_px[0]
        faces = whole_faces(truth)
        face = faces[int(rng.integers(len(faces)))]
        upright = crop_of_box(truth.boxes_xyxy_px[face], self._box_scale, crop_px)
        side = upright.side_px * float(np.exp(rng.uniform(*np.log(config.scale_range))))
        x, y = np.array(upright.centre_xy_px) + rng.normal(0, config.shift_sigma, 2) * side
        angle = float(rng.normal(0, config.angle_sigma))
        mirrored = bool(rng.random() < config.flip_probability)
        hidden = None
        if rng.random() < config.occlusion_probability:
            low, high = config.occlusion_range
            width, height = (int(max(1, share * crop_px)) for share in rng.uniform(low, high, 2))
            left, top = (int(rng.integers(crop_px - length + 1)) for length in (width, height))
            hidden = left, top, left + width, top + height, float(rng.random())
        return FacePlacement((float(x), float(y)), side, crop_px, angle, mirrored, face, hidden)


def whole_faces(truth: GroundTruth) -> list[int]:
    """The faces to learn from: not to ignore, with a labelled point. InputError for points that are not iBUG's."""
    if truth.points_xy_px is None or truth.points_labelled is None:
        return []
    if len(truth) and truth.points_labelled.shape[1] != POINTS:
        raise InputError(
            f"a set has {truth.points_labelled.shape[1]} points a face, the network learns {POINTS} in iBUG's order: "
            "convert it (cgdet convert)"
        )
    return [int(face) for face in np.flatnonzero(~truth.ignore & truth.points_labelled.any(1))]


def crop_truth(truth: GroundTruth, placement: FacePlacement) -> GroundTruth:
    """The label of the one face in pixels of its crop. In a mirror each point takes its partner's place."""
    assert truth.points_xy_px is not None
    assert truth.points_labelled is not None
    row = slice(placement.face, placement.face + 1)
    order = MIRROR if placement.mirrored else np.arange(POINTS)
    labelled = truth.points_labelled[row][:, order]
    points = placement.to_crop(np.where(labelled[..., None], truth.points_xy_px[row][:, order], 0))
    boxes = placement.boxes(truth.boxes_xyxy_px[row])
    return replace(
        truth,
        boxes_xyxy_px=boxes,
        class_ids=truth.class_ids[row],
        ignore=truth.ignore[row],
        points_xy_px=points,
        points_labelled=labelled,
    )
