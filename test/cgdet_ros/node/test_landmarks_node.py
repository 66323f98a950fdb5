"""The node of landmarks over DDS: faces given, looked for, followed, lost and found; what is refused."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")
pytest.importorskip("hri_msgs", reason="hri_msgs is not installed: make setup")

from cgdet_ros.node.messages import landmarks_to_message

HEIGHT, WIDTH = 96, 160
LEFT, RIGHT = (40, 50, 20), (120, 40, 16)  # discs: x, y, radius
ALONE = (110, 60, 18)
EVERYWHERE = [0.0, 0.0, 160.0, 96.0]
NEAR_PX = 10.0  # cells of the tiny network are 3 px wide, and a disc that leaves its crop is cut
Disc = tuple[int, int, int]


def picture(*discs: Disc) -> Any:
    """uint8 [96, 160]: bright discs, which the model takes for faces."""
    pixels = np.full((HEIGHT, WIDTH), 60, np.uint8)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for x, y, radius in discs:
        pixels[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = 200
    return pixels


class Faces:
    """A face detector beside the client's camera."""

    def __init__(self, client: Any, image_message: Callable[..., Any]) -> None:
        from vision_msgs.msg import Detection2DArray

        self.client, self._make = client, image_message
        self._faces = client.node.create_publisher(Detection2DArray, "faces", 20)

    def connected(self) -> None:
        self.client.until(lambda: self._faces.get_subscription_count() > 0, "a subscription of faces")

    def boxes(self, header: Any, *discs: Disc) -> None:
        from vision_msgs.msg import Detection2D, Detection2DArray

        message = Detection2DArray(header=header)
        for x, y, radius in discs:
            entry = Detection2D()
            entry.bbox.center.position.x, entry.bbox.center.position.y = x + 0.5, y + 0.5
            entry.bbox.size_x = entry.bbox.size_y = 2.0 * radius
            message.detections.append(entry)
        self._faces.publish(message)

    def image(self, *discs: Disc) -> Any:
        """Its header."""
        message = self._make(picture(*discs), "mono8")
        self.client.send(message)
        return message.header

    def answers_to(self, header: Any, count: int) -> list[Any]:
        self.client.until(lambda: len(self.of(header)) >= count, f"{count} faces")
        return self.of(header)

    def of(self, header: Any) -> list[Any]:
        return [answer for answer in self.client.answers if answer.header == header]


@pytest.fixture
def faces(face_client: Any, image_message: Callable[..., Any]) -> Faces:
    return Faces(face_client, image_message)


@pytest.fixture
def start(faces: Faces, start_landmarks: Callable[..., Any]) -> Callable[..., Any]:
    """Starts the node with a subscription that keeps all images of a test."""
    image = f"qos_overrides.{faces.client.namespace}/image.subscription"

    def started(**values: Any) -> Any:
        node = start_landmarks(**{f"{image}.depth": 50, f"{image}.reliability": "reliable"}, **values)
        if "region_xyxy_px" not in values:
            faces.connected()
        return node

    return started


def assert_of(message: Any, disc: Disc) -> None:
    """The points lie at the four ends of the disc in turn, in shares of the image; there are no pupils."""
    x, y, radius = disc
    ends = np.array([(x - radius, y), (x + radius, y), (x, y - radius), (x, y + radius)])
    points = np.array([(each.x, each.y) for each in message.landmarks])
    assert len(points) == 70
    assert (message.width, message.height) == (WIDTH, HEIGHT)
    in_pixels = points[:68] * (WIDTH, HEIGHT) - 0.5
    assert np.abs(in_pixels - np.tile(ends, (17, 1))).max() < NEAR_PX
    assert [each.c for each in message.landmarks[68:]] == [0, 0]
    assert min(each.c for each in message.landmarks[:68]) > 0


def moved(disc: Disc, x_px: int) -> Disc:
    return disc[0] + x_px, disc[1], disc[2]


def test_a_message_has_the_points_as_shares_of_the_image_and_no_pupils() -> None:
    from std_msgs.msg import Header

    points = np.tile(np.array([[-0.5, 9.5]], np.float32), (68, 1))
    points[1], points[2] = (39.5, 19.5), (41, 5)
    message = landmarks_to_message(
        Header(frame_id="cabin"), points, np.full(68, 0.75, np.float32), np.zeros((20, 40), np.uint16)
    )
    assert (message.header.frame_id, message.height, message.width) == ("cabin", 20, 40)
    found = [(each.x, each.y, each.c) for each in message.landmarks]
    assert found[0] == (0.0, 0.5, 0.75)
    assert found[1] == (1.0, 1.0, 0.75)
    assert found[2][2] == 0.0  # off the image
    assert found[68:] == [(0.0, 0.0, 0.0)] * 2


def test_two_faces_are_given_followed_lost_and_found_again(faces: Faces, start: Callable[..., Any]) -> None:
    node, client = start(), faces.client
    # nobody is followed: the image waits for its boxes, an earlier one without boxes is overtaken
    faces.image(LEFT)
    header = faces.image(LEFT, RIGHT)
    client.until(lambda: node._log.counts.received == 2, "both images")
    assert node._log.counts.answered == 0
    faces.boxes(header, LEFT, RIGHT)
    first = faces.answers_to(header, 2)
    assert_of(first[0], LEFT)
    assert_of(first[1], RIGHT)
    # followed without any box
    header = faces.image(moved(LEFT, 3), moved(RIGHT, -3))
    for answer, disc in zip(faces.answers_to(header, 2), (moved(LEFT, 3), moved(RIGHT, -3)), strict=True):
        assert_of(answer, disc)
    # one is gone; its boxes come when the image has been answered, and bring it back in the next one
    header = faces.image(moved(LEFT, 3))
    assert_of(faces.answers_to(header, 1)[0], moved(LEFT, 3))
    assert client.counts_of(node).answered == 3
    assert len(faces.of(header)) == 1
    header = faces.image(moved(LEFT, 3), RIGHT)
    assert_of(faces.answers_to(header, 1)[0], moved(LEFT, 3))
    faces.boxes(header, moved(LEFT, 4), RIGHT)
    client.until(lambda: node._pipeline.inference._late is not None, "the boxes")
    header = faces.image(moved(LEFT, 4), RIGHT)
    again = faces.answers_to(header, 2)
    assert_of(again[0], moved(LEFT, 4))
    assert_of(again[1], RIGHT)
    seen = client.counts_of(node)
    assert (seen.received, seen.answered, seen.overtaken) == (6, 5, 1)
    # with both gone an image waits again, and no faces are an answer too, though nothing is published
    faces.image()
    client.until(lambda: node._log.counts.answered == 6, "an answer without faces")
    header = faces.image()
    faces.boxes(header)
    client.until(lambda: node._log.counts.answered == 7, "an answer without faces")
    assert not faces.of(header)


def test_boxes_that_come_first_are_kept_for_their_image(faces: Faces, start: Callable[..., Any]) -> None:
    node = start()
    header = faces._make(picture(), "mono8").header
    faces.boxes(header, LEFT)
    faces.client.until(lambda: len(node._input._early) == 1, "the boxes")
    message = faces._make(picture(LEFT), "mono8")
    message.header = header
    faces.client.send(message)
    assert_of(faces.answers_to(header, 1)[0], LEFT)


def test_a_region_is_searched_while_no_face_is_known(faces: Faces, start: Callable[..., Any]) -> None:
    node = start(region_xyxy_px=EVERYWHERE)
    for place in (None, ALONE, moved(ALONE, 4), None, ALONE):  # empty, found, followed, lost, found elsewhere
        answered = node._log.counts.answered
        header = faces.image(*([] if place is None else [place]))
        faces.client.until(lambda before=answered: node._log.counts.answered > before, "an answer")
        if place is None:
            assert not faces.of(header)
        else:
            assert_of(faces.answers_to(header, 1)[0], place)
    faces.client.reconfigure(region_xyxy_px=[200.0, 0.0, 260.0, 96.0])
    faces.image(ALONE)
    faces.client.until(lambda: node._log.counts.failed == 1, "a region off the image")
    assert "region_xyxy_px" in node._log.last_error


def test_of_a_thousand_malformed_images_each_is_refused_and_the_good_ones_are_answered(
    faces: Faces, start: Callable[..., Any]
) -> None:
    node = start(region_xyxy_px=EVERYWHERE)
    client = faces.client

    def short(message: Any) -> None:
        message.data = message.data[:-1]

    def no_rows(message: Any) -> None:
        message.height = 0

    def wide(message: Any) -> None:
        message.width = 4_000_000_000

    def unknown(message: Any) -> None:
        message.encoding = "bayer_grbg8"

    def deep(message: Any) -> None:
        message.encoding = "16UC1"

    def stepless(message: Any) -> None:
        message.step = 3

    good = 0
    kinds = itertools.cycle((short, no_rows, wide, unknown, deep, stepless))
    for number in range(1, 1001):
        message = faces._make(picture(LEFT), "mono8")
        next(kinds)(message)
        client.send(message)
        if number % 20 == 0:  # no more than the queues hold
            client.until(lambda count=number: node._log.counts.refused == count, "refusals")
        if number % 250 == 0:
            assert_of(faces.answers_to(faces.image(ALONE), 1)[0], ALONE)
            good += 1
    seen = client.counts_of(node)
    assert (seen.received, seen.refused, seen.answered) == (1000 + good, 1000, good)


def test_boxes_that_are_none_are_refused_and_change_nothing(faces: Faces, start: Callable[..., Any]) -> None:
    node = start()
    for wrong in ((float("nan"), 5, 5), (1e30, 5, 5), (5, 5, 0), (5, 5, -3)):
        header = faces.image(LEFT)
        faces.boxes(header, wrong)
    header = faces.image(LEFT)
    faces.boxes(header, LEFT)
    assert_of(faces.answers_to(header, 1)[0], LEFT)
    seen = faces.client.counts_of(node)
    assert (seen.received, seen.answered, seen.overtaken, seen.failed) == (5, 1, 4, 0)


def test_parameters_change_live_or_are_refused_with_the_reason(faces: Faces, start: Callable[..., Any]) -> None:
    node, client = start(), faces.client
    header = faces.image(LEFT)
    faces.boxes(header, LEFT)
    faces.answers_to(header, 1)
    assert client.set_parameters(lost_below=1.0) == (True, "")
    header = faces.image(LEFT)  # followed, and lost: it cannot be so sure
    client.until(lambda: node._log.counts.answered == 2, "an answer")
    assert not faces.of(header)
    for values in ({"lost_below": -0.5}, {"region_xyxy_px": [0.0, 0.0, 50.0, 50.0]}, {"model": "other.onnx"}):
        taken, reason = client.set_parameters(**values)
        assert not taken
        assert next(iter(values)) in reason
    client.reconfigure(region_xyxy_px=EVERYWHERE, lost_below=-1.0)
    assert_of(faces.answers_to(faces.image(ALONE), 1)[0], ALONE)


def test_the_overlay_shows_the_points_and_diagnostics_say_that_faces_are_missing(
    faces: Faces, start_landmarks: Callable[..., Any]
) -> None:
    from sensor_msgs.msg import Image

    client, overlays = faces.client, []
    client.node.destroy_publisher(faces._faces)
    client.node.create_subscription(Image, "overlay", overlays.append, 10)
    node = start_landmarks(diagnostics__period_s=0.2)
    client.report(lambda level, text, values: "nobody publishes faces" in text, "missing faces")
    client.reconfigure(region_xyxy_px=EVERYWHERE)
    client.until(lambda: node._pipeline.outputs.overlay_is_watched, "a listener")
    header = faces.image(ALONE)
    client.until(lambda: any(each.header == header for each in overlays), "an overlay")
    shown = next(each for each in overlays if each.header == header)
    assert (shown.height % HEIGHT, shown.encoding) == (0, "rgb8")
    colours = np.array(shown.data, np.uint8).reshape(shown.height, shown.width, 3)
    scale = shown.height // HEIGHT
    x, y, radius = (scale * value for value in ALONE)
    about = colours[y - radius : y + radius, x - radius - 40 : x - radius + 40].astype(int)
    assert (np.ptp(about, axis=2) > 100).any()  # points have colours, the frame is grey
    client.report(lambda level, text, values: level == 0 and int(values["answered"]) >= 1, "a healthy node")


@pytest.mark.parametrize("kind", ["landmarks", "detector"])
def test_a_model_of_another_task_is_refused_in_one_line(
    kind: str, tiny_model: Path, disc_model: Path, request: pytest.FixtureRequest
) -> None:
    other = str({"landmarks": tiny_model, "detector": disc_model}[kind])
    node = request.getfixturevalue(f"start_{kind}")(model=other, autostart=False)
    node.start()
    assert node.state == "unconfigured"
    assert other in node._log.last_error
    assert {"landmarks": "detection", "detector": "landmarks"}[kind] in node._log.last_error
    assert "\n" not in node._log.last_error


def test_where_hri_msgs_is_missing_configure_fails_with_the_remedy(
    start_landmarks: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start_landmarks(autostart=False)
    monkeypatch.setitem(sys.modules, "hri_msgs.msg", None)
    node.start()
    assert node.state == "unconfigured"
    assert "hri-msgs" in node._log.last_error
    monkeypatch.undo()
    node.start()
    assert node.state == "active"
