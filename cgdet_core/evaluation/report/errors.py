"""What a detector got wrong, frame by frame: counted, ordered, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.drawing import OUTLINE_COLOUR, Colour, Corners, LabelPlaces, RgbArray, box_corners, scaled_rgb
from cgdet_core.evaluation.metrics.matching import OPERATING_SCORE, EvaluatedFrame, match_frame
from cgdet_core.evaluation.report.page import Gallery, Picture
from cgdet_core.types import ImageArray

T = TypeVar("T")
# told apart with every common colour blindness, and by their words
FOUND: Colour = (0, 204, 150)
MISSED: Colour = (240, 228, 66)
FALSE_ALARM: Colour = (230, 97, 0)
DUPLICATE: Colour = (204, 121, 167)
_NEUTRAL: Colour = (150, 150, 150)
_LEGEND = (
    "Green: found. Yellow, twice framed: an object that was missed. Orange: a false alarm. Purple: a duplicate, "
    "over an object that another box has found. Grey: neither for nor against."
)
_TITLES = {
    "missed": "Frames with the most misses",
    "false_alarms": "Frames with the most false alarms",
    "duplicates": "Frames with the most duplicates",
}
_MOST_FRAMES = 4  # of a kind
_LEAST_SIDE_PX = 480  # a smaller frame is drawn larger, so that words fit


@dataclass(frozen=True)
class FrameErrors:
    """What is wrong with a frame. false_alarms: without duplicates."""

    name: str
    missed: int
    false_alarms: int
    duplicates: int
    found: int

    @property
    def total(self) -> int:
        return self.missed + self.false_alarms + self.duplicates

    @property
    def caption(self) -> str:
        """For example `00103D: 4 found, 2 missed, 1 false alarms, 0 duplicates`."""
        errors = f"{self.missed} missed, {self.false_alarms} false alarms, {self.duplicates} duplicates"
        return f"{self.name}: {self.found} found, {errors}"


def frame_errors(
    frames: Iterable[EvaluatedFrame], class_names: Sequence[str], thresholds: NDArray[np.float64]
) -> list[FrameErrors]:
    """The errors of each frame, in their order. thresholds: as in `draw_errors`."""
    errors = []
    for frame in frames:
        match = match_frame(frame, len(class_names))
        above = match.above(thresholds)
        found = int(np.count_nonzero(match.found(thresholds)))
        duplicates = int(np.count_nonzero(above & match.duplicate))
        missed = int(np.count_nonzero(match.counted)) - found
        false_alarms = int(np.count_nonzero(above & match.false_alarm)) - duplicates
        errors.append(FrameErrors(frame.name, missed, false_alarms, duplicates, found))
    return errors


class ErrorGalleries(Generic[T]):
    """Frames to look at, each drawn with its errors when its image comes by.

    chosen: title of a gallery -> for each picture the place of its frame, what is drawn, a caption. note: of all.
    """

    def __init__(
        self,
        chosen: Mapping[str, Sequence[tuple[int, T, str]]],
        draw: Callable[[ImageArray, T], RgbArray],
        note: str = _LEGEND,
    ) -> None:
        self.chosen, self._draw, self._note = chosen, draw, note
        self._pictures: dict[tuple[int, str], Picture] = {}

    def draw(self, place: int, image: ImageArray) -> None:
        """Keep the pictures of the frame at `place`, where it is one of those."""
        for shown, what, caption in (item for items in self.chosen.values() for item in items):
            if shown == place and (place, caption) not in self._pictures:
                self._pictures[place, caption] = Picture(self._draw(image, what), caption)

    def galleries(self) -> list[Gallery]:
        """Of what was drawn."""
        galleries = []
        for title, items in self.chosen.items():
            keys = [(place, caption) for place, _, caption in items]
            galleries.append(Gallery(title, [self._pictures[key] for key in keys if key in self._pictures], self._note))
        return galleries


def worst_frames(
    frames: Sequence[EvaluatedFrame], class_names: Sequence[str], thresholds: NDArray[np.float64]
) -> ErrorGalleries[EvaluatedFrame]:
    """Frames with the most errors of each kind, worst first. thresholds: as in `draw_errors`."""
    errors = frame_errors(frames, class_names, thresholds)
    chosen = {}
    for kind, title in _TITLES.items():
        wrong = [place for place, of_frame in enumerate(errors) if getattr(of_frame, kind)]
        wrong.sort(key=lambda place: (-getattr(errors[place], kind), -errors[place].total, place))
        chosen[title] = [(place, frames[place], errors[place].caption) for place in wrong[:_MOST_FRAMES]]
    return ErrorGalleries(chosen, partial(draw_errors, class_names=class_names, thresholds=thresholds))


def differing_frames(
    a: Sequence[EvaluatedFrame], b: Sequence[EvaluatedFrame], class_names: Sequence[str]
) -> ErrorGalleries[EvaluatedFrame]:
    """Frames in which two models differ most at the operating score, in pairs: B has more errors than A, or fewer."""
    thresholds = np.full(len(class_names), OPERATING_SCORE)
    errors_a, errors_b = (frame_errors(frames, class_names, thresholds) for frames in (a, b))
    more = [of_b.total - of_a.total for of_a, of_b in zip(errors_a, errors_b, strict=True)]
    order = sorted(range(len(more)), key=lambda place: (-abs(more[place]), place))
    chosen = {}
    for name, sign in (("worse", 1), ("better", -1)):
        chosen[f"Where B is {name} than A"] = [
            (place, frames[place], f"{letter}, {errors[place].caption}")
            for place in [place for place in order if sign * more[place] > 0][:_MOST_FRAMES]
            for letter, frames, errors in (("A", a, errors_a), ("B", b, errors_b))
        ]
    return ErrorGalleries(chosen, partial(draw_errors, class_names=class_names, thresholds=thresholds))


def draw_errors(
    image: ImageArray,
    frame: EvaluatedFrame,
    class_names: Sequence[str],
    thresholds: NDArray[np.float64],
) -> RgbArray:
    """uint8 [H * n, W * n, 3] RGB, n makes small frames readable. thresholds: float64 [C], where detections count."""
    match = match_frame(frame, len(class_names))
    found = match.found(thresholds)
    scale = max(1, round(_LEAST_SIDE_PX / min(image.shape[:2])))
    picture = scaled_rgb(image, scale)
    line_px = max(1, round(min(picture.shape[:2]) / 400))
    marks: list[tuple[Corners, Colour, str, str]] = []
    for i in np.flatnonzero(match.above(thresholds)):
        corners = box_corners(match.boxes_xyxy_px[i] * scale, picture, line_px)
        score = f"{match.scores[i]:.2f}"
        if match.neutral[i] or match.true_positive[i]:
            marks.append((corners, _NEUTRAL if match.neutral[i] else FOUND, "", ""))
        else:
            colour = DUPLICATE if match.duplicate[i] else FALSE_ALARM
            marks.append((corners, colour, f"{class_names[int(match.class_ids[i])]} {score}", score))
    for i in np.flatnonzero(match.counted & ~found):
        corners = box_corners(frame.truth.boxes_xyxy_px[i] * scale, picture, line_px)
        name = class_names[int(frame.truth.class_ids[i])]
        marks.append((corners, MISSED, f"missed {name}", "missed"))
    for (left, top, right, bottom), colour, _, _ in marks:
        cv2.rectangle(picture, (left - 1, top - 1), (right + 1, bottom + 1), OUTLINE_COLOUR, line_px)
        cv2.rectangle(picture, (left, top), (right, bottom), colour, line_px)
        if colour == MISSED:  # twice framed
            out = 2 * line_px + 1
            cv2.rectangle(picture, (left - out, top - out), (right + out, bottom + out), colour, line_px)
    labels = LabelPlaces([corners for corners, _, _, _ in marks], picture)
    for corners, colour, text, short in marks:
        if text:
            labels.put(text, short, corners, colour)
    return picture
