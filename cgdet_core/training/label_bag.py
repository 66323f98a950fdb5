"""A bag's thermal frames labelled by an RGB teacher, streamed: a COCO JSON keyed by stamp."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
from cgdet_core.training.pseudo_labels import blindness, thermal_labels
from cgdet_core.types import Detections, GroundTruth


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
    for frame in tqdm(bag.frames(), "labelling", len(bag), unit="frame", disable=None if progress else True):
        thermal = bag.thermal_frame(frame)
        if frame.rgb is None:
            yield LabelledFrame(frame.stamp_ns, None, "no RGB frame beside it")
            continue
        rgb = bag.rgb_pixels(frame)
        if reason := blindness(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)):
            yield LabelledFrame(frame.stamp_ns, None, reason)
            continue
        found = detections_of(teacher.look(padded(rgb)).predictions, 0, floor, (rgb.shape[0], rgb.shape[1]))
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
