"""A frame with what is wrong in it: objects that were missed, false alarms, duplicates."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import EvaluationConfig
from cgdet_core.drawing import RgbArray, to_rgb
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame, match_frame
from cgdet_core.types import FloatArray, ImageArray

Colour = tuple[int, int, int]
Place = tuple[int, int, int, int]  # left, top, right, bottom

# told apart with every common colour blindness, and by their words
FOUND: Colour = (0, 204, 150)
MISSED: Colour = (240, 228, 66)
FALSE_ALARM: Colour = (230, 97, 0)
DUPLICATE: Colour = (204, 121, 167)
LEGEND = (
    "Green: found. Yellow, twice framed: an object that was missed. Orange: a false alarm. Purple: a duplicate, "
    "over an object that another box has found. Grey: neither for nor against."
)
_NEUTRAL: Colour = (150, 150, 150)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LEAST_SIDE_PX = 480  # a smaller frame is drawn larger, so that words fit


def draw_errors(
    image: ImageArray,
    frame: EvaluatedFrame,
    class_names: Sequence[str],
    thresholds: NDArray[np.float64],
    config: EvaluationConfig | None = None,
) -> RgbArray:
    """uint8 [H * n, W * n, 3] RGB, n a whole number that makes small frames readable. thresholds: float64 [C], from
    which a detection counts."""
    match = match_frame(frame, len(class_names), config or EvaluationConfig())
    above, found = match.above(thresholds), match.found(thresholds)
    picture = to_rgb(image)
    scale = max(1, round(_LEAST_SIDE_PX / min(picture.shape[:2])))
    size = picture.shape[1] * scale, picture.shape[0] * scale
    picture = np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    marks: list[tuple[FloatArray, Colour, str]] = []
    for i in np.flatnonzero(above):
        name = class_names[int(match.class_ids[i])]
        box, score = match.boxes_xyxy_px[i] * scale, f"{match.scores[i]:.2f}"
        if match.neutral[i]:
            marks.append((box, _NEUTRAL, ""))
        elif match.true_positive[i]:
            marks.append((box, FOUND, ""))
        else:
            marks.append((box, DUPLICATE if match.duplicate[i] else FALSE_ALARM, f"{name} {score}"))
    for i in np.flatnonzero(match.counted & ~found):
        box = frame.truth.boxes_xyxy_px[i] * scale
        marks.append((box, MISSED, f"missed {class_names[int(frame.truth.class_ids[i])]}"))
    line_px = max(1, round(min(picture.shape[:2]) / 400))
    for box, colour, _ in marks:
        _frame(picture, box, colour, line_px, twice=colour == MISSED)
    written: list[Place] = []
    for box, colour, words in marks:
        if words:
            _write(picture, box, colour, words, written)
    return picture


def _frame(picture: RgbArray, box: FloatArray, colour: Colour, line_px: int, twice: bool) -> None:
    left, top, right, bottom = (round(float(value)) for value in box)
    cv2.rectangle(picture, (left - 1, top - 1), (right, bottom), (0, 0, 0), line_px)
    cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), colour, line_px)
    if twice:
        out = 2 * line_px + 1
        cv2.rectangle(picture, (left - out, top - out), (right - 1 + out, bottom - 1 + out), colour, line_px)


def _write(picture: RgbArray, box: FloatArray, colour: Colour, words: str, written: list[Place]) -> None:
    """Above the box, below it, or at its sides, wherever no words stand yet; nowhere else: the colour says it too."""
    height, width = picture.shape[:2]
    scale = max(0.38, min(height, width) / 1300)
    (text_wide, text_high), _ = cv2.getTextSize(words, _FONT, scale, 1)
    wide, high = text_wide + 4, text_high + 6
    left, top, right, bottom = (round(float(value)) for value in box)
    for x, y in ((left - 2, top - high - 3), (left - 2, bottom + 4), (right + 4, top), (left - wide - 4, top)):
        x = min(max(x, 0), max(0, width - wide))
        place = x, y, x + wide, y + high
        if y >= 0 and place[3] <= height and not any(_overlap(place, other) for other in written):
            written.append(place)
            picture[y : place[3], x : place[2]] = colour
            cv2.putText(picture, words, (x + 2, y + text_high + 2), _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
            return


def _overlap(a: Place, b: Place) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
