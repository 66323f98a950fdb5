"""What a detector got wrong, frame by frame: counted, ordered, and drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.drawing import OUTLINE_COLOUR, Colour, Corners, LabelPlaces, RgbArray, box_corners, to_rgb
from cgdet_core.evaluation.metrics.matching import OPERATING_SCORE, EvaluatedFrame, match_frame
from cgdet_core.evaluation.report.page import Gallery, Picture
from cgdet_core.types import CLASS_NAMES, ImageArray

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
_LEAST_SIDE_PX = 480  # a smaller frame is drawn larger, so that words fit


@dataclass(frozen=True)
class FrameErrors:
    """What is wrong with a frame. index: its place in the frames given; false_alarms: without duplicates."""

    index: int
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
    frames: Iterable[EvaluatedFrame],
    class_names: Sequence[str] = CLASS_NAMES,
    thresholds: NDArray[np.float64] | None = None,
) -> list[FrameErrors]:
    """The errors of each frame, in their order. thresholds: as in `draw_errors`."""
    if thresholds is None:
        thresholds = np.full(len(class_names), OPERATING_SCORE)
    errors = []
    for index, frame in enumerate(frames):
        match = match_frame(frame, len(class_names))
        above = match.above(thresholds)
        found = int(np.count_nonzero(match.found(thresholds)))
        duplicates = int(np.count_nonzero(above & match.duplicate))
        missed = int(np.count_nonzero(match.counted)) - found
        false_alarms = int(np.count_nonzero(above & match.false_alarm)) - duplicates
        errors.append(FrameErrors(index, frame.name, missed, false_alarms, duplicates, found))
    return errors


class WorstFrames:
    """Frames to look at first. kinds: "missed", "false_alarms", "duplicates" -> those with the most, worst first.

    frames, class_names, thresholds: as in `frame_errors`; most: how many of each kind.
    """

    def __init__(
        self,
        frames: Sequence[EvaluatedFrame],
        class_names: Sequence[str],
        thresholds: NDArray[np.float64] | None = None,
        most: int = 4,
    ) -> None:
        self._frames, self._names, self._thresholds = frames, class_names, thresholds
        self._pictures: dict[int, RgbArray] = {}
        errors = frame_errors(frames, class_names, thresholds)
        self.kinds: dict[str, list[FrameErrors]] = {}
        for kind in _TITLES:
            wrong = [item for item in errors if getattr(item, kind)]
            wrong.sort(key=lambda item: (-getattr(item, kind), -item.total, item.index))
            self.kinds[kind] = wrong[:most]
        self.places = {item.index for items in self.kinds.values() for item in items}

    def draw(self, place: int, image: ImageArray) -> None:
        """Keep the picture of the frame at `place`, where it is one of the worst."""
        if place in self.places:
            self._pictures[place] = draw_errors(image, self._frames[place], self._names, self._thresholds)

    def galleries(self) -> list[Gallery]:
        """Of what was drawn."""
        galleries = []
        for kind, items in self.kinds.items():
            drawn = [Picture(self._pictures[i.index], i.caption) for i in items if i.index in self._pictures]
            galleries.append(Gallery(_TITLES[kind], drawn, _LEGEND))
        return galleries


class DifferingFrames:
    """Frames in which two models differ most, greatest difference first: where B has more errors than A (`worse`), and
    fewer (`better`), at most `most` of each."""

    def __init__(
        self, a: Sequence[EvaluatedFrame], b: Sequence[EvaluatedFrame], class_names: Sequence[str], most: int = 4
    ) -> None:
        self._frames, self._names = (a, b), class_names
        self._errors = frame_errors(a, class_names), frame_errors(b, class_names)
        self._pictures: dict[int, list[Picture]] = {}
        more = [of_b.total - of_a.total for of_a, of_b in zip(*self._errors, strict=True)]
        order = sorted(range(len(more)), key=lambda place: (-abs(more[place]), place))
        self.worse, self.better = ([i for i in order if sign * more[i] > 0][:most] for sign in (1, -1))
        self.places = {*self.worse, *self.better}

    def draw(self, place: int, image: ImageArray) -> None:
        """Keep the pictures of the frame at `place` with either model's errors, where it is one of those."""
        if place in self.places:
            self._pictures[place] = [
                Picture(draw_errors(image, frames[place], self._names), f"{letter}, {errors[place].caption}")
                for letter, frames, errors in zip("AB", self._frames, self._errors, strict=True)
            ]

    def galleries(self) -> list[Gallery]:
        """Of what was drawn, in pairs."""
        return [
            Gallery(f"Where B is {name} than A", [each for i in places for each in self._pictures.get(i, ())], _LEGEND)
            for name, places in (("worse", self.worse), ("better", self.better))
        ]


def draw_errors(
    image: ImageArray,
    frame: EvaluatedFrame,
    class_names: Sequence[str],
    thresholds: NDArray[np.float64] | None = None,
) -> RgbArray:
    """uint8 [H * n, W * n, 3] RGB, n a whole number that makes small frames readable. thresholds: float64 [C], from
    which a detection counts (else the configured operating score)."""
    if thresholds is None:
        thresholds = np.full(len(class_names), OPERATING_SCORE)
    match = match_frame(frame, len(class_names))
    found = match.found(thresholds)
    picture = to_rgb(image)
    scale = max(1, round(_LEAST_SIDE_PX / min(picture.shape[:2])))
    size = picture.shape[1] * scale, picture.shape[0] * scale
    picture = np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)
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
