"""Tiny models and a tiny set for the tests of this folder, and the words with which a command is quick and exact."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cgdet_core.config import ModelConfig, PostprocessConfig
from cgdet_core.images import read_image
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.tasks.detection.head import DetectionNetwork

SIZE = (64, 96)
TINY = ModelConfig(widths=(8, 8, 16, 16, 16), head_width=8, input_height_width_px=SIZE)


@pytest.fixture(scope="session")
def exact() -> list[str]:
    """Nothing is converted for another library."""
    return ["--device", "cpu", "--precision", "fp32", "--backend", "torch", "--threads", "1"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """a, b: random detectors with scores from near 0 to near 1; animals: one of other classes."""
    folder = tmp_path_factory.mktemp("models")
    animals = TINY.model_copy(update={"class_names": ("cat", "dog", "car")})
    picture = torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(1))
    paths = []
    for seed, (name, config) in enumerate({"a": TINY, "b": TINY, "animals": animals}.items()):
        torch.manual_seed(seed)
        detector = DetectionNetwork(config).eval()
        last = [branch[2] for branch in detector.head.class_branches]
        with torch.no_grad():
            for layer in last:
                layer.bias.zero_()
            spread = detector(picture).class_logits.std()
            for layer in last:
                layer.weight.mul_(1.5 / spread)
        paths.append(folder / f"{name}.safetensors")
        save_model(paths[-1], detector, ModelInfo(model=config))
    return paths


@pytest.fixture
def model(models: list[Path], tmp_path: Path) -> Path:
    """A copy of a, which a test may damage."""
    return Path(shutil.copy(models[0], tmp_path / "model.safetensors"))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Six frames of six blocks, day and night by turns, with a bright person in each."""
    folder = tmp_path / "set"
    folder.mkdir()
    images, annotations = [], []
    for number in range(6):
        name = f"{number * 50:05d}.png"
        frame = np.random.default_rng(number).integers(20, 60, SIZE).astype(np.uint8)
        frame[10:40, 20:32] = 220
        cv2.imwrite(str(folder / name), frame)
        of_image = {"height": SIZE[0], "width": SIZE[1], "light": "night" if number % 2 else "day"}
        images.append({"id": number, "file_name": name, **of_image})
        box = {"bbox": [20, 10, 12, 30], "area": 360, "iscrowd": 0}
        annotations.append({"id": number, "image_id": number, "category_id": 1, **box})
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}, {"id": 3, "name": "car"}]
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


@pytest.fixture
def label_by(coco: Path) -> Callable[[Path], Path]:
    """Labels `coco` with the five detections of a model that have its highest scores, of which others find few."""

    def label(model: Path) -> Path:
        predictor = Predictor(model, "cpu", "fp32", backend="torch")
        predictor.postprocess = PostprocessConfig(score_threshold=0.001)
        document = json.loads(coco.read_text())
        document["annotations"] = []
        for image in document["images"]:
            found = predictor.predict(read_image(coco.parent / image["file_name"]))
            for box, class_id in list(zip(found.boxes_xyxy_px.tolist(), found.class_ids.tolist(), strict=True))[:5]:
                bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
                known = {"id": len(document["annotations"]), "image_id": image["id"], "category_id": class_id + 1}
                document["annotations"].append({**known, "bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": 0})
        coco.write_text(json.dumps(document))
        return coco

    return label
