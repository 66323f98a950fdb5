"""Boxes and labels stay inside the frame, are readable, and leave the frame as it was."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.drawing import CLASS_COLOURS, class_colour, draw, to_rgb
from cgdet_core.errors import InputError
from cgdet_core.types import Detections, GroundTruth

NAMES = ("person", "bicycle", "car")


def detections(*boxes: tuple[float, float, float, float], class_ids: tuple[int, ...] = ()) -> Detections:
    scores = np.linspace(0.95, 0.3, len(boxes))
    return Detections(np.array(boxes), scores, np.array(class_ids or (0,) * len(boxes)))


def coloured(picture: np.ndarray, class_id: int = 0) -> np.ndarray:
    """bool [H, W]: pixels of exactly the class's colour."""
    return np.asarray((picture == np.array(class_colour(class_id))).all(axis=2))


def enclosing(mask: np.ndarray) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())


@pytest.mark.parametrize("size", [(60, 80), (512, 640), (1080, 1920), (2160, 3840)])
@pytest.mark.parametrize(
    "share", [(-0.2, -0.2, 0.3, 0.4), (0.7, 0.7, 1.3, 1.2), (-0.5, 0.3, 1.5, 0.8), (0.0, 0.0, 1.0, 1.0)]
)
def test_a_box_over_the_border_is_drawn_whole_along_it(size: tuple[int, int], share: tuple[float, ...]) -> None:
    height, width = size
    box = (share[0] * width, share[1] * height, share[2] * width, share[3] * height)
    picture = draw(np.zeros(size, np.uint8), detections(box), NAMES)
    assert picture.shape == (*size, 3)
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(width, round(box[2])) - 1, min(height, round(box[3])) - 1
    line = coloured(picture)
    margin = 2 + height // 200
    # every side stands close to where the box ends or the frame does
    for side in (
        line[top : top + margin, left : right + 1].any(axis=0),
        line[bottom - margin + 1 : bottom + 1, left : right + 1].any(axis=0),
        line[top : bottom + 1, left : left + margin].any(axis=1),
        line[top : bottom + 1, right - margin + 1 : right + 1].any(axis=1),
    ):
        # where the label lies over a side its letters interrupt the colour
        assert side.mean() > 0.6


def label_of(picture_size: tuple[int, int], box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """Where the label of a lone detection lies: what a picture without room for any label lacks."""
    picture = draw(np.zeros(picture_size, np.uint8), detections(box), NAMES)
    # a label is the only place where the colour fills an area: a block of it, letters or not
    filled = coloured(picture) | ((picture > 0).any(axis=2) & (picture[..., 0] != picture[..., 2]))
    # wider than the lines of the box
    block = 5 + picture_size[0] // 300
    filled = np.lib.stride_tricks.sliding_window_view(filled, (block, block)).all(axis=(2, 3))
    left, top, right, bottom = enclosing(filled)
    return left, top, right + block - 1, bottom + block - 1


def test_a_label_is_as_large_at_every_corner_of_the_frame_as_in_its_middle() -> None:
    size = (480, 640)
    middle = label_of(size, (300, 200, 360, 300))
    wanted = (middle[2] - middle[0], middle[3] - middle[1])
    assert wanted[0] > 50
    assert 10 <= wanted[1] <= 30
    for box in [(-20, -20, 30, 30), (600, -10, 660, 40), (-5, 440, 40, 490), (610, 450, 700, 500), (636, 0, 640, 480)]:
        left, top, right, bottom = label_of(size, box)
        # where the box is as narrow as its lines, these touch the label
        assert (right - left, bottom - top) == pytest.approx(wanted, abs=4)


def test_letters_and_lines_grow_with_the_picture() -> None:
    small = label_of((512, 640), (300, 200, 400, 300))
    large = label_of((2160, 3840), (1800, 840, 2400, 1260))
    assert (large[3] - large[1]) / (small[3] - small[1]) == pytest.approx(2160 / 512, rel=0.25)
    thin = draw(np.zeros((512, 640), np.uint8), detections((100, 100, 300, 300)), NAMES)
    thick = draw(np.zeros((2160, 3840), np.uint8), detections((400, 400, 1200, 1200)), NAMES)
    assert coloured(thin)[250, 80:120].sum() == 3
    assert coloured(thick)[1000, 380:420].sum() >= 6


def test_labels_leave_at_least_half_of_every_box_free(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    corners = random.uniform(0, 440, (40, 2))
    boxes = np.concatenate([corners, corners + random.uniform(12, 60, (40, 2))], axis=1)
    crowded = Detections(boxes, np.linspace(0.9, 0.3, 40), np.arange(40) % 2)
    image = np.zeros((512, 640, 3), np.uint8)
    labelled = draw(image, crowded, NAMES)
    monkeypatch.setattr("cgdet_core.drawing.LabelPlaces.put", lambda *_: None)
    hidden = (labelled != draw(image, crowded, NAMES)).any(axis=2)
    assert hidden.mean() > 0.02
    for left, top, right, bottom in boxes.round().astype(int):
        assert hidden[top:bottom, left:right].mean() <= 0.5


def test_a_picture_too_small_for_a_label_still_gets_its_box() -> None:
    picture = draw(np.zeros((12, 12), np.uint8), detections((2, 2, 9, 9)), NAMES)
    assert enclosing(coloured(picture)) == (2, 2, 8, 8)


@pytest.mark.parametrize(
    "image",
    [
        np.full((60, 80), 120, np.uint8),
        np.full((60, 80), 30000, np.uint16),
        np.zeros((60, 80, 3), np.uint8),
    ],
)
def test_every_kind_of_frame_is_drawn_and_left_unchanged(image: np.ndarray) -> None:
    before = image.copy()
    image.flags.writeable = False
    truth = GroundTruth(np.array([[1, 1, 30, 30]]), np.array([0]), np.array([False]))
    picture = draw(image, detections((10, 20, 40, 50)), NAMES, truth)
    assert picture.dtype == np.uint8
    assert picture.shape == (60, 80, 3)
    assert (image == before).all()
    assert coloured(picture).any()


def test_rgb_frames_keep_their_colours_where_nothing_is_drawn() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    assert (draw(image, Detections.empty(), NAMES) == image).all()
    assert (to_rgb(image) == image).all()


def test_sixteen_bit_counts_are_stretched_to_what_can_be_seen() -> None:
    image = np.linspace(29000, 30000, 64 * 80).reshape(64, 80).astype(np.uint16)
    picture = to_rgb(image)
    assert picture.min() == 0
    assert picture.max() == 255
    assert (picture[..., 0] == picture[..., 2]).all()


def test_scale_enlarges_the_frame_and_moves_the_boxes_with_it() -> None:
    picture = draw(np.zeros((100, 120), np.uint8), detections((20, 30, 60, 90)), NAMES, scale=3)
    assert picture.shape == (300, 360, 3)
    mask = coloured(picture)
    assert mask[90:270, 60].mean() > 0.95
    assert mask[90:270, 179].mean() > 0.95


def test_objects_are_dashed_and_regions_to_ignore_are_dotted() -> None:
    def light(ignore: bool) -> np.ndarray:
        truth = GroundTruth(np.array([[100, 100, 300, 300]]), np.array([0]), np.array([ignore]))
        picture = draw(np.full((512, 640, 3), 90, np.uint8), Detections.empty(), NAMES, truth)
        return np.asarray((picture[100, 100:300] == 255).all(axis=1))

    dashed, dotted = light(False), light(True)
    assert 0.4 < dashed.mean() < 0.6
    assert 0.15 < dotted.mean() < 0.35
    # neighbouring light pixels: dashes have them, dots of one pixel do not
    assert (dashed[1:] & dashed[:-1]).any()
    assert not (dotted[1:] & dotted[:-1]).any()


def test_a_class_without_a_name_is_labelled_by_its_number() -> None:
    picture = draw(np.zeros((200, 200), np.uint8), detections((50, 50, 150, 150), class_ids=(11,)), NAMES)
    assert coloured(picture, 11).any()
    assert class_colour(11) == CLASS_COLOURS[11 % len(CLASS_COLOURS)]


@pytest.mark.parametrize("shape", [(0, 10), (10, 10, 4), (10,)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        draw(np.zeros(shape, np.uint8), Detections.empty(), NAMES)
