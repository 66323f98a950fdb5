"""The values that flow through cgdet: frozen, checked on construction, NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.errors import InputError

CLASS_NAMES: tuple[str, ...] = ("person", "bicycle", "car")
IGNORE, BACKGROUND = "ignore", "background"  # what a class map names beside classes: neither for nor against; nothing

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ImageArray = NDArray[Any]

NANOSECONDS = 1_000_000_000  # of a second


def stamp_to_ns(stamp: Any) -> int:
    """A builtin_interfaces/Time, ROS's or rosbags' -> nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def class_places(names: Sequence[str], wanted: Sequence[str]) -> IntArray:
    """int64 [len(names)]: the place of each class in `wanted`, -1 where it is none of them."""
    return np.array([wanted.index(name) if name in wanted else -1 for name in names], np.int64)


def _keep(instance: object, **arrays: NDArray[Any]) -> None:
    """Sets fields of a frozen instance to views that cannot be written."""
    for name, array in arrays.items():
        view = array.view()
        view.flags.writeable = False
        object.__setattr__(instance, name, view)


@dataclass(frozen=True)
class Detections:
    """What a detector saw in one frame, best score first.

    boxes_xyxy_px: float32 [N, 4], corners in pixels of the frame as it was handed in, telemetry
        rows included; x right, y down, (0, 0) the outer corner of the first pixel.
    scores: float32 [N] in [0, 1], descending.
    class_ids: int64 [N], indices into the model's class names.
    """

    boxes_xyxy_px: FloatArray
    scores: FloatArray
    class_ids: IntArray

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes_xyxy_px, dtype=np.float32).reshape(-1, 4)
        scores = np.asarray(self.scores, dtype=np.float32).reshape(-1)
        class_ids = np.asarray(self.class_ids, dtype=np.int64).reshape(-1)
        if not len(boxes) == len(scores) == len(class_ids):
            raise ValueError(f"{len(boxes)} boxes, {len(scores)} scores and {len(class_ids)} class ids do not match")
        if len(scores) and not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ValueError("detections hold a value that is not finite")
        _keep(self, boxes_xyxy_px=boxes, scores=scores, class_ids=class_ids)

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> Detections:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def above(self, score_threshold: float) -> Detections:
        """The detections whose score is at least `score_threshold`."""
        keep = self.scores >= score_threshold
        return Detections(self.boxes_xyxy_px[keep], self.scores[keep], self.class_ids[keep])


@dataclass(frozen=True)
class Landmarks:
    """The points of N faces in one frame, 68 each in iBUG's order (tasks/landmarks/points.py).

    points_xy_px: float32 [N, 68, 2] in pixels of the frame as it was handed in, telemetry rows included; x right, y
        down, (0, 0) the CENTRE of the first pixel, as COCO's keypoints. A point may lie off the frame.
    confidences: float32 [N, 68] in [0, 1]: the probability that the point is right to about a tenth of the distance of
        the outer eye corners (tasks/landmarks/decode.py).
    boxes_xyxy_px: float32 [N, 4], where the faces were looked for, as Detections has boxes.
    """

    points_xy_px: FloatArray
    confidences: FloatArray
    boxes_xyxy_px: FloatArray

    def __post_init__(self) -> None:
        points = np.asarray(self.points_xy_px, dtype=np.float32).reshape(-1, 68, 2)
        confidences = np.asarray(self.confidences, dtype=np.float32).reshape(-1, 68)
        boxes = np.asarray(self.boxes_xyxy_px, dtype=np.float32).reshape(-1, 4)
        if not len(points) == len(confidences) == len(boxes):
            raise ValueError(f"{len(points)} faces, {len(confidences)} of confidences, {len(boxes)} boxes do not match")
        if not (np.isfinite(points).all() and np.isfinite(confidences).all() and np.isfinite(boxes).all()):
            raise ValueError("landmarks hold a value that is not finite")
        _keep(self, points_xy_px=points, confidences=confidences, boxes_xyxy_px=boxes)

    def __len__(self) -> int:
        return len(self.points_xy_px)

    @classmethod
    def empty(cls) -> Landmarks:
        return cls(np.zeros((0, 68, 2), np.float32), np.zeros((0, 68), np.float32), np.zeros((0, 4), np.float32))

    def of(self, faces: BoolArray) -> Landmarks:
        """Those of faces bool [N]."""
        return Landmarks(self.points_xy_px[faces], self.confidences[faces], self.boxes_xyxy_px[faces])


@dataclass(frozen=True)
class GroundTruth:
    """The labels of one frame.

    boxes_xyxy_px: float32 [N, 4] in pixels of the frame.
    class_ids: int64 [N].
    ignore: bool [N]; a region to ignore (COCO `iscrowd`) counts neither for nor against.
    labelled: bool [C] or None (all): the classes that are labelled in this frame at all. Where a
        class is not, nothing found of it is wrong.
    points_xy_px: float32 [N, P, 2] or None (a set without keypoints); x right, y down, (0, 0) the CENTRE of the first
        pixel (a box counts from that pixel's outer corner).
    points_labelled: bool [N, P], None with them; what stands in points_xy_px where it is False means nothing.
    """

    boxes_xyxy_px: FloatArray
    class_ids: IntArray
    ignore: BoolArray
    labelled: BoolArray | None = None
    points_xy_px: FloatArray | None = None
    points_labelled: BoolArray | None = None

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes_xyxy_px, dtype=np.float32).reshape(-1, 4)
        class_ids = np.asarray(self.class_ids, dtype=np.int64).reshape(-1)
        ignore = np.asarray(self.ignore, dtype=np.bool_).reshape(-1)
        if not len(boxes) == len(class_ids) == len(ignore):
            raise ValueError(f"{len(boxes)} boxes, {len(class_ids)} class ids and {len(ignore)} flags do not match")
        if len(boxes) and not np.isfinite(boxes).all():
            raise ValueError("a ground-truth box is not finite")
        _keep(self, boxes_xyxy_px=boxes, class_ids=class_ids, ignore=ignore)
        if self.labelled is not None:
            _keep(self, labelled=np.asarray(self.labelled, dtype=np.bool_).reshape(-1))
        if (self.points_xy_px is None) != (self.points_labelled is None):
            raise ValueError("points and which of them are labelled go together")
        if self.points_xy_px is not None and self.points_labelled is not None:
            points = np.asarray(self.points_xy_px, dtype=np.float32)
            known = np.asarray(self.points_labelled, dtype=np.bool_)
            if points.shape != (*known.shape, 2) or known.ndim != 2 or len(known) != len(boxes):
                raise ValueError(
                    f"points {points.shape}, their flags {known.shape} and {len(boxes)} boxes do not match"
                )
            if not np.isfinite(points[known]).all():
                raise ValueError("a labelled point is not finite")
            _keep(self, points_xy_px=points, points_labelled=known)

    def __len__(self) -> int:
        return len(self.class_ids)

    @classmethod
    def empty(cls) -> GroundTruth:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))


@dataclass(frozen=True)
class Frame:
    """One thermal frame as the camera gave it.

    image: uint8 or uint16 [H, W] (raw counts, native byte order), or uint8 [H, W, 3] in RGB order.
    stamp_ns: header stamp, nanoseconds; frame_id: the header's.
    """

    image: ImageArray
    stamp_ns: int = 0
    frame_id: str = ""

    def __post_init__(self) -> None:
        check_image(self.image)
        _keep(self, image=self.image)

    @property
    def height_width_px(self) -> tuple[int, int]:
        return int(self.image.shape[0]), int(self.image.shape[1])


@dataclass(frozen=True)
class Sample:
    """A frame with its labels and, where there is one, its registered RGB partner.

    name: unique in its data set (file name, or topic and stamp); truth: None where the source has
    no labels for the frame (not the same as none to find); rgb: uint8 [H, W, 3] in RGB order,
    pixel-aligned; light: "day", "night" or None; scene: frames of one scene never stand on both
    sides of a split; camera: its name, where the set gives it.
    """

    name: str
    frame: Frame
    truth: GroundTruth | None = None
    rgb: ImageArray | None = None
    light: str | None = None
    scene: str | None = None
    camera: str | None = None


def check_image(image: ImageArray) -> None:
    """Raise InputError unless `image` is uint8/uint16 [H, W] or uint8 [H, W, 3], not empty."""
    if image.size == 0:
        raise InputError(f"an image of shape {list(image.shape)} holds no pixel")
    grey = image.ndim == 2 and image.dtype in (np.uint8, np.uint16)
    colour = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
    if not (grey or colour):
        raise InputError(
            f"an image of shape {list(image.shape)} and type {image.dtype} cannot be used: give uint8 or uint16 "
            "[H, W], or uint8 RGB [H, W, 3]"
        )
