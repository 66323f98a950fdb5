"""The node over real DDS: images in by one participant, arrays out to it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from vision_msgs.msg import LabelInfo, VisionInfo

from cgdet_core.config import PostprocessConfig
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.thermal import to_grey

EVERYTHING = {"score_threshold": 0.0001, "max_detections": 20}


def boxes_of(answer: Any) -> np.ndarray:
    """Rows of left, top, right, bottom, score; and the class_ids."""
    rows = []
    for detection in answer.detections:
        centre, box = detection.bbox.center.position, detection.bbox
        half_width, half_height = box.size_x / 2, box.size_y / 2
        rows.append([centre.x - half_width, centre.y - half_height, centre.x + half_width, centre.y + half_height])
    return np.array(rows).reshape(-1, 4)


def test_what_is_published_is_what_the_predictor_finds_with_the_header_of_the_image(
    start_detector: Any, client: Any, image_message: Any, scene: Any, tiny_model: Path
) -> None:
    start_detector(**EVERYTHING)
    message = image_message(scene, "mono16", frame_id="lens/thermal")
    answer = client.ask(message)
    predictor = Predictor(
        tiny_model, postprocess=PostprocessConfig(score_threshold=0.0001, nms_iou=0.55, max_detections=20)
    )
    expected = predictor.predict(scene)
    assert len(expected) > 3
    np.testing.assert_allclose(boxes_of(answer), expected.boxes_xyxy_px, atol=1e-4)
    scores = [detection.results[0].hypothesis.score for detection in answer.detections]
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-6)
    names = [detection.results[0].hypothesis.class_id for detection in answer.detections]
    assert names == [predictor.info.class_names[number] for number in expected.class_ids]
    assert answer.header == message.header
    assert all(detection.header == message.header for detection in answer.detections)


def test_every_encoding_is_detected_on_and_byte_order_and_padding_change_nothing(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(**EVERYTHING)
    eight_bits = ((scene - scene.min()) // 6).clip(0, 255).astype(np.uint8)
    colour = np.stack([eight_bits, eight_bits[::-1], eight_bits[:, ::-1]], axis=2)
    groups = [
        [
            image_message(scene, "mono16"),
            image_message(scene, "mono16", big_endian=True),
            image_message(scene, "16UC1"),
            image_message(scene, "16UC1", big_endian=True),
            image_message(scene, "mono16", padding_bytes=13),
            image_message(scene, "16UC1", big_endian=True, padding_bytes=4),
        ],
        [
            image_message(eight_bits, "mono8"),
            image_message(eight_bits, "8UC1"),
            image_message(eight_bits, "mono8", padding_bytes=5),
        ],
        [
            image_message(colour, "rgb8"),
            image_message(colour[:, :, ::-1], "bgr8"),
            image_message(colour, "rgb8", padding_bytes=3),
            image_message(to_grey(colour), "mono8"),
        ],
    ]
    per_group = []
    for group in groups:
        answers = [client.ask(message) for message in group]
        boxes = boxes_of(answers[0])
        assert len(boxes) > 0
        for message, answer in zip(group, answers, strict=True):
            assert answer.header == message.header
            np.testing.assert_array_equal(boxes_of(answer), boxes)
        per_group.append(boxes)
    assert per_group[0].shape != per_group[2].shape or not np.allclose(per_group[0], per_group[2])


def test_a_frame_without_objects_is_published_as_an_empty_array(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(score_threshold=1.0)
    message = image_message(scene, "mono16", frame_id="empty")
    answer = client.ask(message)
    assert list(answer.detections) == []
    assert answer.header == message.header


def test_a_malformed_image_is_refused_and_the_next_good_one_is_answered(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector()
    changes = [
        {"data": bytearray(10)},
        {"height": 0},
        {"width": 0, "height": 0, "step": 0, "data": bytearray()},
        {"step": 7},
        {"encoding": "bayer_rggb16"},
        {"encoding": ""},
        {"height": 2**32 - 1, "width": 2**32 - 1, "step": 2**32 - 1},
    ]
    for change in changes:
        message = image_message(scene, "mono16")
        for name, value in change.items():
            setattr(message, name, value)
        client.send(message)
    before = len(client.answers)
    good = image_message(scene, "mono16")
    client.until(lambda: node._log.counts.received > 0, "the first image")
    client.ask(good)
    assert [answer.header.stamp for answer in client.answers[before:]] == [good.header.stamp]
    assert node._log.counts.refused >= 1
    assert node._log.counts.refused == node._log.counts.received - 1


def test_each_kind_of_malformed_image_is_counted_and_named(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector()
    for number, (change, reason) in enumerate(
        [({"step": 7}, "step 7 is shorter"), ({"encoding": "yuv422"}, "encoding 'yuv422'"), ({"width": 0}, "nothing")],
        1,
    ):
        message = image_message(scene, "mono16")
        for name, value in change.items():
            setattr(message, name, value)
        client.send(message)
        client.until(lambda number=number: node._log.counts.refused == number, "the refusal")
        assert reason in node._log.last_error


def test_a_frame_that_the_predictor_refuses_is_counted_and_the_next_one_is_answered(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector(telemetry_rows=2)
    client.send(image_message(scene[:2], "mono16"))  # nothing is left of it
    client.until(lambda: node._log.counts.failed == 1, "the failure")
    assert "telemetry_rows 2 leave nothing of 2 rows" in node._log.last_error
    client.ask(image_message(scene, "mono16"))


def test_boxes_are_in_pixels_of_the_image_with_its_telemetry_rows(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(telemetry_rows=-3, **EVERYTHING)
    with_rows = np.concatenate([np.full((3, scene.shape[1]), 65535, np.uint16), scene])
    answer = client.ask(image_message(with_rows, "mono16"))
    assert client.transition("deactivate")
    assert client.transition("cleanup")
    assert client.set_parameters(telemetry_rows=0) == (True, "")
    assert client.transition("configure")
    assert client.transition("activate")
    client.connected()
    plain = client.ask(image_message(scene, "mono16"))
    np.testing.assert_allclose(boxes_of(answer), np.add(boxes_of(plain), (0, 3, 0, 3)), atol=1e-4)


def test_only_the_newest_frame_is_worked_on_and_every_frame_is_accounted_for(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector()
    slow, predict = threading.Event(), node._pipeline.inference.predictor.predict
    entered = threading.Event()

    def held(*arguments: Any) -> Any:  # the real predictor, made to wait
        entered.set()
        assert slow.wait(20)
        return predict(*arguments)

    node._pipeline.inference.predictor.predict = held
    flood = [image_message(scene, "mono16") for _ in range(30)]
    client.send(flood[0])
    assert entered.wait(20)
    for message in flood[1:]:
        client.send(message)
    client.until(lambda: node._pipeline.worker._waiting is not None, "a frame in the mailbox")
    client.until(
        lambda: node._pipeline.worker._waiting.header.stamp == flood[-1].header.stamp, "the newest in the mailbox"
    )
    slow.set()
    client.until(lambda: bool(client.answers) and client.answers[-1].header == flood[-1].header, "the last answer")
    counts = client.counts_of(node)
    assert [answer.header.stamp for answer in client.answers] == [flood[0].header.stamp, flood[-1].header.stamp]
    assert counts.answered == 2
    assert counts.answered + counts.overtaken == counts.received


def test_answers_come_in_order_under_a_flood(start_detector: Any, client: Any, image_message: Any, scene: Any) -> None:
    node = start_detector()
    flood = [image_message(scene, "mono16") for _ in range(150)]
    for message in flood:
        client.send(message)
    client.until(
        lambda: bool(client.answers) and client.answers[-1].header.stamp == flood[-1].header.stamp, "the last answer"
    )
    stamps = [answer.header.stamp.sec for answer in client.answers]
    assert stamps == sorted(set(stamps))
    counts = client.counts_of(node)
    assert counts.answered == len(stamps)
    assert counts.answered + counts.overtaken == counts.received
    assert counts.refused == counts.failed == 0


def test_it_subscribes_while_active_only_and_every_transition_works_by_service(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(autostart=False)
    assert client.state() == "unconfigured"
    assert client.node.count_publishers(f"{client.namespace}/detections") == 0
    assert client.transition("configure")
    assert client.state() == "inactive"
    assert client.images.get_subscription_count() == 0
    for _ in range(2):
        assert client.transition("activate")
        assert client.state() == "active"
        client.connected()
        client.ask(image_message(scene, "mono16"))
        assert client.transition("deactivate")
        client.until(lambda: client.images.get_subscription_count() == 0, "the end of the subscription")
    assert client.transition("cleanup")
    assert client.state() == "unconfigured"
    client.until(
        lambda: client.node.count_publishers(f"{client.namespace}/detections") == 0, "the end of the publisher"
    )
    assert client.transition("configure")
    assert client.transition("activate")
    client.connected()
    client.ask(image_message(scene, "mono16"))
    assert client.transition("active_shutdown")
    assert client.state() == "finalized"


def test_a_transition_that_is_not_possible_is_refused_and_the_node_lives(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(autostart=False)
    assert not client.transition("activate")
    assert client.transition("configure")
    assert client.transition("activate")
    client.connected()
    assert not client.transition("activate")
    assert not client.transition("configure")
    assert not client.transition("cleanup")
    assert client.state() == "active"
    client.ask(image_message(scene, "mono16"))


@pytest.mark.parametrize("trouble", ["missing", "cut", "device", "class"])
def test_what_cannot_be_loaded_fails_configure_with_its_reason_and_a_good_one_is_taken_afterwards(
    trouble: str, start_detector: Any, client: Any, image_message: Any, scene: Any, tiny_model: Path, tmp_path: Path
) -> None:
    good: dict[str, Any] = {"model": str(tiny_model)}
    bad: dict[str, Any] = {
        "missing": {"model": str(tmp_path / "none.safetensors")},
        "cut": {"model": str(tmp_path / "cut.safetensors")},
        "device": {"device": "cuda:77", "cpu_fallback": False},
        "class": {"class_thresholds": ["unicorn:0.5"]},
    }[trouble]
    reason = {
        "missing": "none.safetensors: model file is missing",
        "cut": "cut.safetensors: is not a whole safetensors file",
        "device": "device 'cuda:77'",
        "class": "'unicorn' is none of the model's classes",
    }[trouble]
    (tmp_path / "cut.safetensors").write_bytes(tiny_model.read_bytes()[:-100])
    node = start_detector(**{"autostart": False, **bad})
    assert not client.transition("configure")
    assert reason in node._log.last_error
    assert "\n" not in node._log.last_error
    assert client.state() == "unconfigured"
    good |= {"device": "cpu", "backend": "torch", "class_thresholds": ["person:0.2"]}
    assert client.set_parameters(**good) == (True, "")
    assert client.transition("configure")
    assert client.transition("activate")
    client.connected()
    client.ask(image_message(scene, "mono16"))


def test_thresholds_change_while_it_runs(start_detector: Any, client: Any, image_message: Any, scene: Any) -> None:
    start_detector(**EVERYTHING)

    def found() -> list[tuple[str, float]]:
        answer = client.ask(image_message(scene, "mono16"))
        hypotheses = [detection.results[0].hypothesis for detection in answer.detections]
        return [(hypothesis.class_id, hypothesis.score) for hypothesis in hypotheses]

    everything = found()
    assert len(everything) > 5
    assert client.set_parameters(max_detections=3) == (True, "")
    assert found() == everything[:3]
    assert client.set_parameters(max_detections=20, score_threshold=1.0) == (True, "")
    assert found() == []
    name = everything[0][0]
    assert client.set_parameters(class_thresholds=[f"{name}:0.0"]) == (True, "")
    only = found()
    assert only
    assert {class_id for class_id, _ in only} == {name}


def test_parameters_are_refused_with_a_reason_and_nothing_changes(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector()
    before, postprocess = node._config, node._pipeline.live.postprocess
    for values, reason in [
        ({"model": "/other.safetensors"}, "'model' can be set while the node is unconfigured only, it is active"),
        ({"device": "cuda"}, "'device' can be set while the node is unconfigured only"),
        ({"backend": "tensorrt"}, "backend"),
        ({"precision": "bf16"}, "'precision' can be set while the node is unconfigured only"),
        ({"raw_range": [1.0, 2.0]}, "'raw_range' can be set while the node is unconfigured only"),
        ({"score_threshold": 1.5}, "out of range"),
        ({"score_threshold": -0.5}, "must lie in 0 to 1, or be -1"),
        ({"score_threshold": "high"}, "Wrong parameter type"),
        ({"class_thresholds": ["person"]}, "'person' must be a class and a threshold in 0 to 1, such as person:0.3"),
        ({"class_thresholds": ["unicorn:0.5"]}, "'unicorn' is none of the model's classes"),
        ({"max_detections": -1}, "out of range"),
        ({"autostart": False}, "read-only"),
        ({"overlay__scale": 9.0}, "out of range"),
        ({"score_threshold": 0.5, "nms_iou": 0.2, "class_thresholds": ["unicorn:0.5"]}, "'unicorn'"),
    ]:
        successful, why = client.set_parameters(**values)
        assert not successful, values
        assert reason in why
    assert node._config == before
    assert node._pipeline.live.postprocess == postprocess
    assert client.set_parameters(model=before.model) == (True, "")  # as it is: nothing to refuse
    client.ask(image_message(scene, "mono16"))


def test_the_thresholds_of_the_model_hold_until_others_are_given(start_detector: Any, client: Any) -> None:
    pipeline = start_detector()._pipeline
    own = pipeline.inference.predictor.info.postprocess
    assert pipeline.live.postprocess == own
    assert client.set_parameters(score_threshold=0.35) == (True, "")
    assert pipeline.live.postprocess == own.model_copy(update={"score_threshold": 0.35, "class_thresholds": {}})
    assert client.set_parameters(score_threshold=-1.0, class_thresholds=["person:0.2"]) == (True, "")
    assert pipeline.live.postprocess.class_thresholds == {"car": 0.4, "person": 0.2}
    assert client.set_parameters(class_thresholds=[]) == (True, "")
    assert pipeline.live.postprocess == own


def test_settings_that_change_in_the_middle_of_a_frame_are_for_the_next_one_altogether(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    from sensor_msgs.msg import Image

    node = start_detector(overlay__scale=1.0, **EVERYTHING)
    pictures: list[Image] = []
    subscription = client.node.create_subscription(Image, "overlay", pictures.append, 5)
    client.until(lambda: node._pipeline.outputs._overlay.get_subscription_count() == 1, "the overlay's subscription")
    inference = node._pipeline.inference
    predict, entered, go_on = inference.predict, threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:  # the real one, made to wait
        entered.set()
        assert go_on.wait(20)
        return predict(*arguments)

    inference.predict = held
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
    client.node.destroy_subscription(subscription)


def test_label_info_reaches_late_subscribers_and_comes_again_with_another_threshold(
    start_detector: Any, client: Any
) -> None:
    start_detector()
    topic = f"{client.namespace}/label_info"
    first, second = client.newest(LabelInfo, topic, 2, lambda: client.set_parameters(score_threshold=0.5))
    assert [(entry.class_id, entry.class_name) for entry in first.class_map] == [
        (0, "person"),
        (1, "bicycle"),
        (2, "car"),
    ]
    assert first.threshold == pytest.approx(0.3)
    assert second.threshold == pytest.approx(0.5)
    (info,) = client.newest(VisionInfo, f"{client.namespace}/vision_info", 1)
    assert info.database_location == topic
    assert "tiny.safetensors" in info.method


def test_class_id_may_be_the_number_of_label_info(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(class_id="index", **EVERYTHING)
    answer = client.ask(image_message(scene, "mono16"))
    class_ids = {detection.results[0].hypothesis.class_id for detection in answer.detections}
    assert class_ids
    assert class_ids <= {"0", "1", "2"}


def test_the_overlay_is_drawn_for_those_who_listen_with_the_header_of_the_image(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    from sensor_msgs.msg import Image

    node = start_detector(overlay__scale=2.0, **EVERYTHING)
    heard: list[Image] = []
    client.ask(image_message(scene, "mono16"))
    subscription = client.node.create_subscription(Image, "overlay", heard.append, 5)
    client.until(lambda: node._pipeline.outputs._overlay.get_subscription_count() == 1, "the overlay's subscription")
    message = image_message(scene, "mono16")
    client.ask(message)
    client.until(lambda: any(picture.header == message.header for picture in heard), "the overlay")
    picture = heard[-1]
    assert (picture.encoding, picture.height, picture.width, picture.step) == ("rgb8", 128, 192, 576)
    rgb = np.frombuffer(picture.data, np.uint8).reshape(128, 192, 3)
    assert (rgb.max(axis=2) != rgb.min(axis=2)).any(), "no box in colour"
    client.node.destroy_subscription(subscription)


def test_the_overlay_is_compressed_for_those_who_ask_for_that_and_its_quality_is_live(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    import cv2
    from sensor_msgs.msg import CompressedImage, Image

    node = start_detector(overlay__scale=1.0, **EVERYTHING)
    pictures: dict[str, list[Any]] = {"raw": [], "compressed": []}
    raw = client.node.create_subscription(Image, "overlay", pictures["raw"].append, 5)
    jpeg = client.node.create_subscription(CompressedImage, "overlay/compressed", pictures["compressed"].append, 5)
    outputs = node._pipeline.outputs
    client.until(
        lambda: outputs._overlay.get_subscription_count() == outputs._overlay_jpeg.get_subscription_count() == 1,
        "the subscriptions",
    )
    sizes = []
    for number, quality in enumerate((95, 5), 1):
        assert client.set_parameters(overlay__jpeg_quality=quality) == (True, "")
        message = image_message(scene, "mono16")
        client.ask(message)
        client.until(lambda number=number: all(len(heard) == number for heard in pictures.values()), "the pictures")
        picture = pictures["compressed"][-1]
        assert picture.header == message.header
        assert picture.format == "rgb8; jpeg compressed bgr8"
        decoded = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        expected = np.frombuffer(pictures["raw"][-1].data, np.uint8).reshape(64, 96, 3)
        if quality == 95:
            assert np.abs(decoded.astype(int) - expected).mean() < 25  # colours are halved, and boxes are thin
        sizes.append(len(picture.data))
    assert sizes[1] < sizes[0] / 2
    client.node.destroy_subscription(raw)
    client.node.destroy_subscription(jpeg)


def test_an_overlay_that_nobody_watches_is_not_drawn(
    start_detector: Any, client: Any, image_message: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cgdet_ros.node import pipeline

    monkeypatch.setattr(pipeline, "draw_overlay", lambda *arguments: pytest.fail("drawn for nobody"))
    node = start_detector()
    for _ in range(3):
        client.ask(image_message(scene, "mono16"))
    assert client.counts_of(node).failed == 0


def test_the_same_frame_gives_the_same_detections_in_the_same_order_best_first(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(score_threshold=0.0, max_detections=200)
    answers = [client.ask(image_message(scene, "mono16")) for _ in range(4)]
    first = [(detection.bbox, detection.results) for detection in answers[0].detections]
    assert len(first) > 50
    scores = [results[0].hypothesis.score for _, results in first]
    assert scores == sorted(scores, reverse=True)
    for answer in answers[1:]:
        assert [(detection.bbox, detection.results) for detection in answer.detections] == first


def test_an_overlay_that_cannot_be_drawn_leaves_its_frame_answered_and_nothing_failed(
    start_detector: Any, client: Any, image_message: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sensor_msgs.msg import Image

    from cgdet_ros.node import pipeline

    asked = threading.Event()

    def refuse(*arguments: Any) -> Any:
        asked.set()
        raise MemoryError("no room for a picture")

    monkeypatch.setattr(pipeline, "draw_overlay", refuse)
    node = start_detector(diagnostics__period_s=0.0)
    subscription = client.node.create_subscription(Image, "overlay", lambda picture: None, 5)
    client.until(lambda: node._pipeline.outputs._overlay.get_subscription_count() == 1, "the overlay's subscription")
    for _ in range(2):
        client.ask(image_message(scene, "mono16"))
    assert asked.wait(20)
    counts = client.counts_of(node)
    assert (counts.received, counts.answered, counts.failed, counts.refused) == (2, 2, 0, 0)
    client.node.destroy_subscription(subscription)


def test_what_fails_after_an_answer_neither_loses_it_nor_is_taken_for_a_failing_gpu(
    start_detector: Any, client: Any, image_message: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start_detector(diagnostics__period_s=0.0)
    pipeline = node._pipeline
    monkeypatch.setattr(pipeline.inference.predictor, "device", "cuda:0")

    def refuse(*arguments: Any) -> Any:
        raise MemoryError("no room to look")

    monkeypatch.setattr(pipeline._watch, "look", refuse)
    for _ in range(2):
        client.ask(image_message(scene, "mono16"))
    counts = client.counts_of(node)
    assert (counts.received, counts.answered, counts.failed) == (2, 2, 0)
    assert node._log.last_error == "MemoryError: no room to look"
    monkeypatch.setattr(node._pipeline.outputs, "publish_detections", refuse)
    client.send(image_message(scene, "mono16"))
    client.until(lambda: counts.failed == 1, "the failure")
    client.counts_of(node)
    assert pipeline.fallback == ""


def test_it_pauses_and_goes_on_without_a_transition(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    from std_srvs.srv import SetBool

    start_detector()
    service = f"{client.namespace}/thermal_detector/enable"
    assert client.call(SetBool, service, SetBool.Request(data=False)).success
    client.until(lambda: client.images.get_subscription_count() == 0, "the pause")
    assert client.state() == "active"
    assert client.call(SetBool, service, SetBool.Request(data=True)).success
    client.connected()
    client.ask(image_message(scene, "mono16"))


def test_a_pause_outlasts_transitions_and_what_cannot_be_enabled_is_told(
    start_detector: Any, client: Any, image_message: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from std_srvs.srv import SetBool

    node = start_detector(autostart=False)
    service = f"{client.namespace}/thermal_detector/enable"
    assert client.call(SetBool, service, SetBool.Request(data=False)).message == "paused, unconfigured"
    for transition in ("configure", "activate"):
        assert client.transition(transition)
    assert client.images.get_subscription_count() == 0
    listen = node._listen

    def fail() -> None:
        raise ValueError("depth -1 is none")

    monkeypatch.setattr(node, "_listen", fail)
    answer = client.call(SetBool, service, SetBool.Request(data=True))
    assert (answer.success, answer.message) == (False, "paused, active: ValueError: depth -1 is none")
    monkeypatch.setattr(node, "_listen", listen)
    assert client.call(SetBool, service, SetBool.Request(data=True)).message == "enabled, active"
    client.connected()
    client.ask(image_message(scene, "mono16"))


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


def others(client: Any) -> list[tuple[str, str]]:
    """Name and namespace of every node in the graph."""
    return list(client.node.get_node_names_and_namespaces())


def test_several_nodes_in_one_process_and_executor_do_not_disturb_each_other(
    client: Any, tiny_model: Path, image_message: Any, scene: Any
) -> None:
    from rclpy.executors import MultiThreadedExecutor
    from rclpy.parameter import Parameter

    from cgdet_ros.node.detector_node import DetectorNode

    model = Parameter("model", value=str(tiny_model))
    nodes = [DetectorNode(namespace=space, parameter_overrides=[model]) for space in (client.namespace, "/other_one")]
    executor = MultiThreadedExecutor(3)
    thread = threading.Thread(target=executor.spin, daemon=True)
    for node in nodes:
        node.start()
        executor.add_node(node)
    thread.start()
    try:
        client.connected()
        before = client.ask(image_message(scene, "mono16")).detections
        executor.remove_node(nodes[1])
        nodes[1].close()
        after = client.ask(image_message(scene, "mono16")).detections
        assert [found.bbox for found in after] == [found.bbox for found in before]
        assert client.counts_of(nodes[0]).answered == 2
        client.until(lambda: ("thermal_detector", "/other_one") not in others(client), "the end of the other")
        nodes[1].close()  # as often as one likes
    finally:
        executor.shutdown(timeout_sec=5)
        thread.join(5)
        nodes[0].close()


def test_a_node_whose_parameters_are_none_is_not_left_in_the_graph(client: Any) -> None:
    from rclpy.parameter import Parameter

    from cgdet_core.errors import InputError
    from cgdet_ros.node.detector_node import DetectorNode

    with pytest.raises(InputError, match="class_thresholds"):
        DetectorNode(namespace=client.namespace, parameter_overrides=[Parameter("class_thresholds", value=["x"])])
    client.until(lambda: ("thermal_detector", client.namespace) not in others(client), "the end of the node")


def test_diagnostics_name_the_silent_topic_and_then_count(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    heard: list[Any] = []
    name = f"{client.namespace}/thermal_detector"

    def keep(message: DiagnosticArray) -> None:
        heard.extend(status for status in message.status if status.name == name)

    subscription = client.node.create_subscription(DiagnosticArray, "/diagnostics", keep, 10)
    node = start_detector(diagnostics__period_s=0.1)
    client.until(lambda: bool(heard), "a report")
    assert heard[0].level == DiagnosticStatus.WARN
    assert heard[0].message.startswith(f"no image yet on {client.namespace}/image")
    client.ask(image_message(scene, "mono16"))

    def detecting() -> bool:
        return (heard[-1].level, heard[-1].message) == (DiagnosticStatus.OK, "detecting")

    def latest() -> dict[str, str]:
        return {value.key: value.value for value in heard[-1].values}

    # a report between the image and its answer says detecting too
    client.until(lambda: latest()["answered"] == "1", "a report of the answer")
    assert detecting(), heard[-1].message
    values = latest()
    assert values["device"] == "cpu"
    assert values["precision"] == node._pipeline.inference.predictor.precision
    assert values["state"] == "active"
    client.until(lambda: node._log.seconds_without_image() > 0.2, "two reports without a frame")
    assert detecting(), heard[-1].message
    refused = image_message(scene, "mono16")
    refused.encoding = "yuv422"
    client.send(refused)
    client.until(lambda: heard[-1].level == DiagnosticStatus.ERROR, "a report of the refusal")
    assert "1 frames refused" in heard[-1].message
    assert "encoding 'yuv422'" in heard[-1].message
    client.ask(image_message(scene, "mono16"))
    client.until(detecting, "a report of detecting")
    client.node.destroy_subscription(subscription)


def test_quality_of_service_can_be_overridden_by_the_standard_parameters(start_detector: Any, client: Any) -> None:
    from rclpy.qos import ReliabilityPolicy

    topic = f"{client.namespace}/image"
    start_detector(**{f"qos_overrides.{topic}.subscription.reliability": "reliable"})
    (info,) = client.node.get_subscriptions_info_by_topic(topic)
    assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE


def test_an_override_of_quality_of_service_that_overrides_nothing_is_named(client: Any, tiny_model: Path) -> None:
    from rclpy.parameter import Parameter

    from cgdet_ros.node.detector_node import DetectorNode
    from cgdet_ros.node.parameters import idle_qos_overrides

    base = client.namespace
    good = {
        f"{base}/image.subscription.depth": 3,
        f"{base}/image/compressed.subscription.reliability": "reliable",
        f"{base}/detections.publisher.history": "keep_last",
        "/clock.subscription.depth": 2,
    }
    idle = {
        "/image.subscription.depth": 3,  # not the full name
        "/parameter_events.publisher.depth": 10,  # rclpy's own, which it does not let override
        f"{base}/image.subscription.deadline": 5,
        f"{base}/image.publisher.depth": 3,
        f"{base}/image/compressed.subscription.relyability": "reliable",
        f"{base}/detections.publisher.reliabilty": "best_effort",
    }
    overrides = [Parameter(f"qos_overrides.{name}", value=value) for name, value in (good | idle).items()]
    node = DetectorNode(namespace=base, parameter_overrides=[Parameter("model", value=str(tiny_model)), *overrides])
    try:
        node.start()
        assert node.state == "active"
        found = idle_qos_overrides(node, [f"{base}/image", f"{base}/image/compressed"])
        assert found == sorted(f"qos_overrides.{name}" for name in idle)
    finally:
        node.close()


@pytest.mark.parametrize("depth", [0, -1])
def test_an_override_to_a_queue_that_holds_nothing_is_refused_by_name(
    client: Any, tiny_model: Path, capfd: pytest.CaptureFixture[str], depth: int
) -> None:
    from rclpy.parameter import Parameter

    from cgdet_ros.node.detector_node import DetectorNode

    override = Parameter(f"qos_overrides.{client.namespace}/image.subscription.depth", value=depth)
    model = Parameter("model", value=str(tiny_model))
    node = DetectorNode(namespace=client.namespace, parameter_overrides=[model, override])
    try:
        node.start()
        assert node.state != "active"
    finally:
        node.close()
    assert f"depth {depth} holds no message: give 1 or more" in capfd.readouterr().err


def test_images_are_taken_best_effort_and_detections_given_reliably(start_detector: Any, client: Any) -> None:
    from rclpy.qos import ReliabilityPolicy

    start_detector()
    (images,) = client.node.get_subscriptions_info_by_topic(f"{client.namespace}/image")
    (answers,) = client.node.get_publishers_info_by_topic(f"{client.namespace}/detections")
    assert images.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert answers.qos_profile.reliability == ReliabilityPolicy.RELIABLE
