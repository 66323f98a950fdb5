"""Exact boxes: what of each labelled object is seen in a painted picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic.painter import SHIFT, SUPERSAMPLING, Labelled, Painter, fill
from cgdet_core.types import GroundTruth


def visible_truth(painter: Painter, config: SyntheticConfig) -> GroundTruth:
    """Boxes round the visible pixels of every labelled object that shows any."""
    owners = painter.owners()
    boxes, class_ids, ignore = [], [], []
    for number, labelled in enumerate(painter.labelled):
        seen = _seen(painter, owners, number, labelled)
        if seen is None:
            continue
        boxes.append(seen.box_xyxy_px)
        class_ids.append(labelled.class_id)
        hidden = seen.visible < config.min_visible * seen.inside or seen.inside < config.min_inside * seen.whole
        ignore.append(hidden or seen.box_xyxy_px[3] - seen.box_xyxy_px[1] < config.min_height_px)
    if not boxes:
        return GroundTruth.empty()
    return GroundTruth(np.array(boxes, np.float32), np.array(class_ids, np.int64), np.array(ignore, np.bool_))


class _Seen(NamedTuple):
    """The box of an object's visible pixels; sub-pixels that are visible, that it covers by itself within the frame,
    and beyond (as far as a frame's width)."""

    box_xyxy_px: tuple[float, float, float, float]
    visible: int
    inside: int
    whole: int


def _seen(painter: Painter, owners: NDArray[np.int32], number: int, labelled: Labelled) -> _Seen | None:
    """What is seen of a labelled object; None where nothing is."""
    if not labelled.contours:
        return None
    height, width = painter.index.shape
    points = np.concatenate([contour for piece in labelled.contours for contour in piece])
    left, top = (points.min(axis=0) >> SHIFT).tolist()
    right, bottom = ((points.max(axis=0) >> SHIFT) + 2).tolist()
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if x0 >= x1 or y0 >= y1:
        return None
    visible = np.take(owners, painter.index[y0:y1, x0:x1].astype(np.intp)) == number
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not len(rows):
        return None
    box = (
        (x0 + int(columns[0])) / SUPERSAMPLING,
        (y0 + int(rows[0])) / SUPERSAMPLING,
        (x0 + int(columns[-1]) + 1) / SUPERSAMPLING,
        (y0 + int(rows[-1]) + 1) / SUPERSAMPLING,
    )
    left, top, right, bottom = max(left, -width), max(top, -height), min(right, 2 * width), min(bottom, 2 * height)
    alone = np.zeros((bottom - top, right - left), np.uint8)
    corner = np.array([left, top], np.int32) * (1 << SHIFT)
    for piece in labelled.contours:
        fill(alone, [contour - corner for contour in piece], 1)
    inside = alone[y0 - top : y1 - top, x0 - left : x1 - left]
    return _Seen(box, int(np.count_nonzero(visible)), int(np.count_nonzero(inside)), int(np.count_nonzero(alone)))
