"""What the log says of images that come, stay away and come again: computed step by step here."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: make setup")

from cgdet_ros.node.diagnostics import Situation
from cgdet_ros.node.image_watch import ImageWatch

ACTIVE = Situation(state="active", image_topic="/flir/image", image_publishers=0, active_s=0.5)
TIMEOUT_S = 2.0


def nothing_elsewhere() -> list[str]:
    return []


def test_images_that_come_are_told_once_with_their_kind() -> None:
    watch = ImageWatch()
    assert watch.look(ACTIVE, None, "", TIMEOUT_S, nothing_elsewhere) is None
    coming = replace(ACTIVE, active_s=5.0, image_publishers=1)
    said = watch.look(coming, 0.1, "640x512 mono16", TIMEOUT_S, nothing_elsewhere)
    assert said == (False, "images on /flir/image: 640x512 mono16")
    assert watch.look(coming, 0.1, "640x512 mono16", TIMEOUT_S, nothing_elsewhere) is None


def test_a_topic_on_which_nobody_publishes_is_told_once_with_those_on_which_others_do() -> None:
    watch, waiting = ImageWatch(), replace(ACTIVE, active_s=2.1)
    said = watch.look(waiting, None, "", TIMEOUT_S, lambda: ["/a/image", "/b/image"])
    assert said == (
        True,
        "no image yet on /flir/image (nobody publishes there); images are published on /a/image, /b/image",
    )
    again = watch.look(replace(waiting, active_s=60.0), None, "", TIMEOUT_S, lambda: ["/a/image", "/b/image"])
    assert again is None
    first = watch.look(replace(waiting, active_s=61.0), 0.2, "8x8 mono8", TIMEOUT_S, nothing_elsewhere)
    assert first == (False, "images on /flir/image again: 8x8 mono8")


def test_another_reason_is_another_line() -> None:
    watch, waiting = ImageWatch(), replace(ACTIVE, active_s=2.1)
    first = watch.look(waiting, None, "", TIMEOUT_S, nothing_elsewhere)
    assert first == (True, "no image yet on /flir/image (nobody publishes there)")
    silent = replace(waiting, active_s=9.0, image_publishers=1)
    assert watch.look(silent, None, "", TIMEOUT_S, nothing_elsewhere) == (
        True,
        "no image yet on /flir/image (1 publisher)",
    )
    assert watch.look(silent, None, "", TIMEOUT_S, nothing_elsewhere) is None


def test_of_many_topics_five_are_named() -> None:
    said = ImageWatch().look(replace(ACTIVE, active_s=3.0), None, "", TIMEOUT_S, lambda: [f"/{c}" for c in "abcdefg"])
    assert said is not None
    assert said[1].endswith("on /a, /b, /c, /d, /e, ...")


def test_a_publisher_that_is_not_heard_is_told_in_place_of_other_topics() -> None:
    deaf = replace(ACTIVE, active_s=3.0, image_publishers=1, unheard=("/driver publishes another type",))
    said = ImageWatch().look(deaf, None, "", TIMEOUT_S, lambda: ["/not/asked/for"])
    assert said == (True, "no image yet on /flir/image (1 publisher); /driver publishes another type")


def test_images_that_stop_and_come_again_are_told_each_time() -> None:
    watch, situation = ImageWatch(), replace(ACTIVE, active_s=30.0, image_publishers=1)
    told = [watch.look(situation, away_s, "8x8 mono8", TIMEOUT_S, nothing_elsewhere) for away_s in (0.1, 2.5, 9.0, 0.1)]
    assert told == [
        (False, "images on /flir/image: 8x8 mono8"),
        (True, "no image on /flir/image for 2 s (1 publisher)"),
        None,
        (False, "images on /flir/image again: 8x8 mono8"),
    ]


def test_images_of_before_an_activation_do_not_count_and_a_pause_is_silent() -> None:
    watch = ImageWatch()
    # the last image came 10 s ago, the node has been active again for 3 s
    again = replace(ACTIVE, active_s=3.0)
    assert watch.look(replace(again, enabled=False), 10.0, "8x8 mono8", TIMEOUT_S, nothing_elsewhere) is None
    assert watch.look(replace(again, state="inactive"), 10.0, "8x8 mono8", TIMEOUT_S, nothing_elsewhere) is None
    said = watch.look(again, 10.0, "8x8 mono8", TIMEOUT_S, nothing_elsewhere)
    assert said == (True, "no image yet on /flir/image (nobody publishes there)")


def test_without_a_timeout_nothing_is_missed_and_images_that_are_all_refused_are_not_announced() -> None:
    watch = ImageWatch()
    assert watch.look(replace(ACTIVE, active_s=900.0), None, "", 0.0, nothing_elsewhere) is None
    assert watch.look(replace(ACTIVE, active_s=900.0), 0.1, "", 0.0, nothing_elsewhere) is None
