"""Two tiny detectors of different random weights, as model files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cgdet_core.config import ModelConfig
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.tasks.detection.head import DetectionNetwork


@pytest.fixture(scope="session")
def untrained_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    config = ModelConfig(widths=(8, 8, 16, 16, 16), head_width=8, input_height_width_px=(64, 96))
    folder = tmp_path_factory.mktemp("models")
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        paths.append(folder / f"model{seed}.safetensors")
        save_model(paths[-1], DetectionNetwork(config), ModelInfo(model=config))
    return paths[0], paths[1]
