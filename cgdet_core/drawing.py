"""Boxes and labels on a thermal frame, for pictures, video and the overlay."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.colour_maps import ColourMap, colour_table
from cgdet_core.config import ThermalConfig
from cgdet_core.thermal import normalise
from cgdet_core.types import Detections, GroundTruth, ImageArray, check_image

RgbArray = NDArray[np.uint8]
Colour = tuple[int, int, int]
Corners = tuple[int, int, int, int]  # left, top, right, bottom: the first and the last pixel

# Okabe & Ito's colours, told apart with every common colour blindness; their black and grey are left
# out, a thermal picture is full of both. Classes beyond the seventh begin again.
CLASS_COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 204, 150),  # bluish green, lightened for dark frames
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (213, 94, 0),  # vermilion
    (64, 130, 220),  # blue, lightened for dark frames
)
TRUTH_COLOUR: Colour = (255, 255, 255)
OUTLINE_COLOUR: Colour = (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_HEIGHT_PX = 21  # of a capital at scale 1
_MIN_TEXT_PX = 8  # cap height below which the font is not readable
_MIN_OUTLINED_PX = 200  # a smaller picture is spared the dark edges of its boxes


def class_colour(class_id: int) -> Colour:
    """RGB, the same for a class everywhere."""
    return CLASS_COLOURS[class_id % len(CLASS_COLOURS)]


def class_colour_hex(class_id: int) -> str:
    """`class_colour` as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*class_colour(class_id))


def to_rgb(image: ImageArray, thermal: ThermalConfig | None = None, colour_map: ColourMap = "white_hot") -> RgbArray:
    """What a person sees of a frame: uint8 [H, W, 3]; RGB as it is, thermal counts by their percentiles.

    image: uint8/uint16 [H, W] or uint8 RGB [H, W, 3]. Raises InputError for anything else.
    """
    check_image(image)
    if image.ndim == 3:
        return np.array(image, np.uint8)
    grey = np.rint(normalise(image, thermal or ThermalConfig()) * 255).astype(np.uint8)
    return colour_table(colour_map)[grey]


def scaled_rgb(
    image: ImageArray, scale: float, thermal: ThermalConfig | None = None, colour_map: ColourMap = "white_hot"
) -> RgbArray:
    """`to_rgb`, `scale` times as large: uint8 [round(H * scale), round(W * scale), 3], to be drawn into."""
    picture = to_rgb(image, thermal, colour_map)
    if scale != 1:
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        picture = np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)
    return np.ascontiguousarray(picture)


def draw(
    image: ImageArray,
    detections: Detections,
    class_names: Sequence[str],
    truth: GroundTruth | None = None,
    thermal: ThermalConfig | None = None,
    scale: float = 1,
    colour_map: ColourMap = "white_hot",
) -> RgbArray:
    """The frame with its detections: uint8 [round(H * scale), round(W * scale), 3], RGB.

    image: uint8/uint16 [H, W] or uint8 RGB [H, W, 3]; it is not changed. Each detection gets a box
    in its class's colour, with name and score where there is room for both, the score alone where
    it is narrow, and no label where that would hide another one or more than half of any box.
    Objects of `truth` get thin dashed boxes, regions to ignore dotted ones. Lines and letters grow
    with the picture; everything stays inside it.
    """
    picture = scaled_rgb(image, scale, thermal, colour_map)
    line_px = max(1, round(min(picture.shape[:2]) / 256))
    out = line_px // 2 + 1
    boxes = [box_corners(box * scale, picture, line_px) for box in detections.boxes_xyxy_px]
    # the best last, on top
    for corners, class_id in reversed(list(zip(boxes, detections.class_ids, strict=True))):
        if min(picture.shape[:2]) >= _MIN_OUTLINED_PX:
            # a dark line about the box, outside only: inside it would cover what a small box shows
            left, top, right, bottom = corners
            cv2.rectangle(picture, (left - out, top - out), (right + out, bottom + out), OUTLINE_COLOUR, 1)
        cv2.rectangle(picture, corners[:2], corners[2:], class_colour(int(class_id)), line_px)
    if truth is not None:
        thin_px = max(1, line_px // 2)
        for box, ignore in zip(truth.boxes_xyxy_px, truth.ignore, strict=True):
            _dashed_rectangle(picture, box_corners(box * scale, picture, thin_px), thin_px, dotted=bool(ignore))
    labels = LabelPlaces(boxes, picture)
    for corners, class_id, score in zip(boxes, detections.class_ids, detections.scores, strict=True):
        known = 0 <= class_id < len(class_names)
        name = class_names[int(class_id)] if known else f"class {class_id}"
        labels.put(f"{name} {score:.2f}", f"{score:.2f}", corners, class_colour(int(class_id)))
    return picture


def box_corners(box_xyxy: NDArray[np.float32], picture: RgbArray, line_px: int) -> Corners:
    """The box's first and last pixels, moved inwards so that the whole line lies in the picture."""
    height, width = picture.shape[:2]
    inset = line_px // 2
    left, top, right, bottom = (float(value) for value in box_xyxy)
    # (0, 0) is the outer corner of the first pixel: a right end of `width` is the last pixel
    xs = [min(max(round(x), inset), max(width - 1 - inset, inset)) for x in (left, right - 1)]
    ys = [min(max(round(y), inset), max(height - 1 - inset, inset)) for y in (top, bottom - 1)]
    return xs[0], ys[0], max(xs), max(ys)


def _dashed_rectangle(picture: RgbArray, corners: Corners, line_px: int, dotted: bool) -> None:
    """Light and dark dashes, seen on any ground, with gaps that leave a detection's colour visible; or light dots."""
    line = np.zeros(picture.shape[:2], np.uint8)
    cv2.rectangle(line, corners[:2], corners[2:], 1, line_px)
    rows, columns = np.nonzero(line)
    phase = (rows + columns) // (line_px if dotted else 3 * line_px) % 4
    for colour, phases in ((TRUTH_COLOUR, [0] if dotted else [0, 1]), (OUTLINE_COLOUR, [] if dotted else [2])):
        drawn = np.isin(phase, phases)
        picture[rows[drawn], columns[drawn]] = colour


class LabelPlaces:
    """Finds each label the first place about its box that hides no earlier label and little of any box."""

    def __init__(self, boxes: Sequence[Corners], picture: RgbArray) -> None:
        height, width = picture.shape[:2]
        self._picture = picture
        self._cap_px = max(_MIN_TEXT_PX, round(min(height, width) / 56))
        self._pad_px = max(1, self._cap_px // 4)
        self._stroke_px = max(1, round(self._cap_px / 10))
        self._boxes = np.array(boxes, np.int64).reshape(-1, 4)
        self._box_area_px = (self._boxes[:, 2:] - self._boxes[:, :2] + 1).prod(axis=1)
        self._hidden_px: NDArray[np.int64] = np.zeros(len(boxes), np.int64)
        self._labels = np.zeros((0, 4), np.int64)

    def put(self, text: str, short: str, box: Corners, colour: Colour) -> None:
        """The text, the short one alone, or nothing: labels hide no other, nor together half of a box."""
        for words, largest_share in ((text, 0.3), (short, 0.5)):
            for place in self._places(words, box):
                hidden_px = self._hidden_px + _shared_px(place, self._boxes)
                free = not _shared_px(place, self._labels).any()
                if free and (hidden_px <= largest_share * self._box_area_px).all():
                    self._hidden_px = hidden_px
                    self._write(words, place, colour)
                    return

    def _places(self, text: str, box: Corners) -> list[Corners]:
        """Above, below, beside or inside the box, the best first; none where it is too big for the picture."""
        height, width = self._picture.shape[:2]
        size, _ = cv2.getTextSize(text, _FONT, self._cap_px / _FONT_HEIGHT_PX, self._stroke_px)
        label_width, label_height = (int(side) + 2 * self._pad_px for side in size)
        if label_width > width or label_height > height:
            return []
        left, top, right, bottom = box
        shifted = right - label_width + 1
        corners = [
            (left, top - label_height),
            (shifted, top - label_height),
            (left, bottom + 1),
            (shifted, bottom + 1),
            (right + 1, top),
            (left - label_width, top),
            (left, top),
            (left, bottom - label_height + 1),
        ]
        inside = [(min(max(x, 0), width - label_width), min(max(y, 0), height - label_height)) for x, y in corners]
        return [(x, y, x + label_width - 1, y + label_height - 1) for x, y in inside]

    def _write(self, text: str, place: Corners, colour: Colour) -> None:
        left, top, right, bottom = place
        self._picture[top : bottom + 1, left : right + 1] = colour
        origin = (left + self._pad_px, bottom - self._pad_px)
        scale = self._cap_px / _FONT_HEIGHT_PX
        cv2.putText(self._picture, text, origin, _FONT, scale, OUTLINE_COLOUR, self._stroke_px, cv2.LINE_AA)
        self._labels = np.concatenate([self._labels, np.array([place])])


def _shared_px(corners: Corners, others: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [N]: pixels that a rectangle shares with each of others [N, 4]; corners are pixels that belong."""
    left, top, right, bottom = corners
    width = np.minimum(others[:, 2], right) - np.maximum(others[:, 0], left) + 1
    height = np.minimum(others[:, 3], bottom) - np.maximum(others[:, 1], top) + 1
    return np.asarray(width.clip(0) * height.clip(0), np.int64)
