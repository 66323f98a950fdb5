"""The node's diagnostics over real DDS: who does not hear whom, who is gone, and what every report holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from interface_page import KEYS

from cgdet_ros.node.diagnostics import WARN
from cgdet_ros.node.image_input import TYPE_NAMES, hint, image_topic
from cgdet_ros.node.qos import idle_arguments

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
            values["unheard"] == f"images are published on {base}/image/compressed "
            f"(-r image:={base}/image -p image_transport:=compressed)"
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
                f"where sensor_msgs/msg/Image is wanted; images are published on {base}/image "
                f"(-r image/compressed:={base}/image -p image_transport:=compressed)"
            ),
            "the wrong type",
        )


@pytest.mark.parametrize(
    ("topic", "transport"),
    [("/flir/image_raw", "raw"), ("/flir/image_raw/compressed", "compressed"), ("/flir/jpeg", "compressed")],
)
def test_a_node_that_is_started_as_the_hint_says_hears_the_images(ros: None, topic: str, transport: str) -> None:
    import rclpy

    words = hint(topic, TYPE_NAMES[transport]).split()
    node = rclpy.create_node("hinted", namespace="/front", cli_args=["--ros-args", *words])
    try:
        assert f"image_transport:={transport}" in words
        assert image_topic(node, transport) == topic
    finally:
        node.destroy_node()


def test_a_second_node_of_the_same_full_name_is_named(start_detector: Any, client: Any) -> None:
    import rclpy

    start_detector(**SOON)
    context = rclpy.Context()
    context.init(args=[])
    namesake = rclpy.create_node("thermal_detector", namespace=client.namespace, context=context)
    client.report(lambda level, message, values: level == WARN and "__node:=" in message, "the namesake")
    namesake.destroy_node()
    context.shutdown()
    client.report(lambda level, message, values: "__node:=" not in message, "its end")


def test_frames_beyond_the_shared_memory_are_named_once_with_the_profile(
    start_detector: Any, client: Any, image_message: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS"):
        monkeypatch.delenv(name, raising=False)
    start_detector()
    for rows in (400, 512, 512):  # 500 KiB, 640 KiB
        client.ask(image_message(np.full((rows, 640), 21000, np.uint16), "mono16"))
    told = [line for line in capfd.readouterr().err.splitlines() if "fastdds_large_frames.xml" in line]
    assert len(told) == 1
    assert "655360 bytes" in told[0]


def test_remappings_and_parameter_files_that_touch_nothing_are_named(
    start_detector: Any, client: Any, tmp_path: Path
) -> None:
    node = start_detector()
    file = tmp_path / "rear.yaml"
    file.write_text("/rear/thermal_detector:\n  ros__parameters: {score_threshold: 0.3}\n")
    fine = ["-r", "image:=image", "-r", "__ns:=/x", "-r", "other:imag:=/y", "-r", "~/enable:=~/enable"]
    assert list(idle_arguments(node, ["--ros-args", *fine], [])) == []
    words = ["--ros-args", "-r", "imag:=/flir/image_raw", "--params-file", str(file), *fine]
    remapping, parameters = idle_arguments(node, words, [])
    assert "imag:=/flir/image_raw" in remapping
    assert str(file) in parameters
    assert "/rear/thermal_detector" in parameters


def test_every_report_holds_what_the_interface_page_says_and_nothing_else(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(**SOON)
    client.ask(image_message(scene, "mono16"))
    _, _, values = client.report(lambda level, message, values: "infer_ms" in values, "the times")
    assert list(values) == [key for key in KEYS if key in values]
    assert set(KEYS) - set(values) == {"fallback"}
    assert all(name in values["receive_to_publish_ms"] for name in ("p50", "p95", "p99"))
