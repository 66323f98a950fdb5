"""The node's diagnostics over real DDS: who does not hear whom, who is gone, and what every report holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from cgdet_ros.node.diagnostics import KEYS, WARN

SOON = {"diagnostics__period_s": 0.1}


@contextmanager
def another_participant(namespace: str) -> Iterator[Any]:
    """A node `another` that shares nothing with those of this process."""
    import rclpy

    context = rclpy.Context()
    context.init(args=[])
    node = rclpy.create_node("another", namespace=namespace, context=context)
    yield node
    node.destroy_node()
    context.shutdown()


def test_a_publisher_whose_quality_of_service_does_not_fit_is_named_with_the_policy(
    start_detector: Any, client: Any
) -> None:
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    topic = f"{client.namespace}/image"
    client.node.destroy_publisher(client.images)
    client.images = client.node.create_publisher(
        Image, "image", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    start_detector(**{f"qos_overrides.{topic}.subscription.reliability": "reliable"}, autostart=False, **SOON)
    assert client.transition("configure")
    assert client.transition("activate")
    level, message, values = client.report(lambda level, message, values: bool(values["unheard"]), "the mismatch")
    expected = (
        f"{client.namespace}/client has an incompatible quality of service on {topic}: "
        "Best effort publisher and reliable subscription"
    )
    assert values["unheard"] == expected
    assert level == WARN
    assert message == f"no image yet on {topic} (1 publisher); {expected}"


def test_a_subscriber_that_cannot_hear_the_detections_is_named(start_detector: Any, client: Any) -> None:
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from vision_msgs.msg import Detection2DArray

    start_detector(**SOON)
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    deaf = client.node.create_subscription(Detection2DArray, "detections", lambda message: None, qos)
    _, message, values = client.report(lambda level, message, values: bool(values["unheard"]), "the mismatch")
    assert values["unheard"].startswith(f"{client.namespace}/client has an incompatible quality of service on")
    assert "transient local" in values["unheard"].lower()
    assert values["unheard"] in message
    client.node.destroy_subscription(deaf)
    client.report(lambda level, message, values: not values["unheard"], "the end of the mismatch")


def test_images_of_another_type_or_on_the_other_topic_are_named_with_the_remedy(
    start_detector: Any, client: Any
) -> None:
    from sensor_msgs.msg import CompressedImage, Image

    base = client.namespace
    client.node.destroy_publisher(client.images)
    compressed = client.compressed()
    start_detector(autostart=False, **SOON)
    assert client.transition("configure")
    assert client.transition("activate")
    client.report(
        lambda level, message, values: (
            values["unheard"] == f"images come on {base}/image/compressed only: set image_transport to compressed"
        ),
        "the other topic",
    )
    client.node.destroy_publisher(compressed)
    elsewhere = client.node.create_publisher(Image, "elsewhere", 1)
    client.report(lambda level, message, values: f"{base}/elsewhere" in values["unheard"], "another topic")
    client.node.destroy_publisher(elsewhere)
    with another_participant(base) as node:
        node.create_publisher(CompressedImage, "image", 1)
        client.report(
            lambda level, message, values: (
                values["unheard"] == f"{base}/another has sensor_msgs/msg/CompressedImage on {base}/image, "
                "where sensor_msgs/msg/Image is wanted"
            ),
            "the wrong type",
        )


def test_every_report_holds_what_the_interface_page_says_and_nothing_else(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(**SOON)
    client.ask(image_message(scene, "mono16"))
    _, _, values = client.report(lambda level, message, values: "infer_ms" in values, "the times")
    assert list(values) == [key for key in KEYS if key in values]
    assert set(KEYS) - set(values) == {"fallback"}
    assert all(name in values["receive_to_publish_ms"] for name in ("p50", "p95", "p99"))
