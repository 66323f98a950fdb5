"""PyTorch: always there, on the CPU and on GPUs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cgdet_core.model.blocks import ConvUnit
from cgdet_core.runtime.backends.base import RawOutput
from cgdet_core.runtime.backends.devices import cpu_precision
from cgdet_core.tasks.detection.head import Detector
from cgdet_core.types import FloatArray

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchBackend:
    """The detector with batch norm folded into its convolutions, channels last."""

    name = "torch"

    def __init__(self, detector: Detector, device: torch.device, precision: str) -> None:
        """Takes `detector` over; precision: auto or one of DTYPES."""
        self._device = device
        self.device = str(device)
        self.precision = choose_precision(precision, device)
        self._dtype = DTYPES[self.precision]
        self.network = fuse(detector).to(device, self._dtype).to(memory_format=torch.channels_last)

    def infer(self, canvas: FloatArray) -> RawOutput:
        """See Backend."""
        with torch.inference_mode():
            output = self.network(torch.from_numpy(canvas)[None, None].to(self._device, self._dtype))
            class_logits, box_logits = output.class_logits[0].float(), output.box_logits[0].flatten(1).float()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return RawOutput(class_logits, box_logits)
        return RawOutput(class_logits.numpy(), box_logits.numpy())


def choose_precision(precision: str, device: torch.device) -> str:
    """The precision that PyTorch will execute; auto: fp16 on a GPU, bf16 on a CPU that has it, else fp32."""
    if precision == "auto":
        return "fp16" if device.type == "cuda" else cpu_precision()
    return precision


def fuse(detector: Detector) -> Detector:
    """The same function with every batch norm folded into its convolution; changes `detector` in place."""
    for module in detector.modules():
        if isinstance(module, ConvUnit):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]
    return detector
