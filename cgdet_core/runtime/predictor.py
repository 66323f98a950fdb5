"""Raw frame in, detections out: the one path that evaluation, commands and the node share."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cgdet_core import thermal
from cgdet_core.config import PostprocessConfig, ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of
from cgdet_core.model.blocks import ConvUnit
from cgdet_core.model.detector import Detector
from cgdet_core.runtime.model_file import load_model
from cgdet_core.runtime.postprocess import postprocess
from cgdet_core.types import Detections, ImageArray, check_image

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Predictor:
    """A loaded model on a device.

    model_path: a model file; device: auto (a GPU where there is one), cpu, cuda or cuda:N;
    precision: auto (fp16 on a GPU, else fp32), fp32, fp16, bf16; postprocess, thermal: in place of
    the model's own; threads: CPU threads of this process' arithmetic, 0 leaves them.

    `device`, `precision` and `backend` say what is executed. `postprocess` may be replaced between
    two frames; a frame sees one value throughout. Raises InputError for what cannot be had.
    """

    backend = "torch"

    def __init__(
        self,
        model_path: Path,
        device: str = "auto",
        precision: str = "auto",
        postprocess: PostprocessConfig | None = None,
        thermal: ThermalConfig | None = None,
        threads: int = 0,
    ) -> None:
        self.model_path = Path(model_path)
        detector, self.info = load_model(self.model_path)
        self.model_sha256 = sha256_of(self.model_path)
        self._device = choose_device(device)
        self.device = str(self._device)
        self.precision = choose_precision(precision, self._device)
        self.postprocess = check_thresholds(postprocess or self.info.postprocess, self.info.class_names)
        self.thermal = thermal or self.info.thermal
        self.last_stage_ms: dict[str, float] = {}
        if threads > 0:
            torch.set_num_threads(threads)
        self._dtype = DTYPES[self.precision]
        self._network = fuse(detector).to(self._device, self._dtype).to(memory_format=torch.channels_last)

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
        with torch.inference_mode():
            output = self._network(self._to_input(torch.from_numpy(canvas)))
            if not bool(torch.isfinite(output.class_logits).all()):
                raise InputError(
                    f"{self.model_path}: gives values that are not finite in {self.precision}: use precision fp32"
                )
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            inferred = time.perf_counter()
            (found,) = postprocess(output, config, self.info.class_names)
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

    def _to_input(self, canvas: Tensor) -> Tensor:
        return canvas[None, None].to(self._device, self._dtype)


def choose_device(device: str) -> torch.device:
    """auto, cpu, cuda or cuda:N -> the torch device; InputError where it is not to be had."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"device '{device}' is unknown: use auto, cpu or cuda:N") from None
    if chosen.type not in ("cpu", "cuda"):
        raise InputError(f"device '{device}' is not supported: use auto, cpu or cuda:N")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device '{device}': torch sees {torch.cuda.device_count()} GPUs: use device auto or cpu")
    return chosen


def choose_precision(precision: str, device: torch.device) -> str:
    """The precision that will be executed for the one asked for; InputError where there is none such."""
    if precision == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if precision not in DTYPES:
        raise InputError(f"precision '{precision}' is not supported by backend torch: use auto, {', '.join(DTYPES)}")
    if precision == "fp16" and device.type == "cpu":
        raise InputError("precision 'fp16' is not supported on the CPU: use fp32 or bf16")
    return precision


def check_thresholds(config: PostprocessConfig, class_names: tuple[str, ...]) -> PostprocessConfig:
    """`config` as it is; InputError where it has a threshold for a class that the model does not know."""
    for name in config.class_thresholds:
        if name not in class_names:
            raise InputError(f"class_thresholds: '{name}' is none of the model's classes {', '.join(class_names)}")
    return config


def fuse(detector: Detector) -> Detector:
    """The same function with every batch norm folded into its convolution; changes `detector` in place."""
    for module in detector.modules():
        if isinstance(module, ConvUnit):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]
    return detector
