"""Agreement of neighbouring frames about what is seen, with motion between them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cgdet_core.training.pseudo_labels import SeenFrame, agreed, moved_boxes
from cgdet_core.types import Detections

SIZE = (120, 200)


def texture(seed: int, height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def scene(shift_x: int, shift_y: int) -> np.ndarray:
    """A still background, before which a textured object of 32x40 has moved."""
    picture = texture(0, *SIZE).copy()
    left, top = 40 + shift_x, 50 + shift_y
    picture[top : top + 40, left : left + 32] = texture(1, 40, 32)
    return picture


BOX = [40.0, 50.0, 72.0, 90.0]


def seen(picture: np.ndarray, *boxes: list[float], class_id: int = 0, stamp_ns: int = 0) -> SeenFrame:
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9), np.full(len(boxes), class_id)
    )
    return SeenFrame(stamp_ns, picture, found)


@pytest.mark.parametrize("shift", [(0, 0), (6, -3), (-11, 7)])
def test_a_box_moves_with_what_it_shows(shift: tuple[int, int]) -> None:
    boxes = np.array([BOX, [120, 20, 180, 60]], np.float32)
    moved = moved_boxes(scene(0, 0), scene(*shift), boxes)
    assert np.abs(moved[0] - (boxes[0] + np.tile(shift, 2))).max() <= 1
    # the background stands still, to the patch's pixel
    assert np.abs(moved[1] - boxes[1]).max() <= 1
    assert boxes[0].tolist() == BOX


def test_boxes_over_nothing_stay_where_they_are() -> None:
    flat = np.full(SIZE, 90, np.uint8)
    assert moved_boxes(flat, flat, np.array([BOX], np.float32)).tolist() == [BOX]
    assert moved_boxes(flat, flat, np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_a_neighbour_agrees_about_the_moved_object_of_its_class() -> None:
    here = seen(scene(0, 0), BOX)
    there = [60.0, 50.0, 92.0, 90.0]  # by 20 px: IoU 0.23 without regard to motion
    assert agreed(here, [seen(scene(20, 0), there)], 0.5).tolist() == [True]
    assert agreed(here, [seen(scene(0, 0), there)], 0.5).tolist() == [False]
    assert agreed(here, [seen(scene(20, 0), there, class_id=2)], 0.5).tolist() == [False]
    assert agreed(here, [seen(scene(20, 0))], 0.5).tolist() == [False]


def test_one_neighbour_that_agrees_is_enough() -> None:
    other = [100.0, 10.0, 130.0, 60.0]
    here = seen(scene(0, 0), BOX, other)
    neighbours = [seen(scene(0, 0), other), seen(scene(0, 0)), seen(scene(0, 0), BOX)]
    assert agreed(here, neighbours, 0.5).tolist() == [True, True]
    assert agreed(here, neighbours[1:], 0.5).tolist() == [True, False]


def test_without_neighbours_there_is_nobody_to_ask() -> None:
    assert agreed(seen(scene(0, 0), BOX), [], 0.5).tolist() == [True]
    assert agreed(seen(scene(0, 0)), [seen(scene(0, 0), BOX)], 0.5).tolist() == []
