"""Raw frame in, detections out: the one path that evaluation, commands and the node share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, overload

import numpy as np

from cgdet_core.colour_maps import ColourMap
from cgdet_core.config import PostprocessConfig
from cgdet_core.drawing import RgbArray, draw
from cgdet_core.errors import InputError, check_known
from cgdet_core.runtime.backends import open_model, shipped_model
from cgdet_core.tasks.detection.decode import cells_of
from cgdet_core.tasks.detection.decode import postprocess as decode
from cgdet_core.thermal import cut_telemetry, letterbox, normalise
from cgdet_core.types import Detections, FloatArray, ImageArray, check_image


class LoadedModel:
    """A model file on a device; each task's own comes of it.

    model_path: a model file (.safetensors) or an export (.onnx); None: the shipped one of the task, as it runs best;
    device: auto, cpu, cuda or cuda:N; precision: auto, fp32, fp16, bf16, int8; threads: CPU threads of the network, 0
    leaves the library's choice (of PyTorch those of the process); backend: auto, openvino, torch, onnxruntime,
    tensorrt; input_height_width_px: of a detector, multiples of 32, in place of the model's own: a larger one finds
    smaller objects and takes longer.

    `device`, `precision` and `backend` say what is executed; last_stage_ms: of the last call. Raises InputError for
    what cannot be had, and for a model file of another task.
    """

    task: ClassVar[str]

    def __init__(
        self,
        model_path: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        backend: str = "auto",
        input_height_width_px: tuple[int, int] | None = None,
    ) -> None:
        self.model_path = Path(model_path or shipped_model(backend, device, precision, self.task)).expanduser()
        how = backend, device, precision, threads, input_height_width_px
        self._network, description = open_model(self.model_path, *how)
        self.info, self.model_sha256 = description.info, description.model_sha256
        if self.info.task != self.task:
            raise InputError(f"{self.model_path}: is a model for {self.info.task}, not for {self.task}: give another")
        self.thermal = self.info.thermal
        self.backend, self.device, self.precision = self._network.name, self._network.device, self._network.precision
        self.last_stage_ms: dict[str, float] = {}
        self._prepare()

    def _prepare(self) -> None:
        """What the task makes of the description."""

    def _not_finite(self) -> InputError:
        return InputError(
            f"{self.model_path}: gives values that are not finite in {self.precision}: use precision fp32"
        )


class Predictor(LoadedModel):
    """A detector on a device; see LoadedModel. postprocess: thresholds and the like, the model's own at first."""

    task = "detection"

    def _prepare(self) -> None:
        assert isinstance(self.info.postprocess, PostprocessConfig)
        self.postprocess = check_thresholds(self.info.postprocess, self.info.class_names)
        self._class_names, self._input_height_width_px = self.info.class_names, self.info.input_height_width_px
        self._cells = cells_of(self._input_height_width_px)

    def warm_up(self, frames: int = 2) -> None:
        """Run `frames` empty frames, so that the first real one is not the slow one."""
        for _ in range(frames):
            self.predict(np.zeros(self._input_height_width_px, np.uint8))

    def predict(
        self,
        image: ImageArray,
        telemetry_rows: int = 0,
        postprocess: PostprocessConfig | None = None,
    ) -> Detections:
        """Detections in a raw frame, uint8/uint16 [H, W] or uint8 RGB [H, W, 3], best first.

        telemetry_rows: rows that are no picture, at the bottom (> 0) or at the top (< 0); boxes are
        in pixels of the whole `image` all the same. postprocess: for this frame, in
        place of the predictor's own. Raises InputError for an array that is no image.
        """
        start = time.perf_counter()
        check_image(image)
        picture, rows_above = cut_telemetry(image, telemetry_rows)
        canvas, placed = letterbox(normalise(picture, self.thermal), self._input_height_width_px)
        preprocessed = time.perf_counter()
        class_logits, box_logits = self._network.infer(canvas)
        inferred = time.perf_counter()
        found = decode(class_logits, box_logits, self._cells, postprocess or self.postprocess, self._class_names)
        if found is None:
            raise self._not_finite()
        in_input, scores, class_ids = found
        boxes = placed.to_frame(in_input)
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

    @overload
    def __call__(self, images: ImageArray) -> Detections: ...
    @overload
    def __call__(self, images: Sequence[ImageArray]) -> list[Detections]: ...
    def __call__(self, images: ImageArray | Sequence[ImageArray]) -> Detections | list[Detections]:
        """What `predict` finds in one frame, or in each of a list of them, which may differ in size."""
        return self.predict(images) if isinstance(images, np.ndarray) else [self.predict(each) for each in images]

    def draw(
        self, image: ImageArray, found: Detections, scale: float = 1, colour_map: ColourMap = "white_hot"
    ) -> RgbArray:
        """The frame in the network's tones with its boxes, class names and scores: uint8 RGB; see drawing.draw."""
        return draw(image, found, self._class_names, thermal=self.thermal, scale=scale, colour_map=colour_map)


def check_thresholds(config: PostprocessConfig, class_names: tuple[str, ...]) -> PostprocessConfig:
    """`config` as it is; InputError where it has a threshold for a class that the model does not know."""
    check_known("class_thresholds", "class", config.class_thresholds, class_names)
    return config


def percentiles(values: Sequence[float] | FloatArray, ranks: Sequence[int] = (50, 95, 99)) -> dict[str, float]:
    """{"p50": ..., "p95": ..., "p99": ...} of at least one value, in its unit, unrounded: how times are summed up.

    Linear between the two values next to a rank (NumPy's default); rank 100 is the greatest value.
    """
    found = np.percentile(values, ranks)  # at once: a third of the time of one by one
    return {f"p{rank}": float(value) for rank, value in zip(ranks, found, strict=True)}
