"""A bag's thermal frames labelled by what an RGB teacher sees, streamed: a COCO JSON keyed by stamp.

Nothing seen is not nothing there: a frame whose RGB shows nothing is unlabelled, and where RGB does not reach, the
thermal frame is a region to ignore of every class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cgdet_core.boxes import clip_xyxy, iou_matrix
from cgdet_core.config import LabelConfig, PostprocessConfig
from cgdet_core.data.bags.frames import UNLABELLED
from cgdet_core.data.registration.homography import Registration
from cgdet_core.data.registration.pairs import PairedBag
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.distill.teachers.figures import detections_of, padded
from cgdet_core.errors import InputError
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.types import BoolArray, Detections, FloatArray, GroundTruth

_VALID_SHARE = 0.98  # of a box, with its rim, that RGB must show; else it is a region to ignore
_DARK_MEDIAN = 40  # an RGB picture half of whose pixels are darker (luma, of 255) is dark
_FLAT_DEVIATION = 8  # an RGB picture whose luma deviates less (fog, a covered lens, glare) is flat
_RIM_PX = 2  # a box that ends where RGB ends may go on beyond


@dataclass(frozen=True)
class LabelledFrame:
    """truth: None for an unlabelled frame, for which `reason` says why."""

    stamp_ns: int
    truth: GroundTruth | None
    reason: str = ""


def label_frames(
    bag: PairedBag, teacher: Teacher, config: LabelConfig, class_names: tuple[str, ...], second: Predictor | None = None
) -> Iterator[LabelledFrame]:
    """Every frame that the bag gives, in its order, one at a time.

    second: a thermal detector whose detections, where the teacher sees nothing, become regions to ignore.
    Raises InputError for a damaged bag and frames that cannot be decoded or are of another size.
    """
    assert bag.registration is not None
    if len(set(bag.stamps_ns)) < len(bag):
        raise InputError(
            f"{bag.path}: frames of {bag.thermal_topic} share a stamp, which labels are kept by: --by record"
        )
    floor = PostprocessConfig(score_threshold=config.ignore_score, nms_iou=config.nms_iou)
    for frame in tqdm(bag.frames(), "labelling", len(bag), unit="frame", disable=None):
        thermal = bag.thermal_frame(frame)
        if frame.rgb is None:
            yield LabelledFrame(frame.stamp_ns, None, "no RGB frame beside it")
            continue
        rgb = bag.rgb_pixels(frame)
        if reason := blindness(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)):
            yield LabelledFrame(frame.stamp_ns, None, reason)
            continue
        found = detections_of(teacher.look(padded(rgb)).predictions, floor, (rgb.shape[0], rgb.shape[1]))
        truth = thermal_labels(found, bag.registration, bag.valid, config, class_names)
        if second is not None:
            own = second.postprocess.at_score(config.second_score)
            truth = with_second_opinion(truth, second.predict(thermal.image, postprocess=own))
        yield LabelledFrame(frame.stamp_ns, truth)


def with_second_opinion(truth: GroundTruth, second: Detections) -> GroundTruth:
    """The labels, with the detections of another detector that overlap no object (IoU 0.5) as regions to ignore."""
    objects = truth.boxes_xyxy_px[~truth.ignore]
    unknown = ~(iou_matrix(second.boxes_xyxy_px, objects) >= 0.5).any(axis=1)
    return GroundTruth(
        np.concatenate([truth.boxes_xyxy_px, second.boxes_xyxy_px[unknown]]),
        np.concatenate([truth.class_ids, second.class_ids[unknown]]),
        np.concatenate([truth.ignore, np.ones(int(unknown.sum()), np.bool_)]),
        truth.labelled,
    )


def write_labels(
    path: Path,
    frames: Iterable[LabelledFrame],
    height_width_px: tuple[int, int],
    class_names: Sequence[str],
    how: dict[str, Any],
) -> str:
    """Write the JSON of bags/frames.py, whole or not at all; how: what made the labels, kept under `info`.

    Returns lines for the user: objects by class, and why frames are unlabelled.
    """
    draft = CocoDraft(class_names)
    objects: Counter[str] = Counter()
    unlabelled: list[dict[str, Any]] = []
    for frame in frames:
        if frame.truth is None:
            unlabelled.append({"stamp_ns": frame.stamp_ns, "reason": frame.reason})
            continue
        objects.update(class_names[index] for index in frame.truth.class_ids[~frame.truth.ignore])
        draft.add_image(image_entry(str(frame.stamp_ns), height_width_px, stamp_ns=frame.stamp_ns))
        draft.add_truth(frame.truth)
    draft.write(path, **{"info": how, UNLABELLED: unlabelled})
    labelled, told = len(draft.images), ", ".join(f"{count} {name}" for name, count in sorted(objects.items()))
    reasons = Counter(frame["reason"] for frame in unlabelled)
    lines = [f"{labelled} of {labelled + len(unlabelled)} frames labelled: {told or 'no objects'}"]
    return "\n".join([*lines, *(f"  {count} unlabelled: {reason}" for reason, count in sorted(reasons.items()))])


def blindness(luma: NDArray[np.uint8]) -> str:
    """Why an RGB picture shows too little to say that nothing is there, luma uint8 [H, W]; "" where it does not."""
    if float(np.median(luma)) < _DARK_MEDIAN:
        return "RGB is dark"
    return "RGB is flat" if float(luma.std()) < _FLAT_DEVIATION else ""


def thermal_labels(
    detections: Detections,
    registration: Registration,
    valid: BoolArray | None,
    config: LabelConfig,
    class_names: tuple[str, ...],
) -> GroundTruth:
    """The thermal frame's labels out of the RGB frame's detections.

    detections: in RGB pixels, down to config.ignore_score; valid: bool [H, W] of the thermal frame, None: all of
    it. An object has its class's threshold and lies where RGB shows it; other detections are regions to ignore.
    """
    boxes = registration.boxes_to_thermal(detections.boxes_xyxy_px)
    visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    thresholds = np.array([config.threshold_of(name) for name in class_names], np.float32)
    sure = visible & (detections.scores >= thresholds[detections.class_ids])
    sure &= visible_share(boxes, valid) >= _VALID_SHARE
    unsure = visible & ~sure
    # a second, less certain box of an object would only take away the background around it
    same = detections.class_ids[:, None] == detections.class_ids[None, sure]
    unsure &= ~((iou_matrix(boxes, boxes[sure]) >= 0.5) & same).any(axis=1)
    unknown = beyond_rgb(valid)
    classes = np.arange(len(class_names))
    return GroundTruth(
        np.concatenate([boxes[sure], boxes[unsure], np.repeat(unknown, len(classes), axis=0)]),
        np.concatenate([detections.class_ids[sure], detections.class_ids[unsure], np.tile(classes, len(unknown))]),
        np.repeat([False, True], [int(sure.sum()), int(unsure.sum()) + len(unknown) * len(classes)]),
    )


def visible_share(boxes_xyxy_px: FloatArray, valid: BoolArray | None) -> FloatArray:
    """float32 [N]: the share of each box, with two pixels around it, where RGB shows the thermal frame.

    valid: bool [H, W], None: everywhere. What lies beyond the thermal frame does not count.
    """
    if valid is None:
        return np.ones(len(boxes_xyxy_px), np.float32)
    grown = clip_xyxy(boxes_xyxy_px + np.array([-_RIM_PX, -_RIM_PX, _RIM_PX, _RIM_PX], np.float32), *valid.shape)
    corners = np.concatenate([np.floor(grown[:, :2]), np.ceil(grown[:, 2:])], axis=1).astype(int).tolist()
    areas = [valid[top:bottom, left:right] for left, top, right, bottom in corners]
    return np.array([area.mean() if area.size else 0.0 for area in areas], np.float32)


def beyond_rgb(valid: BoolArray | None) -> FloatArray:
    """float32 [K, 4], at most four: the thermal frame around an upright rectangle that RGB shows wholly.

    valid: bool [H, W], without holes (as a homography leaves it); None: everywhere, no region. From the whole frame
    the side with the largest share of pixels that RGB does not show is moved inward until none has any.
    """
    if valid is None:
        return np.zeros((0, 4), np.float32)
    height, width = valid.shape
    left, top, right, bottom = 0, 0, width, height
    while left < right and top < bottom:
        sides = (
            valid[top:bottom, left].mean(),
            valid[top, left:right].mean(),
            valid[top:bottom, right - 1].mean(),
            valid[bottom - 1, left:right].mean(),
        )
        worst = int(np.argmin(sides))
        if sides[worst] == 1:
            break
        left, top, right, bottom = left + (worst == 0), top + (worst == 1), right - (worst == 2), bottom - (worst == 3)
    if left >= right or top >= bottom:
        return np.array([[0, 0, width, height]], np.float32)
    around = np.array([[0, 0, left, height], [right, 0, width, height], [0, 0, width, top], [0, bottom, width, height]])
    return np.asarray(around[(around[:, 2] > around[:, 0]) & (around[:, 3] > around[:, 1])], np.float32)
