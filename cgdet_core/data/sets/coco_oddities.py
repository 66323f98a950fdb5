"""What is odd about a COCO set and yet no error: told, since it changes figures without a word otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from cgdet_core.boxes import area_xyxy, clip_xyxy, xywh_to_xyxy
from cgdet_core.types import BoolArray, FloatArray, GroundTruth


def oddities(document: dict[str, Any], truths: Iterable[tuple[str, GroundTruth]]) -> tuple[str, ...]:
    """A line each: boxes that lie off their frame, labels and files that stand there twice.

    document: that `load_coco` found no fault with; truths: file name and labels of each of its images.
    """
    lines = []
    off = _off_their_frame(document)
    if off:
        lines.append(f"{_count(len(off), 'box')} without an area within the frame left out (the first in {off[0]})")
    twice = [(name, number) for name, truth in truths if (number := _repeated(truth))]
    if twice:
        lines.append(
            f"{_count(sum(number for _, number in twice), 'box')} of the same class in the same place as another one "
            f"(the first in {twice[0][0]}): each counts as an object that nothing can find, take it out"
        )
    files = Counter(image["file_name"] for image in document["images"])
    again = [name for name, times in files.items() if times > 1]
    if again:
        lines.append(f"{_count(len(again), 'file')} listed more than once (the first is {again[0]}): list it once")
    return tuple(lines)


def within_frame(boxes_xyxy_px: FloatArray) -> BoolArray:
    """bool [N] of boxes [N, 4] that were clipped to their frame: whether anything is left of them."""
    return np.asarray(area_xyxy(boxes_xyxy_px) > 0)


def _off_their_frame(document: dict[str, Any]) -> list[str]:
    """The file names of such boxes' images."""
    images = {image["id"]: image for image in document["images"]}
    names = []
    for annotation in document["annotations"]:
        left, top, width, height = annotation["bbox"]
        image = images[annotation["image_id"]]
        # most boxes lie within; only of the others is it asked as exactly as they are read
        if left < 0 or top < 0 or left + width > image["width"] or top + height > image["height"] or not width * height:
            box = xywh_to_xyxy(np.array([annotation["bbox"]], np.float32))
            if not within_frame(clip_xyxy(box, image["height"], image["width"])).all():
                names.append(image["file_name"])
    return names


def _repeated(truth: GroundTruth) -> int:
    """How many objects are there once more."""
    objects = ~truth.ignore
    labels = np.column_stack([truth.class_ids[objects], truth.boxes_xyxy_px[objects]])
    return len(labels) - len(np.unique(labels, axis=0))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}es" if what == "box" else f"{number} {what}s"
