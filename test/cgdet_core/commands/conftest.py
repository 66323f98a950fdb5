"""A tiny model and a tiny set for the tests of this folder that have none of their own."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cgdet_core.config import ModelConfig
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.tasks.detection.head import Detector

SIZE = (64, 96)
TINY = ModelConfig(widths=(8, 8, 16, 16, 16), head_width=8, input_height_width_px=SIZE)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    save_model(path, Detector(TINY), ModelInfo(model=TINY))
    return path


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Three frames with a bright person in each."""
    folder = tmp_path / "set"
    folder.mkdir()
    images, annotations = [], []
    for number in range(1, 4):
        frame = np.random.default_rng(number).integers(20, 60, SIZE).astype(np.uint8)
        frame[10:40, 20:32] = 220
        cv2.imwrite(str(folder / f"{number:05d}.png"), frame)
        images.append({"id": number, "file_name": f"{number:05d}.png", "height": SIZE[0], "width": SIZE[1]})
        box = {"bbox": [20, 10, 12, 30], "area": 360, "iscrowd": 0}
        annotations.append({"id": number, "image_id": number, "category_id": 1, **box})
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}, {"id": 3, "name": "car"}]
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
