"""The node's input over real DDS: compressed images, changing ones, clocks, gain and shutter."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")


EVERYTHING = {"score_threshold": 0.0001, "max_detections": 20}


def boxes_and_scores(answer: Any) -> list[tuple[float, ...]]:
    return [
        (
            detection.bbox.center.position.x,
            detection.bbox.center.position.y,
            detection.bbox.size_x,
            detection.bbox.size_y,
            detection.results[0].hypothesis.score,
        )
        for detection in answer.detections
    ]


def compressed_message(image_message: Any, pixels: Any, suffix: str, form: str) -> Any:
    """A CompressedImage with a new stamp; colour pixels are RGB."""
    from sensor_msgs.msg import CompressedImage

    stored = pixels[:, :, ::-1] if pixels.ndim == 3 else pixels
    header = image_message(np.zeros((1, 1), np.uint8), "mono8", frame_id="lens").header
    return CompressedImage(header=header, format=form, data=bytes(cv2.imencode(suffix, stored)[1]))


def test_a_16_bit_png_is_answered_as_the_raw_frame_is_and_a_jpeg_as_its_pixels_are(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(**EVERYTHING)
    eight_bits = ((scene - scene.min()) // 6).clip(0, 255).astype(np.uint8)
    jpeg_pixels = cv2.imdecode(cv2.imencode(".jpg", eight_bits)[1], cv2.IMREAD_UNCHANGED)
    expected = [
        boxes_and_scores(client.ask(image_message(pixels, encoding)))
        for pixels, encoding in ((scene, "mono16"), (eight_bits, "mono8"), (jpeg_pixels, "mono8"))
    ]
    client.compressed()
    client.reconfigure(image_transport="compressed")
    for pixels, suffix, form, boxes in (
        (scene, ".png", "mono16; png compressed ", expected[0]),
        (eight_bits, ".png", "mono8; png compressed ", expected[1]),
        (eight_bits, ".jpg", "mono8; jpeg compressed ", expected[2]),
    ):
        message = compressed_message(image_message, pixels, suffix, form)
        answer = client.ask(message)
        assert answer.header == message.header
        assert boxes_and_scores(answer) == boxes
        assert boxes


def test_a_compressed_image_that_is_none_is_refused_by_name_and_the_next_one_is_answered(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    client.compressed()
    node = start_detector(image_transport="compressed")
    good = compressed_message(image_message, scene, ".png", "png")
    for number, data in enumerate((b"", b"\x89PNG\r\n\x1a\n", bytes(good.data)[:-200], b"\xff\xd8\xff" + bytes(50)), 1):
        bad = compressed_message(image_message, scene, ".png", "16UC1; something")
        bad.data = data
        client.send(bad)
        client.until(lambda number=number: node._log.counts.refused == number, "the refusal")
        assert "format '16UC1; something' cannot be decoded" in node._log.last_error
    assert client.ask(good).header == good.header
    assert client.counts_of(node).answered == 1


def test_the_resolution_may_change_from_frame_to_frame_and_boxes_are_in_pixels_of_each(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(diagnostics__period_s=0.1, **EVERYTHING)
    twice = np.kron(scene, np.ones((2, 2), np.uint16))
    odd = np.ascontiguousarray(twice[:101, :75])
    small = boxes_and_scores(client.ask(image_message(scene, "mono16")))
    large = boxes_and_scores(client.ask(image_message(twice, "mono16")))
    # the network sees the same pixels, as two by two are averaged
    np.testing.assert_allclose(np.array(large)[:, :4], 2 * np.array(small)[:, :4], atol=0.01)
    for x, y, width, height, _ in boxes_and_scores(client.ask(image_message(odd, "mono16"))):
        assert -0.01 <= x - width / 2 <= x + width / 2 <= 75.01
        assert -0.01 <= y - height / 2 <= y + height / 2 <= 101.01
    assert boxes_and_scores(client.ask(image_message(scene, "mono16"))) == small
    _, _, values = client.report(lambda level, message, values: values["resolution_changes"] == "3", "the changes")
    assert values["image_kind"] == "96x64 mono16"


@pytest.mark.parametrize("rows", [2, -2])
def test_telemetry_rows_above_or_below_change_no_score_and_move_boxes_by_what_is_above(
    rows: int, start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(telemetry_rows=rows, **EVERYTHING)
    telemetry = np.arange(2 * scene.shape[1], dtype=np.uint16).reshape(2, -1) * 300
    stacked = np.concatenate([scene, telemetry] if rows > 0 else [telemetry, scene])
    with_rows = boxes_and_scores(client.ask(image_message(stacked, "mono16")))
    client.reconfigure(telemetry_rows=0)
    plain = boxes_and_scores(client.ask(image_message(scene, "mono16")))
    moved = 2 if rows < 0 else 0
    np.testing.assert_allclose(with_rows, np.add(plain, (0, moved, 0, 0, 0)), atol=1e-4)


def test_a_camera_by_its_name_cuts_its_telemetry_and_frames_that_it_does_not_give_are_warned_of(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector(diagnostics__period_s=0.1, camera="flir_lepton_3_footer", **EVERYTHING)
    whole = np.zeros((122, 160), np.uint16) + scene.min()
    whole[: scene.shape[0], : scene.shape[1]] = scene
    whole[120:] = 65535
    by_name = boxes_and_scores(client.ask(image_message(whole, "mono16")))
    client.report(lambda level, message, values: level == 0, "nothing is odd")
    client.ask(image_message(whole[:120], "mono16"))
    client.report(lambda level, message, values: level == 1 and "160x120 mono16" in message, "the other size")
    client.reconfigure(camera="", telemetry_rows=2)
    assert boxes_and_scores(client.ask(image_message(whole, "mono16"))) == by_name
    # what is given goes before the camera's
    client.reconfigure(camera="flir_lepton_3_header", telemetry_rows=2)
    assert boxes_and_scores(client.ask(image_message(whole, "mono16"))) == by_name
    assert by_name
    changed, _ = client.set_parameters(camera="flir_lepton_4")
    assert not changed
    assert node._config.camera == "flir_lepton_3_header"


def test_a_camera_that_freezes_goes_flat_or_jumps_is_warned_of_though_its_telemetry_goes_on(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(diagnostics__period_s=0.1, telemetry_rows=2, diagnostics__frozen_frames=3)

    def ask(pixels: Any, number: int) -> None:
        telemetry = np.full((2, scene.shape[1]), number, np.uint16)
        message = image_message(np.concatenate([pixels, telemetry]), "mono16")
        message.header.stamp.sec, message.header.stamp.nanosec = 5, number
        client.ask(message)

    def counted(answers: int, **counts: int) -> tuple[int, str]:
        level, message, _ = client.report(
            lambda level, message, values: (
                values["answered"] == str(answers) and all(values[name] == str(n) for name, n in counts.items())
            ),
            f"{answers} answers",
            since_asked=True,
        )
        return level, message

    for number in range(3):
        ask(scene, number)
    assert counted(3, frozen_frames=2) == (0, "detecting")
    ask(scene, 4)
    assert counted(4, frozen_frames=3) == (
        1,
        "frozen: the last 3 frames repeat their picture (the camera's shutter?)",
    )
    ask(np.full_like(scene, 21000), 5)
    level, message = counted(5, flat_frames=1)
    assert (level, message.partition(":")[0]) == (1, "flat")
    ask(scene + 1, 6)
    ask(scene + 9000, 7)
    level, message = counted(7, gain_jumps=1)
    assert (level, "gain jumped 1 times" in message) == (1, True)
    ask(scene + 9001, 8)
    assert counted(8) == (0, "detecting")


def test_with_simulated_time_ages_are_those_of_that_clock_and_a_jump_back_is_named(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    from rosgraph_msgs.msg import Clock

    clock = client.node.create_publisher(Clock, "/clock", 10)
    node = start_detector(use_sim_time=True, diagnostics__period_s=0.1)

    def at(clock_s: int, stamp_s: int) -> None:
        tick = Clock()
        tick.clock.sec = clock_s
        client.until(lambda: clock.get_subscription_count() > 0, "the clock's subscription")

        def arrived() -> bool:
            clock.publish(tick)
            return int(node.get_clock().now().nanoseconds) == clock_s * 10**9

        client.until(arrived, "the time")
        message = image_message(scene, "mono16")
        message.header.stamp.sec, message.header.stamp.nanosec = stamp_s, 750_000_000
        assert client.ask(message).header == message.header

    client.ask(image_message(scene, "mono16"))
    _, _, values = client.report(lambda level, message, values: "stamp_to_publish_ms" in values, "an answer's age")
    assert values["stamp_to_publish_ms"] == "no time has come on /clock yet"
    assert values["clock"] == "simulated"
    at(101, 100)
    _, _, values = client.report(lambda level, message, values: values["answered"] == "2", "an answer")
    assert values["stamp_to_publish_ms"] == "p50 250.00, p95 250.00, p99 250.00"
    at(51, 50)  # the bag starts again
    _, _, values = client.report(lambda level, message, values: values["answered"] == "3", "an answer")
    assert values["stamp_to_publish_ms"] == "p50 250.00, p95 250.00, p99 250.00"
    assert values["clock_jumps_back"] == "1"
    assert int(values["stamp_jumps_back"]) >= 1
    at(51, 900)
    _, _, values = client.report(lambda level, message, values: values["answered"] == "4", "an answer")
    assert values["stamp_to_publish_ms"] == "stamps of another clock: 849.8 s ahead of this node's, not averaged"
    assert values["foreign_stamps"] == "2"
