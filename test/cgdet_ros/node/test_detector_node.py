"""The node over real DDS: images in by one participant, arrays out to it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool
from vision_msgs.msg import LabelInfo, VisionInfo

from cgdet_core.config import PostprocessConfig
from cgdet_core.errors import InputError
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.thermal import to_grey
from cgdet_ros.node.detector_node import DetectorNode

EVERYTHING = {"score_threshold": 0.0001, "max_detections": 20}


def boxes_of(answer: Any) -> np.ndarray:
    """Rows of left, top, right, bottom."""
    rows = []
    for detection in answer.detections:
        centre, box = detection.bbox.center.position, detection.bbox
        half_width, half_height = box.size_x / 2, box.size_y / 2
        rows.append([centre.x - half_width, centre.y - half_height, centre.x + half_width, centre.y + half_height])
    return np.array(rows).reshape(-1, 4)


def hypotheses_of(answer: Any) -> list[tuple[str, float]]:
    """Class and score."""
    found = [detection.results[0].hypothesis for detection in answer.detections]
    return [(hypothesis.class_id, hypothesis.score) for hypothesis in found]


def hold(target: Any, name: str) -> tuple[threading.Event, threading.Event]:
    """Make a method of `target` wait: set when it is entered; to be set for it to go on."""
    method, entered, go_on = getattr(target, name), threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:
        entered.set()
        assert go_on.wait(20)
        return method(*arguments)

    setattr(target, name, held)
    return entered, go_on


# images and answers


def test_what_is_published_is_what_the_predictor_finds_with_the_header_of_the_image(
    start_detector: Any, client: Any, image_message: Any, scene: Any, tiny_model: Path
) -> None:
    start_detector(**EVERYTHING)
    message = image_message(scene, "mono16", frame_id="lens/thermal")
    answer = client.ask(message)
    predictor = Predictor(tiny_model)
    everything = PostprocessConfig(score_threshold=0.0001, nms_iou=0.55, max_detections=20)
    expected = predictor.predict(scene, postprocess=everything)
    assert len(expected) > 3
    np.testing.assert_allclose(boxes_of(answer), expected.boxes_xyxy_px, atol=1e-4)
    classes, scores = zip(*hypotheses_of(answer), strict=True)
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-6)
    assert list(classes) == [predictor.info.class_names[number] for number in expected.class_ids]
    assert answer.header == message.header
    assert all(detection.header == message.header for detection in answer.detections)
    assert client.set_parameters(score_threshold=1.0) == (True, "")
    empty = image_message(scene, "mono16", frame_id="empty")
    answer = client.ask(empty)
    assert (list(answer.detections), answer.header) == ([], empty.header)


def test_byte_order_padding_and_the_order_of_colours_change_nothing_and_class_id_may_be_the_index(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(score_threshold=0.0, max_detections=200, class_id="index")
    eight_bits = ((scene - scene.min()) // 6).clip(0, 255).astype(np.uint8)
    colour = np.stack([eight_bits, eight_bits[::-1], eight_bits[:, ::-1]], axis=2)
    grey = image_message(scene, "mono16"), image_message(scene, "16UC1", big_endian=True, padding_bytes=4)
    colours = image_message(colour, "rgb8"), image_message(colour[:, :, ::-1], "bgr8", padding_bytes=3)
    for group in ((*grey, image_message(scene, "mono16")), (*colours, image_message(to_grey(colour), "mono8"))):
        first, *others = [client.ask(message) for message in group]
        assert len(first.detections) > 50
        scores = [score for _, score in hypotheses_of(first)]
        assert scores == sorted(scores, reverse=True)
        assert {class_id for class_id, _ in hypotheses_of(first)} <= {"0", "1", "2"}
        for answer in others:
            assert [(found.bbox, found.results) for found in answer.detections] == [
                (found.bbox, found.results) for found in first.detections
            ]


def test_malformed_images_are_counted_and_named_and_the_node_lives_on(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector(telemetry_rows=2)
    changes = [{"data": bytearray(10)}, {"width": 0, "height": 0, "step": 0, "data": bytearray()}, {"step": 7}]
    changes += [{"encoding": "mono8"}, {"height": 63}, {"data": bytearray(64 * 96 * 2 + 1)}]
    changes += [{"encoding": "bayer_rggb16"}, {"height": 2**32 - 1, "width": 2**32 - 1, "step": 2**32 - 1}]
    for number, change in enumerate(changes, 1):
        message = image_message(scene, "mono16")
        for name, value in change.items():
            setattr(message, name, value)
        client.send(message)
        client.until(lambda number=number: node._log.counts.refused == number, "the refusal")
    client.send(image_message(scene[:2], "mono16"))  # of which the telemetry leaves nothing
    client.until(lambda: node._log.counts.failed == 1, "the failure")
    good = image_message(scene, "mono16")
    client.ask(good)
    assert [answer.header.stamp for answer in client.answers] == [good.header.stamp]
    counts = client.counts_of(node)
    assert (counts.received, counts.refused, counts.failed, counts.answered) == (len(changes) + 2, len(changes), 1, 1)


def test_only_the_newest_frame_is_worked_on_and_every_frame_is_accounted_for(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector()
    entered, go_on = hold(node._pipeline.inference, "predict")
    flood = [image_message(scene, "mono16") for _ in range(30)]
    client.send(flood[0])
    assert entered.wait(20)
    for message in flood[1:]:
        client.send(message)
    worker, last = node._pipeline.worker, flood[-1].header
    client.until(
        lambda: worker._waiting is not None and worker._waiting.header.stamp == last.stamp, "the newest in the mailbox"
    )
    go_on.set()
    client.until(lambda: bool(client.answers) and client.answers[-1].header == last, "the last answer")
    counts = client.counts_of(node)
    assert [answer.header.stamp for answer in client.answers] == [flood[0].header.stamp, last.stamp]
    assert counts.answered == 2
    assert counts.answered + counts.overtaken == counts.received


# the overlay


def test_the_overlay_is_drawn_for_those_who_listen_raw_or_compressed_and_its_style_is_live(
    start_detector: Any, client: Any, image_message: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start_detector(overlay__scale=2.0, **EVERYTHING)
    with monkeypatch.context() as patch:
        patch.setattr(node._pipeline.outputs, "draw", lambda *arguments: pytest.fail("drawn for nobody"))
        client.ask(image_message(scene, "mono16"))
        assert client.counts_of(node).answered == 1
        assert node._log.last_error == ""
    raw: list[Image] = []
    jpeg: list[CompressedImage] = []
    client.node.create_subscription(Image, "overlay", raw.append, 5)
    client.node.create_subscription(CompressedImage, "overlay/compressed", jpeg.append, 5)
    outputs = node._pipeline.outputs
    client.until(
        lambda: outputs._overlay.get_subscription_count() == outputs._overlay_jpeg.get_subscription_count() == 1,
        "the subscriptions",
    )
    for number, quality in enumerate((95, 5), 1):
        assert client.set_parameters(overlay__jpeg_quality=quality) == (True, "")
        message = image_message(scene, "mono16")
        client.ask(message)
        client.until(lambda number=number: len(raw) == len(jpeg) == number, "the pictures")
        assert raw[-1].header == jpeg[-1].header == message.header
    picture = raw[0]
    assert (picture.encoding, picture.height, picture.width, picture.step) == ("rgb8", 128, 192, 576)
    rgb = np.frombuffer(picture.data, np.uint8).reshape(128, 192, 3)
    assert (rgb.max(axis=2) != rgb.min(axis=2)).any(), "no box in colour"
    assert jpeg[0].format == "rgb8; jpeg compressed bgr8"
    decoded = cv2.imdecode(np.frombuffer(jpeg[0].data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert np.abs(decoded.astype(int) - rgb).mean() < 25  # colours are halved, and boxes are thin
    assert len(jpeg[1].data) < len(jpeg[0].data) / 2


def test_what_fails_after_an_answer_neither_loses_it_nor_is_taken_for_a_failing_gpu(
    start_detector: Any, client: Any, image_message: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start_detector(diagnostics__period_s=0.0)
    running = node._pipeline
    monkeypatch.setattr(running.inference.predictor, "device", "cuda:0")

    def refuse(*arguments: Any) -> Any:
        raise MemoryError("no room")

    client.node.create_subscription(Image, "overlay", lambda picture: None, 5)
    client.until(lambda: running.outputs.overlay_is_watched, "the overlay's subscription")
    for target, name in ((running._watch, "look"), (running.outputs, "draw")):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, refuse)
            node._log.error("")
            client.ask(image_message(scene, "mono16"))
            client.counts_of(node)
            assert node._log.last_error == "MemoryError: no room"
    counts = client.counts_of(node)
    assert (counts.received, counts.answered, counts.failed, counts.refused) == (2, 2, 0, 0)
    monkeypatch.setattr(running.outputs, "publish", refuse)
    client.send(image_message(scene, "mono16"))
    client.until(lambda: counts.failed == 1, "the failure")
    client.counts_of(node)
    assert running.fallback == ""


# parameters and information


def test_thresholds_change_while_it_runs_and_the_models_own_hold_until_then(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    running = start_detector()._pipeline
    own = running.inference.predictor.info.postprocess
    assert running.live.settings == own
    assert client.set_parameters(score_threshold=0.35) == (True, "")
    assert running.live.settings == own.model_copy(update={"score_threshold": 0.35, "class_thresholds": {}})
    assert client.set_parameters(score_threshold=-1.0, class_thresholds=["person:0.2"]) == (True, "")
    assert running.live.settings.class_thresholds == {"car": 0.4, "person": 0.2}
    assert client.set_parameters(class_thresholds=[]) == (True, "")
    assert running.live.settings == own

    def found() -> list[tuple[str, float]]:
        return hypotheses_of(client.ask(image_message(scene, "mono16")))

    assert client.set_parameters(**EVERYTHING) == (True, "")
    everything = found()
    assert len(everything) > 5
    assert client.set_parameters(max_detections=3) == (True, "")
    assert found() == everything[:3]
    assert client.set_parameters(max_detections=20, score_threshold=1.0) == (True, "")
    assert found() == []
    name = everything[0][0]
    assert client.set_parameters(class_thresholds=[f"{name}:0.0"]) == (True, "")
    assert {class_id for class_id, _ in found()} == {name}


def test_parameters_are_refused_with_a_reason_and_nothing_changes(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector()
    before, live = node._config, node._pipeline.live
    for values, named in [
        ({"model": "/other.safetensors"}, "'model' can be set while the node is unconfigured only"),
        ({"raw_range": [1.0, 2.0]}, "'raw_range'"),
        ({"score_threshold": 1.5}, "out of range"),
        ({"score_threshold": "high"}, "type"),
        ({"autostart": False}, "read-only"),
        ({"score_threshold": 0.5, "nms_iou": 0.2, "class_thresholds": ["unicorn:0.5"]}, "'unicorn'"),
    ]:
        successful, why = client.set_parameters(**values)
        assert not successful, values
        assert named in why
    assert (node._config, node._pipeline.live) == (before, live)
    assert client.set_parameters(model=before.model) == (True, "")  # as it is: nothing to refuse
    client.ask(image_message(scene, "mono16"))


def test_settings_that_change_in_the_middle_of_a_frame_are_for_the_next_one_altogether(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector(overlay__scale=1.0, **EVERYTHING)
    pictures: list[Image] = []
    client.node.create_subscription(Image, "overlay", pictures.append, 5)
    client.until(lambda: node._pipeline.outputs.overlay_is_watched, "the overlay's subscription")
    entered, go_on = hold(node._pipeline.inference, "predict")
    client.send(image_message(scene, "mono16"))
    assert entered.wait(20)
    assert client.set_parameters(max_detections=3, overlay__scale=2.0) == (True, "")
    go_on.set()
    client.until(lambda: len(pictures) == 1, "the first picture")
    client.ask(image_message(scene, "mono16"))
    client.until(lambda: len(pictures) == 2, "the second picture")
    found = [len(answer.detections) for answer in client.answers]
    assert found[0] > 3
    assert (found[1], [picture.width for picture in pictures]) == (3, [96, 192])


def test_label_info_reaches_late_subscribers_and_comes_again_with_another_threshold(
    start_detector: Any, client: Any
) -> None:
    start_detector()
    topic = f"{client.namespace}/label_info"
    first, second = client.newest(LabelInfo, topic, 2, lambda: client.set_parameters(score_threshold=0.5))
    numbered = [(entry.class_id, entry.class_name) for entry in first.class_map]
    assert numbered == [(0, "person"), (1, "bicycle"), (2, "car")]
    assert (first.threshold, second.threshold) == pytest.approx((0.3, 0.5))
    (info,) = client.newest(VisionInfo, f"{client.namespace}/vision_info", 1)
    assert info.database_location == topic
    assert "tiny.onnx" in info.method


def test_what_was_not_foreseen_about_a_parameter_or_a_report_does_not_end_the_node(
    start_detector: Any, client: Any, image_message: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start_detector(diagnostics__period_s=0.05)
    client.report(lambda level, message, values: True, "anything")

    def fail(*arguments: Any) -> Any:
        raise KeyError("who")

    with monkeypatch.context() as patch:
        patch.setattr(node._pipeline, "apply", fail)
        assert client.set_parameters(max_detections=7) == (False, "KeyError: 'who'")
        patch.setattr(node, "count_publishers", fail)
        client.ask(image_message(scene, "mono16"))
        time.sleep(0.3)  # six periods, and no report of them
        values = [value for status in client.reports for value in status.values]
        assert {value.value for value in values if value.key == "answered"} == {"0"}
    client.report(lambda level, message, values: values["answered"] == "1", "the next one")


# the pause


def test_it_pauses_without_a_transition_and_the_pause_outlasts_transitions(
    start_detector: Any, client: Any, image_message: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start_detector()

    def enable(wanted: bool) -> tuple[bool, str]:
        answer = client.call(SetBool, f"{client.namespace}/thermal_detector/enable", SetBool.Request(data=wanted))
        return answer.success, answer.message

    assert enable(False) == (True, "paused, active")
    client.until(lambda: client.images.get_subscription_count() == 0, "the pause")
    for transition in ("deactivate", "cleanup", "configure", "activate"):
        assert client.transition(transition)
    assert client.images.get_subscription_count() == 0

    def fail() -> None:
        raise ValueError("depth -1 is none")

    with monkeypatch.context() as patch:
        patch.setattr(node, "_listen", fail)
        assert enable(True) == (False, "paused, active: ValueError: depth -1 is none")
    assert enable(True) == (True, "enabled, active")
    client.connected()
    client.ask(image_message(scene, "mono16"))


# nodes beside each other, and quality of service


def test_a_node_whose_parameters_are_none_is_not_left_in_the_graph(client: Any) -> None:
    with pytest.raises(InputError, match="class_thresholds"):
        DetectorNode(namespace=client.namespace, parameter_overrides=[Parameter("class_thresholds", value=["x"])])
    client.until(
        lambda: ("thermal_detector", client.namespace) not in client.node.get_node_names_and_namespaces(),
        "the end of the node",
    )


def test_images_are_taken_best_effort_and_detections_given_reliably_unless_the_user_says_otherwise(
    start_detector: Any, client: Any
) -> None:
    topic = f"{client.namespace}/image"
    node = start_detector()
    (images,) = client.node.get_subscriptions_info_by_topic(topic)
    (answers,) = client.node.get_publishers_info_by_topic(f"{client.namespace}/detections")
    assert images.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert answers.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    node.trigger_deactivate()
    client.until(lambda: not client.node.get_subscriptions_info_by_topic(topic), "the end of the subscription")
    start_detector(**{f"qos_overrides.{topic}.subscription.reliability": "reliable"})
    (info,) = client.node.get_subscriptions_info_by_topic(topic)
    assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE


def test_an_override_to_a_queue_that_holds_nothing_is_refused_by_name(
    start_detector: Any, client: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    node = start_detector(autostart=False, **{f"qos_overrides.{client.namespace}/image.subscription.depth": -1})
    node.start()
    assert node.state != "active"
    assert "depth -1" in capfd.readouterr().err
