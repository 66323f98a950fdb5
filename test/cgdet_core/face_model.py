"""A tiny landmark network with sharp maps that nobody trained, and sets of drawn faces that are labelled by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from cgdet_core.config import LandmarkModelConfig, LandmarkPostprocessConfig
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.data.synthetic.faces.drawing import drawn_face
from cgdet_core.runtime.landmarks import LandmarkPredictor
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.tasks.landmarks.head import LandmarkNetwork
from cgdet_core.types import FloatArray, GroundTruth

CROP_PX = 64
TINY = LandmarkModelConfig(
    widths=(8, 8, 16, 16, 16), depths=(0, 1, 0, 0), head_width=16, input_height_width_px=(CROP_PX, CROP_PX)
)


def save_face_model(path: Path, seed: int = 0, sharpness: float = 2.5) -> Path:
    """sharpness: the deviation of the logits over a map."""
    torch.manual_seed(seed)
    network = LandmarkNetwork(TINY).eval()
    sample = drawn_face(0, CROP_PX)
    with torch.no_grad():
        network.head.leave.bias.zero_()
        picture = torch.from_numpy(sample.frame.image.astype(np.float32) / 255)[None, None]
        network.head.leave.weight.mul_(sharpness / network(picture).flatten(2).std(2).mean())
    save_model(path, network, ModelInfo(task="landmarks", model=TINY, postprocess=LandmarkPostprocessConfig()))
    return path


def open_faces(model: Path) -> LandmarkPredictor:
    return LandmarkPredictor(model, "cpu", "fp32", 1, "torch")


def save_faces(
    folder: Path, model: Path, moved_xy_px: Sequence[FloatArray], people: Sequence[str], cameras: Sequence[str]
) -> Path:
    """A COCO set with a drawn face for each of moved_xy_px [68, 2]: labelled where this model finds the points, moved
    by that; NaN is no label."""
    folder.mkdir()
    predictor, draft = open_faces(model), CocoDraft(("face",), faces=True)
    for number, (moved, person, camera) in enumerate(zip(moved_xy_px, people, cameras, strict=True)):
        sample = drawn_face(number, 96)
        assert sample.truth is not None
        boxes = sample.truth.boxes_xyxy_px.round(3)
        cv2.imwrite(str(folder / f"{number}.png"), sample.frame.image)
        points = predictor.predict(sample.frame.image, boxes).points_xy_px + moved
        known = ~np.isnan(points).any(2)
        draft.add_image(image_entry(f"{number}.png", (96, 96), subject=person, camera=camera))
        draft.add_truth(GroundTruth(boxes, np.zeros(1, int), np.zeros(1, bool), None, np.nan_to_num(points), known))
    draft.write(folder / "faces.json")
    return folder / "faces.json"
