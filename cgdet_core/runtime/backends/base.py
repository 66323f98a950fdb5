"""The interface of all that runs the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cgdet_core.config import PostprocessConfig, ThermalConfig
from cgdet_core.tasks.detection.decode import FoundBoxes
from cgdet_core.types import FloatArray, ImageArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RawOutput:
    """What the network says of one picture's A cells, stride 8 first, row by row (model/head.py).

    class_logits: float32 [A, C]; box_logits: float32 [A, 4 * bins], distances left, top, right,
    bottom in strides. NumPy arrays from the CPU, tensors that stay on the device from a GPU.
    """

    class_logits: FloatArray | Tensor
    box_logits: FloatArray | Tensor


class Backend(Protocol):
    """A network that is loaded and can be run.

    name: the library; device: cpu or cuda:N; precision: the one that is executed (fp32, fp16, bf16,
    int8), asked of the library where it tells.
    """

    name: str
    device: str
    precision: str

    def infer(self, canvas: FloatArray) -> RawOutput:
        """The network's output for `canvas`, float32 [H, W] in [0, 1] of the model's input size; finished on return.

        The arrays are valid until the next call.
        """
        ...


@runtime_checkable
class DetectingBackend(Backend, Protocol):
    """A backend that does what surrounds the network too, where the network is: on its device."""

    def detect(self, picture: ImageArray | FloatArray, tone: ThermalConfig, config: PostprocessConfig) -> FoundBoxes:
        """What is found in a raw frame, uint8 or uint16 [h, w], that has the input's height or width and fits in.

        It lies at the top left of the input at its own scale. A float32 picture was normalised and
        letterboxed already.
        """
        ...
