"""Every labelled frame goes through the predictor, down to the evaluation's score floor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cgdet_core.config import ModelConfig, PostprocessConfig
from cgdet_core.errors import InputError
from cgdet_core.evaluation.detection import DETECTION
from cgdet_core.evaluation.offline import run_in_turns
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.tasks.detection.head import DetectionNetwork
from cgdet_core.types import Frame, GroundTruth, Sample

TINY = ModelConfig(widths=(8, 8, 16, 16, 16), head_width=8, input_height_width_px=(64, 96))


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    own = PostprocessConfig(score_threshold=0.5, class_thresholds={"car": 0.9})
    save_model(path, DetectionNetwork(TINY), ModelInfo(model=TINY, postprocess=own))
    return Predictor(path, "cpu", "fp32", backend="torch")


def frames(count: int = 3) -> list[np.ndarray]:
    return [np.random.default_rng(seed).integers(0, 256, (60, 96)).astype(np.uint8) for seed in range(count)]


def samples(images: list[np.ndarray], truth: GroundTruth | None) -> list[Sample]:
    return [Sample(f"{number}", Frame(image), truth) for number, image in enumerate(images)]


def test_detections_below_the_thresholds_count_and_frames_without_labels_are_counted(predictor: Predictor) -> None:
    mixed = [*samples(frames(2), None), *samples(frames(3), GroundTruth.empty())]
    (run,) = run_in_turns([DETECTION.look_with(predictor)], mixed)
    assert (len(run.frames), run.unlabelled, len(run.stage_ms["total"])) == (3, 2, 3)
    scores = np.concatenate([frame.detections.scores for frame in run.frames])
    assert 0.001 <= scores.min() < 0.5
    with pytest.raises(InputError, match="2 frames"):
        run_in_turns([DETECTION.look_with(predictor)], samples(frames(2), None))


@pytest.mark.parametrize("rows", [2, -2])
def test_telemetry_rows_change_nothing_but_the_place_of_the_boxes(predictor: Predictor, rows: int) -> None:
    telemetry = np.full((2, 96), 255, np.uint8)
    stacked = [np.vstack([image, telemetry] if rows > 0 else [telemetry, image]) for image in frames()]
    (plain,) = run_in_turns([DETECTION.look_with(predictor)], samples(frames(), GroundTruth.empty()))
    look = DETECTION.look_with(predictor, telemetry_rows=rows)
    (cut,) = run_in_turns([look], samples(stacked, GroundTruth.empty()))
    for one, other in zip(plain.frames, cut.frames, strict=True):
        moved = one.detections.boxes_xyxy_px + np.array([0, max(-rows, 0)] * 2, np.float32)
        np.testing.assert_allclose(other.detections.boxes_xyxy_px, moved, atol=1e-4)
        np.testing.assert_allclose(other.detections.scores, one.detections.scores, atol=1e-6)
