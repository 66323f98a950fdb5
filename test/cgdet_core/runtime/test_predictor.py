"""Raw frame in, detections out: against each step done by hand, and on scenes that the model has learned."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import cgdet_core
from cgdet_core.config import PostprocessConfig, ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.model.blocks import fuse
from cgdet_core.runtime.backends.torch import TorchBackend
from cgdet_core.runtime.model_file import load_model, save_model
from cgdet_core.runtime.predictor import Predictor, check_thresholds

Scene = Callable[..., tuple[np.ndarray, object]]


def plain_toned(frame: np.ndarray) -> np.ndarray:
    """Percentiles 0.5 and 99.8 by sorting, then a line between them."""
    counts = np.sort(frame.reshape(-1)).astype(np.float64)
    low, high = (counts[max(1, math.ceil(counts.size * percent / 100)) - 1] for percent in (0.5, 99.8))
    least = 8.0 if frame.dtype == np.uint8 else 64.0
    if high - low < least:
        low, high = (low + high) / 2 - least / 2, (low + high) / 2 + least / 2
    return np.clip((frame - low) / (high - low), 0, 1).astype(np.float32)


def plain_detections(
    model: Path, frame: np.ndarray, score: float, nms_iou: float
) -> list[tuple[list[float], float, int]]:
    """Tone, letterbox, unfused network, decoding, greedy suppression and the way back, in this order."""
    detector, info = load_model(model)
    height, width = info.input_height_width_px
    scale = min(height / frame.shape[0], width / frame.shape[1])
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    toned = plain_toned(frame)
    if scale != 1:
        toned = cv2.resize(toned, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = torch.zeros(1, 1, height, width)
    canvas[0, 0, : size[1], : size[0]] = torch.from_numpy(toned)
    with torch.no_grad():
        output = detector(canvas)
    bins = np.arange(output.box_logits.shape[-1])
    shares = output.box_logits[0].double().softmax(-1).numpy()
    candidates = []
    for cell, ((x, y), stride) in enumerate(
        zip(output.centres_xy_px.tolist(), output.strides_px.tolist(), strict=True)
    ):
        left, top, right, bottom = (shares[cell] * bins).sum(1) * stride
        for class_id, logit in enumerate(output.class_logits[0, cell].tolist()):
            probability = 1 / (1 + math.exp(-logit))
            if probability >= score:
                candidates.append(([x - left, y - top, x + right, y + bottom], probability, class_id))
    kept: list[tuple[list[float], float, int]] = []
    for box, probability, class_id in sorted(candidates, key=lambda c: -c[1]):
        if all(k[2] != class_id or overlap(k[0], box) <= nms_iou for k in kept):
            kept.append((box, probability, class_id))
    result = []
    for box, probability, class_id in kept:
        limits = (frame.shape[1], frame.shape[0]) * 2
        scales = (size[0] / frame.shape[1], size[1] / frame.shape[0]) * 2
        cut = [min(max(side / by, 0), limit) for side, by, limit in zip(box, scales, limits, strict=True)]
        if cut[2] > cut[0] and cut[3] > cut[1]:
            result.append((cut, probability, class_id))
    return result


def overlap(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


@pytest.fixture(scope="module")
def predictor(learned_model: Path) -> Predictor:
    return Predictor(learned_model, device="cpu", precision="fp32", backend="torch")


@pytest.mark.parametrize(
    "shape", [(64, 96), (128, 192), (60, 96), (64, 50), (32, 48), (200, 100), (100, 131), (30, 200)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_size_of_frame_gives_what_the_steps_by_hand_give(
    predictor: Predictor, learned_model: Path, shape: tuple[int, int], dtype: type
) -> None:
    rng = np.random.default_rng(shape[0])
    frame = rng.normal(100, 8, shape)
    frame[shape[0] // 4 : shape[0] * 3 // 4, shape[1] // 3 : shape[1] // 2] += 90
    frame = (frame * (1 if dtype == np.uint8 else 20)).clip(0, np.iinfo(dtype).max).astype(dtype)
    score, expected = 0.01, []
    while not expected:  # how sure the network is of what it never learned differs from CPU to CPU
        score /= 10
        expected = plain_detections(learned_model, frame, score, 0.5)
    found = predictor.predict(frame, postprocess=PostprocessConfig(score_threshold=score, nms_iou=0.5))
    assert found.class_ids.tolist() == [class_id for _, _, class_id in expected]
    np.testing.assert_allclose(found.scores, [score for _, score, _ in expected], atol=1e-4)
    np.testing.assert_allclose(found.boxes_xyxy_px, [box for box, _, _ in expected], atol=0.02)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_learned_objects_are_found_in_pixels_of_their_own_frame(
    predictor: Predictor, draw_scene: Scene, scale: int
) -> None:
    rng = np.random.default_rng(100)
    for _ in range(4):
        frame, truth = draw_scene(rng, scale)
        found = predictor.predict(frame)
        best = [int(np.argmax(found.class_ids == class_id)) for class_id in (0, 1)]
        assert set(found.class_ids) == {0, 1}
        np.testing.assert_allclose(found.boxes_xyxy_px[best], truth.boxes_xyxy_px, atol=4 * scale)  # type: ignore[attr-defined]


@pytest.mark.parametrize("rows", [7, -7])
def test_telemetry_rows_are_no_picture_and_shift_the_boxes(predictor: Predictor, draw_scene: Scene, rows: int) -> None:
    frame, _ = draw_scene(np.random.default_rng(102))
    telemetry = np.random.default_rng(0).integers(0, 65536, (abs(rows), frame.shape[1])).astype(np.uint16)
    whole = np.concatenate([frame, telemetry] if rows > 0 else [telemetry, frame])
    bare, found = predictor.predict(frame), predictor.predict(whole, telemetry_rows=rows)
    assert len(bare) >= 2
    assert (found.scores == bare.scores).all()
    shift = 0 if rows > 0 else 7
    np.testing.assert_allclose(found.boxes_xyxy_px, bare.boxes_xyxy_px + np.array([0, shift, 0, shift]), atol=1e-4)
    with pytest.raises(InputError, match="telemetry_rows"):
        predictor.predict(frame, telemetry_rows=64)


def test_a_grey_picture_in_three_channels_is_seen_as_grey(predictor: Predictor, draw_scene: Scene) -> None:
    frame, _ = draw_scene(np.random.default_rng(103))
    grey = ((frame.astype(float) - 6900) / 4).clip(0, 255).astype(np.uint8)
    single = predictor.predict(grey)
    colour = predictor.predict(np.repeat(grey[:, :, None], 3, axis=2))
    assert len(single) >= 2
    assert (single.boxes_xyxy_px == colour.boxes_xyxy_px).all()
    assert (single.scores == colour.scores).all()


def test_the_network_sees_the_canvas_of_the_thermal_module_bit_for_bit(predictor: Predictor, draw_scene: Scene) -> None:
    frame, _ = draw_scene(np.random.default_rng(104))
    seen = []
    assert isinstance(predictor._network, TorchBackend)
    handle = predictor._network.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    try:
        predictor.predict(frame[:60])
    finally:
        handle.remove()
    expected = np.zeros((64, 96), np.float32)
    expected[:60] = plain_toned(frame[:60])
    assert seen[0].shape == (1, 1, 64, 96)
    np.testing.assert_allclose(seen[0][0, 0].numpy(), expected, atol=1e-6)


def test_a_frame_is_only_read_wherever_its_rows_lie(predictor: Predictor, draw_scene: Scene) -> None:
    frame, _ = draw_scene(np.random.default_rng(105))
    wide = np.zeros((64, 192), np.uint16)
    wide[:, ::2] = frame
    before = frame.copy()
    frame.flags.writeable = False
    expected = predictor.predict(frame)
    for same in (frame, wide[:, ::2]):
        found = predictor.predict(same)
        assert found.boxes_xyxy_px.tobytes() == expected.boxes_xyxy_px.tobytes()
        assert found.scores.tobytes() == expected.scores.tobytes()
    assert (frame == before).all()


def test_boxes_that_lie_in_the_padding_alone_are_no_detections(predictor: Predictor) -> None:
    everything = PostprocessConfig(score_threshold=0, nms_iou=1, max_detections=10000, max_candidates=10000)
    frame = np.random.default_rng(1).integers(0, 255, (64, 96), dtype=np.uint8)
    cells_and_classes = 2 * (8 * 12 + 4 * 6 + 2 * 3)
    for picture in (frame, frame[:10], frame[:, :10]):
        found = predictor.predict(picture, postprocess=everything)
        assert (found.boxes_xyxy_px[:, 2:] > found.boxes_xyxy_px[:, :2]).all()
        assert (len(found) == cells_and_classes) == (picture is frame)


def test_what_is_no_image_is_refused_and_the_next_frame_is_fine(predictor: Predictor, draw_scene: Scene) -> None:
    for shape, dtype in (((64, 96), np.float32), ((0, 96), np.uint8), ((64, 96, 4), np.uint8), ((5,), np.uint8)):
        with pytest.raises(InputError):
            predictor.predict(np.zeros(shape, dtype))
    assert len(predictor.predict(np.full((64, 96), 255, np.uint8))) == 0
    assert len(predictor.predict(draw_scene(np.random.default_rng(107))[0])) >= 2


@pytest.mark.parametrize("level", [0, 2])
def test_a_network_that_overflows_is_refused_by_its_file_and_precision(
    learned_model: Path, draw_scene: Scene, tmp_path: Path, level: int
) -> None:
    detector, info = load_model(learned_model)
    with torch.no_grad():
        detector.head.class_branches[level][-1].weight.fill_(3e38)
    save_model(tmp_path / "hot.safetensors", detector, info)
    hot = Predictor(tmp_path / "hot.safetensors", device="cpu", precision="fp32", backend="torch")
    with pytest.raises(InputError, match=r"hot\.safetensors.*fp32"):
        hot.predict(draw_scene(np.random.default_rng(110))[0])


def test_settings_given_with_a_frame_hold_for_that_frame_others_are_the_models(
    predictor: Predictor, learned_model: Path, draw_scene: Scene
) -> None:
    assert (predictor.postprocess, predictor.thermal) == (predictor.info.postprocess, predictor.info.thermal)
    assert predictor.postprocess.score_threshold == 0.3
    frame, _ = draw_scene(np.random.default_rng(108))
    usual = predictor.predict(frame)
    found = predictor.predict(frame, postprocess=PostprocessConfig(score_threshold=0.3, class_thresholds={"tall": 1.0}))
    assert set(usual.class_ids) == {0, 1}
    assert set(found.class_ids) == {1}
    best = predictor.predict(frame, postprocess=PostprocessConfig(score_threshold=0.3, max_detections=1))
    assert best.scores.tolist() == usual.scores[:1].tolist()
    assert predictor.predict(frame).scores.tolist() == usual.scores.tolist()
    other = Predictor(learned_model, device="cpu", precision="fp32", backend="torch")
    other.thermal = ThermalConfig(raw_range=(60000, 65000))  # far above the frame: everything is black
    assert len(other.predict(frame)) == 0
    with pytest.raises(InputError, match="'person'"):
        check_thresholds(PostprocessConfig(class_thresholds={"person": 0.5}), predictor.info.class_names)


def test_it_says_what_it_runs(predictor: Predictor, learned_model: Path) -> None:
    assert isinstance(predictor, cgdet_core.Detector)
    assert (predictor.device, predictor.precision, predictor.backend) == ("cpu", "fp32", "torch")
    assert predictor.model_sha256 == hashlib.sha256(learned_model.read_bytes()).hexdigest()
    predictor.warm_up()
    stages = predictor.last_stage_ms
    assert set(stages) == {"preprocess", "infer", "postprocess", "total"}
    assert all(value > 0 for value in stages.values())
    assert stages["total"] == pytest.approx(stages["preprocess"] + stages["infer"] + stages["postprocess"])


def test_the_fused_network_is_the_same_function(learned_model: Path) -> None:
    plain, _ = load_model(learned_model)
    fused = fuse(load_model(learned_model)[0])
    assert not [name for name in fused.state_dict() if "norm" in name]
    images = torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, got = plain(images), fused(images)
    torch.testing.assert_close(got.class_logits, expected.class_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.box_logits, expected.box_logits, atol=1e-4, rtol=1e-4)


def test_half_precision_finds_the_same_objects(learned_model: Path, predictor: Predictor, draw_scene: Scene) -> None:
    half = Predictor(learned_model, device="cpu", precision="bf16", backend="torch")
    assert half.precision == "bf16"
    for seed in range(4):
        frame, _ = draw_scene(np.random.default_rng(200 + seed))
        expected, found = predictor.predict(frame), half.predict(frame)
        for class_id in (0, 1):
            first = int(np.argmax(expected.class_ids == class_id))
            same = int(np.argmax(found.class_ids == class_id))
            assert found.class_ids[same] == class_id
            assert abs(found.scores[same] - expected.scores[first]) < 0.1
            assert overlap(found.boxes_xyxy_px[same].tolist(), expected.boxes_xyxy_px[first].tolist()) > 0.8


def test_a_list_of_frames_gives_what_each_gives_alone_and_is_drawn(predictor: Predictor, draw_scene: Scene) -> None:
    frames = [draw_scene(np.random.default_rng(1))[0], draw_scene(np.random.default_rng(2), 2)[0]]
    found = predictor(frames)
    assert len(found) == 2
    for together, frame in zip(found, frames, strict=True):
        alone = predictor(frame)
        assert len(alone) > 0
        assert np.array_equal(together.boxes_xyxy_px, alone.boxes_xyxy_px)
        assert np.array_equal(together.scores, alone.scores)
    assert predictor([]) == []
    drawn, plain = (predictor.draw(frames[0], each, scale=2) for each in (found[0], found[0].above(2)))
    assert drawn.shape == (128, 192, 3)
    x, y = (2 * found[0].boxes_xyxy_px[0, :2] + 1).astype(int)
    assert not np.array_equal(drawn[y : y + 2, x : x + 2], plain[y : y + 2, x : x + 2]), "a box starts there"
