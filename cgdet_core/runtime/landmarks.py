"""Raw frame and boxes of faces in, their points out: the one path that evaluation, commands and the node share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, overload

import numpy as np

from cgdet_core.colour_maps import ColourMap
from cgdet_core.config import LandmarkPostprocessConfig
from cgdet_core.drawing import RgbArray
from cgdet_core.errors import InputError
from cgdet_core.runtime.model_file import ModelInfo
from cgdet_core.runtime.predictor import LoadedModel
from cgdet_core.tasks.landmarks.crop import FaceCrop, crop_of_box
from cgdet_core.tasks.landmarks.decode import decode
from cgdet_core.tasks.landmarks.draw import draw_landmarks
from cgdet_core.thermal import ToneLimits, apply_tone, cut_telemetry, to_grey, tone_limits
from cgdet_core.types import FloatArray, ImageArray, Landmarks, check_image

_LARGEST_BOX: Final = 4.0  # longer sides of the frame that a face's box may have


class LandmarkPredictor(LoadedModel):
    """A landmark model on a device; see LoadedModel. last_stage_ms: of all faces of a call together."""

    task = "landmarks"

    def _prepare(self) -> None:
        assert isinstance(self.info.postprocess, LandmarkPostprocessConfig)
        self.postprocess = self.info.postprocess
        self._crop_px = self.info.input_height_width_px[0]

    def warm_up(self, faces: int = 2) -> None:
        """Run `faces` empty crops, so that the first real one is not the slow one."""
        side = self._crop_px
        self.predict(np.zeros((side, side), np.uint8), np.tile(np.array([0, 0, side, side], np.float32), (faces, 1)))

    def predict(self, image: ImageArray, boxes_xyxy_px: FloatArray, telemetry_rows: int = 0) -> Landmarks:
        """The points of the faces in `boxes_xyxy_px` float32 [N, 4] of a raw frame, uint8/uint16 [H, W] or uint8 RGB
        [H, W, 3]; boxes and points in pixels of the whole `image`.

        telemetry_rows: as for Predictor.predict. Raises InputError for an array that is no image, and for a box that is
        not finite, has no area or is many times larger than the frame.
        """
        start = time.perf_counter()
        check_image(image)
        boxes = check_boxes(boxes_xyxy_px, image.shape[0], image.shape[1])
        picture, rows_above = cut_telemetry(image, telemetry_rows)
        grey = to_grey(picture)
        limits = tone_limits(grey, self.thermal)
        toned = time.perf_counter()
        stages_ms = {"preprocess": (toned - start) * 1e3, "infer": 0.0, "postprocess": 0.0}
        points, confidences = [], []
        for box in boxes - np.array([0, rows_above, 0, rows_above], np.float32):
            began = time.perf_counter()
            crop = crop_of(box, self.info)
            canvas = face_canvas(grey, limits, crop)
            prepared = time.perf_counter()
            (map_logits,) = self._network.infer(canvas)
            inferred = time.perf_counter()
            in_crop, sure = decode(map_logits[None], self._crop_px, self.postprocess.spread_factor)
            if not (np.isfinite(in_crop).all() and np.isfinite(sure).all()):
                raise self._not_finite()
            points.append(crop.to_frame(in_crop[0]) + np.array([0, rows_above], np.float32))
            confidences.append(sure[0])
            times = (began, prepared, inferred, time.perf_counter())
            for stage, (first, last) in zip(stages_ms, pairwise(times), strict=True):
                stages_ms[stage] += (last - first) * 1e3
        found = Landmarks(np.stack(points), np.stack(confidences), boxes) if points else Landmarks.empty()
        self.last_stage_ms = {**stages_ms, "total": (time.perf_counter() - start) * 1e3}
        return found

    @overload
    def __call__(self, images: ImageArray, boxes_xyxy_px: FloatArray) -> Landmarks: ...
    @overload
    def __call__(self, images: Sequence[ImageArray], boxes_xyxy_px: Sequence[FloatArray]) -> list[Landmarks]: ...
    def __call__(
        self, images: ImageArray | Sequence[ImageArray], boxes_xyxy_px: FloatArray | Sequence[FloatArray]
    ) -> Landmarks | list[Landmarks]:
        """What `predict` finds in one frame, or in each of a list of them with a list of the boxes of each."""
        if isinstance(images, np.ndarray):
            return self.predict(images, np.asarray(boxes_xyxy_px, np.float32))
        return [self.predict(image, boxes) for image, boxes in zip(images, boxes_xyxy_px, strict=True)]

    def draw(
        self, image: ImageArray, found: Landmarks, scale: float = 1, colour_map: ColourMap = "white_hot"
    ) -> RgbArray:
        """uint8 RGB: the frame with its faces' points, probably lost ones as rings (draw_landmarks)."""
        return draw_landmarks(image, found, self.postprocess.lost_below, scale, self.thermal, colour_map)


def crop_of(box_xyxy_px: FloatArray, info: ModelInfo) -> FaceCrop:
    """Where the network of this model file looks for the face in a box float32 [4]."""
    assert isinstance(info.postprocess, LandmarkPostprocessConfig)
    return crop_of_box(box_xyxy_px, info.postprocess.box_scale, info.input_height_width_px[0])


def face_canvas(grey: ImageArray, limits: ToneLimits, crop: FaceCrop) -> FloatArray:
    """float32 [S, S] in [0, 1]: the network's input of a crop of a grey frame whose tones these limits are."""
    return np.ascontiguousarray(crop.lay(apply_tone(crop.cut(grey), limits)), np.float32)


def check_boxes(boxes_xyxy_px: FloatArray, height_px: int, width_px: int) -> FloatArray:
    """Boxes float32 [N, 4]; see LandmarkPredictor.predict."""
    boxes = np.asarray(boxes_xyxy_px, np.float32).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    largest = _LARGEST_BOX * max(height_px, width_px)
    fine = np.isfinite(boxes).all(1) & (sides > 0).all(1) & (np.abs(boxes) <= largest).all(1)
    if not fine.all():
        wrong = ", ".join(f"{value:g}" for value in boxes[np.flatnonzero(~fine)[0]])
        raise InputError(
            f"the box [{wrong}] does not fit a {width_px}x{height_px} frame: give left, top, right, bottom in pixels"
        )
    return boxes
