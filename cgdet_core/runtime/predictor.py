"""Raw frame in, detections out: the one path that evaluation, commands and the node share."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cgdet_core import thermal
from cgdet_core.config import PostprocessConfig, ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.model.head import HeadOutput, cell_grid, map_sizes
from cgdet_core.runtime.backends.base import RawOutput
from cgdet_core.runtime.backends.choice import open_model
from cgdet_core.runtime.postprocess import postprocess
from cgdet_core.types import Detections, FloatArray, ImageArray, check_image


class Predictor:
    """A loaded model on a device.

    model_path: a model file or an export (.onnx, .xml, .engine); device: auto (a GPU where there is
    one), cpu, cuda or cuda:N; precision: auto (fp16 on a GPU, bf16 on a CPU that has it, else fp32),
    fp32, fp16, bf16, int8; postprocess, thermal: in place of the model's own; threads: CPU threads of
    this process' arithmetic, 0 leaves them; backend: auto, torch, openvino, onnxruntime, tensorrt.

    `device`, `precision` and `backend` say what is executed. `postprocess` may be replaced between
    two frames; a frame sees one value throughout. Raises InputError for what cannot be had.
    """

    def __init__(
        self,
        model_path: Path,
        device: str = "auto",
        precision: str = "auto",
        postprocess: PostprocessConfig | None = None,
        thermal: ThermalConfig | None = None,
        threads: int = 0,
        backend: str = "auto",
    ) -> None:
        self.model_path = Path(model_path)
        opened = open_model(self.model_path, backend, device, precision, threads)
        self.info, self.model_sha256, self._network = opened.info, opened.model_sha256, opened.backend
        self.postprocess = check_thresholds(postprocess or self.info.postprocess, self.info.class_names)
        self.thermal = thermal or self.info.thermal
        self.last_stage_ms: dict[str, float] = {}
        self.backend, self.device, self.precision = self._network.name, self._network.device, self._network.precision
        sizes = map_sizes(self.info.input_height_width_px)
        self._centres_xy_px, self._strides_px = cell_grid(sizes, torch.device(self.device))

    def warm_up(self, frames: int = 2) -> None:
        """Run `frames` empty frames, so that the first real one is not the slow one."""
        height, width = self.info.input_height_width_px
        for _ in range(frames):
            self.predict(np.zeros((height, width), np.uint8))

    def predict(self, image: ImageArray, telemetry_rows: int = 0) -> Detections:
        """Detections in a raw frame, uint8/uint16 [H, W] or uint8 RGB [H, W, 3], best first.

        telemetry_rows: rows that are no picture, at the bottom (> 0) or at the top (< 0); boxes are
        in pixels of the whole `image` all the same. Raises InputError for an array that is no image.
        """
        config = self.postprocess
        start = time.perf_counter()
        check_image(image)
        picture, rows_above = thermal.cut_telemetry(image, telemetry_rows)
        normalised = thermal.normalise(picture, self.thermal)
        canvas, placed = thermal.letterbox(normalised, self.info.input_height_width_px)
        preprocessed = time.perf_counter()
        output = self._network.infer(canvas)
        inferred = time.perf_counter()
        with torch.inference_mode():
            head = self._head_output(output)
            if not _all_finite(output.class_logits):
                raise InputError(
                    f"{self.model_path}: gives values that are not finite in {self.precision}: use precision fp32"
                )
            (found,) = postprocess(head, config, self.info.class_names)
            boxes = placed.to_frame(found.boxes_xyxy_px.cpu().numpy())
            scores, class_ids = found.scores.cpu().numpy(), found.class_ids.cpu().numpy()
        boxes[:, 1::2] += rows_above
        # a box in the padding is cut to nothing
        real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        detections = Detections(boxes[real], scores[real], class_ids[real])
        end = time.perf_counter()
        self.last_stage_ms = {
            "preprocess": (preprocessed - start) * 1e3,
            "infer": (inferred - preprocessed) * 1e3,
            "postprocess": (end - inferred) * 1e3,
            "total": (end - start) * 1e3,
        }
        return detections

    def _head_output(self, output: RawOutput) -> HeadOutput:
        class_logits, box_logits = torch.as_tensor(output.class_logits), torch.as_tensor(output.box_logits)
        bins = self.info.model.bins
        box_logits = box_logits.reshape(1, -1, 4, bins)
        return HeadOutput(class_logits[None], box_logits, self._centres_xy_px, self._strides_px)


def _all_finite(values: FloatArray | Tensor) -> bool:
    # on the CPU NumPy's way takes a tenth of torch's
    return bool(np.isfinite(values).all() if isinstance(values, np.ndarray) else torch.isfinite(values).all())


def check_thresholds(config: PostprocessConfig, class_names: tuple[str, ...]) -> PostprocessConfig:
    """`config` as it is; InputError where it has a threshold for a class that the model does not know."""
    for name in config.class_thresholds:
        if name not in class_names:
            raise InputError(f"class_thresholds: '{name}' is none of the model's classes {', '.join(class_names)}")
    return config
