"""A tiny detector that has really learned bright rectangles, as a model file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cgdet_core import thermal
from cgdet_core.config import LossConfig, ModelConfig, PostprocessConfig, ThermalConfig
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.tasks.detection.head import DetectionNetwork
from cgdet_core.tasks.detection.loss import detection_loss
from cgdet_core.tasks.detection.task import collate
from cgdet_core.types import GroundTruth

torch.set_num_threads(1)

INPUT_HEIGHT, INPUT_WIDTH = 64, 96
CONFIG = ModelConfig(
    widths=(8, 8, 16, 16, 16),
    depths=(0, 1, 0, 0),
    neck_depth=0,
    head_width=16,
    bins=8,
    class_names=("tall", "wide"),
    input_height_width_px=(INPUT_HEIGHT, INPUT_WIDTH),
)


def scene(rng: np.random.Generator, scale: int = 1) -> tuple[np.ndarray, GroundTruth]:
    """uint16 counts with noise and one tall and one wide rectangle, `scale` times the network's input."""
    height, width = INPUT_HEIGHT * scale, INPUT_WIDTH * scale
    frame = rng.normal(7000, 20, (height, width))
    boxes = []
    for class_id, (box_width, box_height) in enumerate(((14, 28), (28, 14))):
        left = class_id * 48 + int(rng.integers(2, 46 - box_width))
        top = int(rng.integers(2, 62 - box_height))
        box = np.array([left, top, left + box_width, top + box_height]) * scale
        frame[box[1] : box[3], box[0] : box[2]] += 600
        boxes.append(box)
    return frame.astype(np.uint16), GroundTruth(np.array(boxes), np.array([0, 1]), np.zeros(2, bool))


def learn() -> DetectionNetwork:
    torch.manual_seed(0)
    detector = DetectionNetwork(CONFIG)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=8e-3)
    rng = np.random.default_rng(0)
    steps = 160
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 8e-3 * (1 - step / steps)
        frames, truths = [], []
        for _ in range(6):
            frame, truth = scene(rng)
            frames.append(thermal.normalise(frame, ThermalConfig()))
            truths.append(truth)
        images = torch.from_numpy(np.stack(frames))[:, None]
        loss = sum(detection_loss(detector(images), collate(truths, 2), LossConfig()).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return detector.eval()


@pytest.fixture(scope="session")
def learned_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file; it finds what `scene` draws, in frames of 64x96."""
    path = tmp_path_factory.mktemp("model") / "learned.safetensors"
    info = ModelInfo(
        model=CONFIG, postprocess=PostprocessConfig(score_threshold=0.3), scores={"map": 0.5}, training={"seed": 0}
    )
    save_model(path, learn(), info)
    return path


@pytest.fixture(scope="session")
def draw_scene():  # type: ignore[no-untyped-def]
    return scene


@pytest.fixture(scope="session")
def learned_onnx(learned_model: Path) -> Path:
    """Its export, in a folder of its own."""
    from cgdet_core.runtime.export import write_export
    from cgdet_core.runtime.model_file import read_description

    path = learned_model.parent / "export" / "learned.onnx"
    path.parent.mkdir()
    write_export(learned_model, path, read_description(learned_model))
    return path
