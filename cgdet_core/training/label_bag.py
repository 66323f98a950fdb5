"""A bag's thermal frames labelled by an RGB teacher, streamed: a COCO JSON keyed by stamp."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from cgdet_core.boxes import iou_matrix
from cgdet_core.config import LabelConfig, PostprocessConfig
from cgdet_core.data.bags.frames import UNLABELLED
from cgdet_core.data.registration.pairs import PairedBag
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.distill.teachers.figures import detections_of, padded
from cgdet_core.errors import InputError
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.training.pseudo_labels import AGREE_IOU, SeenFrame, agreed, blindness, thermal_labels
from cgdet_core.types import NANOSECONDS, Detections, GroundTruth


@dataclass(frozen=True)
class _Observed:
    """A thermal frame, and what the teacher saw in its RGB frame; seen None: it has none, or shows too little."""

    stamp_ns: int
    reason: str
    seen: SeenFrame | None
    second: Detections


@dataclass(frozen=True)
class LabelledFrame:
    """truth: None for an unlabelled frame, for which `reason` says why."""

    stamp_ns: int
    truth: GroundTruth | None
    reason: str = ""


def label_frames(
    bag: PairedBag,
    teacher: Teacher,
    config: LabelConfig,
    class_names: tuple[str, ...],
    second: Predictor | None = None,
    progress: bool = True,
) -> Iterator[LabelledFrame]:
    """Every frame that the bag gives, in its order; no more frames are held than agreement needs.

    second: a thermal detector whose detections, where the teacher sees nothing, become regions to ignore.
    Raises InputError for a damaged bag and frames that cannot be decoded or are of another size.
    """
    assert bag.registration is not None
    if len(set(bag.stamps_ns)) < len(bag):
        raise InputError(
            f"{bag.path}: frames of {bag.thermal_topic} share a stamp, which labels are kept by: --by record"
        )
    observed = tqdm(
        _observe(bag, teacher, config, second), "labelling", len(bag), unit="frame", disable=None if progress else True
    )
    near_ns = config.agree_seconds * NANOSECONDS
    for frame, neighbours in with_neighbours(observed, config.agree_frames):
        if frame.reason or frame.seen is None:
            yield LabelledFrame(frame.stamp_ns, None, frame.reason)
            continue
        near = [
            other.seen
            for other in neighbours
            if other.seen is not None and 0 < abs(other.seen.stamp_ns - frame.seen.stamp_ns) <= near_ns
        ]
        confirmed = agreed(frame.seen, near, AGREE_IOU)
        truth = thermal_labels(frame.seen.detections, confirmed, bag.registration, bag.valid, config, class_names)
        yield LabelledFrame(frame.stamp_ns, with_second_opinion(truth, frame.second))


def with_neighbours(frames: Iterable[_Observed], reach: int) -> Iterator[tuple[_Observed, list[_Observed]]]:
    """Every frame with those that stand up to `reach` places before and after it."""
    window: deque[_Observed | None] = deque([None] * reach, maxlen=2 * reach + 1)
    for frame in chain(frames, [None] * reach):
        window.append(frame)
        if len(window) == 2 * reach + 1 and (middle := window[reach]) is not None:
            yield middle, [other for other in window if other is not None and other is not middle]


def _observe(bag: PairedBag, teacher: Teacher, config: LabelConfig, second: Predictor | None) -> Iterator[_Observed]:
    floor = PostprocessConfig(score_threshold=config.ignore_score, nms_iou=config.nms_iou)
    for frame in bag.frames():
        thermal = bag.thermal_frame(frame)
        if frame.rgb is None:
            yield _Observed(frame.stamp_ns, "no RGB frame beside it", None, Detections.empty())
            continue
        rgb = bag.rgb_pixels(frame)
        luma = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        # in a dark frame, too: what is seen there confirms what its neighbours see
        found = detections_of(teacher.look(padded(rgb)).predictions, 0, floor, (rgb.shape[0], rgb.shape[1]))
        opinion = Detections.empty()
        if second is not None:
            own = second.postprocess.at_score(config.second_score)
            opinion = second.predict(thermal.image, postprocess=own)
        seen = SeenFrame(frame.rgb.stamp_ns, luma, found)
        yield _Observed(frame.stamp_ns, blindness(luma), seen, opinion)


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
