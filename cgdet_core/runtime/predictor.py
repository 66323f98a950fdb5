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
from cgdet_core.runtime.backends.base import DetectingBackend, RawOutput
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
        self._detecting = self._network if isinstance(self._network, DetectingBackend) else None
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
        on_device = self._on_device(picture)
        if on_device is not None:
            raw, placed = on_device
        else:
            normalised = thermal.normalise(picture, self.thermal)
            raw, placed = thermal.letterbox(normalised, self.info.input_height_width_px)
        preprocessed = time.perf_counter()
        if self._detecting is not None:
            whole = self._detecting.detect(raw, self.thermal, config)
            inferred = time.perf_counter()
            self._check_finite(whole.finite)
            found_px, scores, class_ids = whole.boxes_xyxy_px, whole.scores, whole.class_ids
        else:
            output = self._network.infer(np.asarray(raw, np.float32))
            inferred = time.perf_counter()
            with torch.inference_mode():
                self._check_finite(_all_finite(output.class_logits))
                (found,) = postprocess(self._head_output(output), config, self.info.class_names)
                found_px = found.boxes_xyxy_px.cpu().numpy()
                scores, class_ids = found.scores.cpu().numpy(), found.class_ids.cpu().numpy()
        boxes = placed.to_frame(found_px)
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

    def _on_device(self, picture: ImageArray) -> tuple[ImageArray, thermal.Letterbox] | None:
        """The grey frame and how it lies in the input, where the device normalises it: at its own scale."""
        height, width = self.info.input_height_width_px
        shape = picture.shape[:2]
        fits = shape[0] <= height and shape[1] <= width and (shape[0] == height or shape[1] == width)
        if self._detecting is None or not fits:
            return None
        return thermal.to_grey(picture), thermal.Letterbox((1.0, 1.0), *shape)

    def _check_finite(self, finite: bool) -> None:
        if not finite:
            raise InputError(
                f"{self.model_path}: gives values that are not finite in {self.precision}: use precision fp32"
            )

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
