"""The picture of the `overlay` topic: large enough to be read, in the colours that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: make setup")

from rclpy.lifecycle import LifecycleNode

from cgdet_core.colour_maps import colour_table
from cgdet_core.config import ThermalConfig
from cgdet_core.drawing import class_colour
from cgdet_core.types import Detections
from cgdet_ros.config import OverlayConfig
from cgdet_ros.node.outputs import DetectionOutputs

FOUND = Detections(np.array([[0.3, 0.3, 0.6, 0.7]]) * 100, np.array([0.9]), np.array([2]))
Drawn = Callable[..., np.ndarray]
NAMES = ("person", "bicycle", "car")


@pytest.fixture
def drawn(ros: None) -> Iterator[Drawn]:
    node = LifecycleNode("drawing")
    outputs = DetectionOutputs(node, ThermalConfig(), NAMES, NAMES)

    def draw(size: tuple[int, int], found: Detections = FOUND, **style: object) -> np.ndarray:
        image = np.random.default_rng(3).integers(21000, 23000, size).astype(np.uint16)
        return np.asarray(outputs.draw(image, found, OverlayConfig(**style)))

    yield draw
    outputs.destroy()
    node.destroy_node()


@pytest.mark.parametrize(
    ("size", "times"),
    [((120, 160), 4), ((256, 320), 2), ((480, 640), 1), ((512, 640), 1), ((1080, 1920), 1), ((60, 80), 4)],
)
def test_small_frames_are_enlarged_a_whole_number_of_times(size: tuple[int, int], times: int, drawn: Drawn) -> None:
    assert drawn(size).shape == (size[0] * times, size[1] * times, 3)


def test_a_scale_that_is_given_holds(drawn: Drawn) -> None:
    assert drawn((120, 160), scale=0.5).shape == (60, 80, 3)
    assert drawn((120, 160), scale=1.0).shape == (120, 160, 3)


@pytest.mark.parametrize("size", [(120, 160), (512, 640), (1080, 1920)])
def test_boxes_have_their_colour_on_every_map(size: tuple[int, int], drawn: Drawn) -> None:
    for colours in ("white_hot", "black_hot", "ironbow"):
        picture = drawn(size, colour_map=colours)
        assert (picture == np.array(class_colour(2))).all(axis=2).sum() > 200


def test_the_frame_below_has_the_colours_of_the_map(drawn: Drawn) -> None:
    picture = drawn((512, 640), found=Detections.empty(), colour_map="inferno")
    colours = {tuple(colour) for colour in colour_table("inferno").tolist()}
    assert {tuple(colour) for colour in np.unique(picture.reshape(-1, 3), axis=0).tolist()} <= colours
