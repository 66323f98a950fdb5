"""Labels that are well formed and cannot be meant: a line for each kind, a refusal where it is nearly all of a set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cgdet_core.boxes import xyxy_to_xywh
from cgdet_core.errors import InputError
from cgdet_core.types import BoolArray, FloatArray

_NEARLY_ALL = 0.9
_FEW = 10  # so many boxes of one size are no chance


def check_frames_plausible(
    path: Path | str, frames: Iterable[tuple[str, tuple[int, int], FloatArray, BoolArray]]
) -> list[str]:
    """As `check_plausible`, of frames: name, (height, width), boxes_xyxy_px [N, 4] and objects bool [N] of each."""
    boxes = [
        (name, (width, height), box, object_)
        for name, (height, width), boxes_xyxy_px, objects in frames
        for box, object_ in zip(xyxy_to_xywh(boxes_xyxy_px), objects, strict=True)
    ]
    if not boxes:
        return []
    names, sizes, xywh, objects = zip(*boxes, strict=True)
    return check_plausible(path, np.array(xywh), np.array(sizes, np.float32), names, np.array(objects))


def check_plausible(
    path: Path | str,
    boxes_xywh_px: FloatArray,
    frames_wh_px: FloatArray,
    file_names: Sequence[str],
    objects: BoolArray,
    points_xy_px: FloatArray | None = None,
    points_labelled: BoolArray | None = None,
) -> list[str]:
    """What is odd about the boxes of a set, a line each; InputError where that is true of nearly all of them.

    boxes_xywh_px: float [N, 4]; frames_wh_px: float [N, 2], width and height of each box's frame, named in file_names;
    objects: bool [N], False for regions to ignore and what is left out; points_xy_px: float [N, P, 2] and
    points_labelled: bool [N, P], of a set with keypoints.
    """
    place, side = boxes_xywh_px[:, :2], boxes_xywh_px[:, 2:]
    shown = (np.minimum(place + side, frames_wh_px) - np.maximum(place, 0)).clip(0).prod(axis=1)
    kinds = [
        (
            len(side),
            shown <= side.prod(axis=1) / 2,
            f"have more beyond their frame than in it, {(shown == 0).sum()} without any area in it are left out",
            "are they of pictures of another size?",
        ),
        (
            int(objects.sum()),
            objects & (side < 1).any(axis=1),
            "are narrower or lower than a pixel",
            "are they shares of the picture? Give pixels",
        ),
    ]
    if points_xy_px is not None and points_labelled is not None:
        known = points_labelled & objects[:, None]
        from_box = np.maximum(place[:, None] - points_xy_px, points_xy_px - (place + side)[:, None]).max(axis=2)
        outside, far = known & (from_box > 0), known & (from_box > side.max(axis=1, keepdims=True))
        odd = (outside.sum(axis=1) > known.sum(axis=1) / 2) | far.any(axis=1)
        what = "have most of their labelled points outside, or one farther away than they are long"
        kinds.append((int(known.any(axis=1).sum()), odd, what, "are the points pixels, and of these boxes?"))
    lines = []
    for among, odd, what, question in kinds:
        if odd.any():
            width, height = np.median(side[odd], axis=0)
            of_them = f"the first in {file_names[int(np.argmax(odd))]}, median size {width:.3g}x{height:.3g} px"
            line = f"{path}: {odd.sum()} of {among} boxes {what} ({of_them}): {question}"
            if odd.sum() >= _NEARLY_ALL * among:
                raise InputError(line)
            lines.append(line)
    place, side, frames = place[objects], side[objects], frames_wh_px[objects]
    # right and bottom in the place of width and height are larger than left and top, and lie within the frame
    corners = ((side > place) & (side <= frames + 1)).all(axis=1)
    beyond = (place + side > frames + side / 4).any(axis=1)
    if beyond.sum() > 0.2 * len(side) and corners.sum() > _NEARLY_ALL * len(side):
        raise InputError(f"{path}: boxes beyond their frames look like corners: give left, top, width and height")
    if len(side) >= _FEW and (side == side[0]).all():
        width, height = side[0]
        lines.append(f"{path}: all {len(side)} boxes are of one size, {width:g}x{height:g} px: is it measured?")
    return lines
