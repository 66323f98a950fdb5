"""The network as an ONNX model, written from what it does to a picture.

One file serves ONNX Runtime, OpenVINO and TensorRT. In an int8 model the convolutions that are to be
executed in int8 have their input and weights rounded by pairs of QuantizeLinear and DequantizeLinear,
which those libraries fold into integer arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cgdet_core import __version__
from cgdet_core.runtime.exports.description import INPUT, OUTPUTS
from cgdet_core.runtime.exports.onnx_graph import FLOAT16, FLOAT32, OnnxGraph
from cgdet_core.runtime.exports.recording import Step, record
from cgdet_core.tasks.detection.head import Detector
from cgdet_core.types import FloatArray

Ranges = Mapping[str, tuple[float, float]]  # a convolution's weight by name -> least and greatest value of its input


def network_onnx(
    detector: Detector,
    height_width_px: tuple[int, int],
    metadata: Mapping[str, str],
    int8: Ranges | None = None,
    half: bool = False,
) -> bytes:
    """Input `image` float32 [1, 1, H, W] in [0, 1]; outputs `class_logits` [A, C] and `box_logits` [A, 4 * bins].

    detector: with batch norm folded; int8: the convolutions to be rounded, and the ranges of their inputs;
    half: float16 between a float32 input and float32 outputs, for a library that takes the types as they
    are written (TensorRT's strongly typed networks).
    """
    assert not (half and int8)
    image = torch.zeros(1, 1, *height_width_px)
    steps, outputs = record(detector, image)
    names = {id(tensor): name for name, tensor in detector.state_dict(keep_vars=True).items()}
    writer = _Writer(names | {id(image): INPUT}, int8 or {}, half)
    if half:
        writer.set(image, writer.add("Cast", [INPUT], to=FLOAT16))
    for step in _needed(steps, outputs):
        writer.write(step)
    for output, name in zip(outputs, OUTPUTS, strict=True):
        writer.graph.node("Cast", [writer.names[id(output)]], [name], to=FLOAT32)
    shapes = {name: tuple(output.shape) for name, output in zip(OUTPUTS, outputs, strict=True)}
    return writer.graph.to_bytes({INPUT: tuple(image.shape)}, shapes, metadata, f"cgdet {__version__}")


def _needed(steps: Sequence[Step], outputs: Sequence[Tensor]) -> list[Step]:
    """The steps that the outputs depend on, in order."""
    wanted = {id(output) for output in outputs}
    kept = []
    for step in reversed(steps):
        if any(id(result) in wanted for result in _tensors(step.result)):
            kept.append(step)
            wanted.update(id(argument) for argument in _tensors(step.arguments))
    return kept[::-1]


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    return [tensor for value in values for tensor in _tensors(value)] if isinstance(values, (tuple, list)) else []


@dataclass
class _Writer:
    names: dict[int, str]  # by the identity of the tensor, which the steps keep alive
    int8: Ranges
    half: bool = False
    graph: OnnxGraph = field(default_factory=OnnxGraph)
    count: int = 0
    rounded: set[str] = field(default_factory=set)  # inputs of convolutions that are rounded already

    def write(self, step: Step) -> None:
        _WRITERS[step.operation](self, step)

    def name(self, tensor: Tensor) -> str:
        return self.names[id(tensor)]

    def new(self, kind: str) -> str:
        self.count += 1
        return f"{kind}_{self.count}"

    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        output = self.new(kind)
        self.graph.node(kind, inputs, [output], **attributes)
        return output

    def whole_numbers(self, values: Sequence[int]) -> str:
        array = np.array(values, np.int64)
        return self.graph.constant(f"numbers_{'_'.join(map(str, values))}", array)

    def parameter(self, tensor: Tensor) -> str:
        values = tensor.detach().float().contiguous().numpy()
        return self.graph.constant(self.name(tensor), values.astype(np.float16) if self.half else values)

    def set(self, tensor: Tensor, name: str) -> None:
        self.names[id(tensor)] = name


def _convolution(writer: _Writer, step: Step) -> None:
    image, weight, bias, strides, padding, dilations, transposed, _, groups = step.arguments
    assert not transposed
    inputs = [writer.name(image), writer.name(weight)]
    if inputs[1] in writer.int8:
        inputs = [_rounded_input(writer, inputs[0], *writer.int8[inputs[1]]), _rounded_weight(writer, weight)]
    else:
        writer.parameter(weight)
    if bias is not None:
        inputs.append(writer.parameter(bias))
    kernel = list(weight.shape[2:])
    pads = list(padding) * 2
    output = writer.add(
        "Conv", inputs, kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations, group=groups
    )
    writer.set(step.result, output)


def _rounded_input(writer: _Writer, name: str, low: float, high: float) -> str:
    rounded = f"{name}_rounded"
    if rounded in writer.rounded:
        return rounded
    writer.rounded.add(rounded)
    low, high = min(low, 0.0), max(high, 1e-6)
    scale = np.float32((high - low) / 255)
    zero = np.uint8(round(-low / scale))
    pair = [
        writer.graph.constant(f"{name}_scale", np.array(scale)),
        writer.graph.constant(f"{name}_zero", np.array(zero)),
    ]
    writer.graph.node("QuantizeLinear", [name, *pair], [f"{name}_uint8"])
    writer.graph.node("DequantizeLinear", [f"{name}_uint8", *pair], [rounded])
    return rounded


def _rounded_weight(writer: _Writer, weight: Tensor) -> str:
    name = writer.name(weight)
    values, scales = rounded_weight(weight.detach().float().numpy())
    inputs = [
        writer.graph.constant(f"{name}_int8", values),
        writer.graph.constant(f"{name}_scale", scales),
        writer.graph.constant(f"{name}_zero", np.zeros(len(scales), np.int8)),
    ]
    writer.graph.node("DequantizeLinear", inputs, [f"{name}_rounded"], axis=0)
    return f"{name}_rounded"


def rounded_weight(weight: FloatArray) -> tuple[np.ndarray[Any, np.dtype[np.int8]], FloatArray]:
    """Weight float32 [out, ...] -> int8 of its shape in -127 to 127, and the scale float32 [out] of each output."""
    greatest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scales = (np.maximum(greatest, 1e-12) / 127).astype(np.float32)
    by_output = scales.reshape(-1, *[1] * (weight.ndim - 1))
    return np.rint(weight / by_output).clip(-127, 127).astype(np.int8), scales


def _silu(writer: _Writer, step: Step) -> None:
    name = writer.name(step.arguments[0])
    writer.set(step.result, writer.add("Mul", [name, writer.add("Sigmoid", [name])]))


def _activation(kind: str) -> Callable[[_Writer, Step], None]:
    def write(writer: _Writer, step: Step) -> None:
        writer.set(step.result, writer.add(kind, [writer.name(step.arguments[0])]))

    return write


def _concatenation(writer: _Writer, step: Step) -> None:
    axis = step.arguments[1] if len(step.arguments) > 1 else 0
    writer.set(step.result, writer.add("Concat", [writer.name(part) for part in step.arguments[0]], axis=axis))


def _split(writer: _Writer, step: Step) -> None:
    whole, sizes, axis = step.arguments
    outputs = [writer.new("Split") for _ in sizes]
    writer.graph.node("Split", [writer.name(whole), writer.whole_numbers(sizes)], outputs, axis=axis)
    for part, output in zip(step.result, outputs, strict=True):
        writer.set(part, output)


def _slice(writer: _Writer, step: Step) -> None:
    whole, axis, start, end = step.arguments
    # PyTorch says "to the end" by the greatest whole number
    bounds = [writer.whole_numbers([value]) for value in (start or 0, min(end, whole.shape[axis]), axis)]
    writer.set(step.result, writer.add("Slice", [writer.name(whole), *bounds]))


def _sum(writer: _Writer, step: Step) -> None:
    writer.set(step.result, writer.add("Add", [writer.name(term) for term in step.arguments[:2]]))


def _maximum(writer: _Writer, step: Step) -> None:
    image, kernel, strides, padding = step.arguments
    output = writer.add("MaxPool", [writer.name(image)], kernel_shape=kernel, strides=strides, pads=list(padding) * 2)
    writer.set(step.result[0], output)


def _upsampling(writer: _Writer, step: Step) -> None:
    image = step.arguments[0]
    factors = np.array([1, 1, *(new / old for new, old in zip(step.result.shape[2:], image.shape[2:], strict=True))])
    scales = writer.graph.constant(writer.new("factors"), factors.astype(np.float32))
    output = writer.add(
        "Resize",
        [writer.name(image), "", scales],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    writer.set(step.result, output)


def _reshape(writer: _Writer, step: Step) -> None:
    shape = writer.whole_numbers(list(step.result.shape))
    writer.set(step.result, writer.add("Reshape", [writer.name(step.arguments[0]), shape]))


def _transpose(writer: _Writer, step: Step) -> None:
    whole, first, second = step.arguments
    order = list(range(whole.dim()))
    order[first], order[second] = order[second], order[first]
    writer.set(step.result, writer.add("Transpose", [writer.name(whole)], perm=order))


def _same(writer: _Writer, step: Step) -> None:
    writer.set(step.result, writer.name(step.arguments[0]))


_WRITERS: dict[str, Callable[[_Writer, Step], None]] = {
    "aten.convolution": _convolution,
    "aten.silu_": _silu,
    "aten.silu": _silu,
    "aten.hardswish_": _activation("HardSwish"),
    "aten.hardswish": _activation("HardSwish"),
    "aten.relu_": _activation("Relu"),
    "aten.relu": _activation("Relu"),
    "aten.cat": _concatenation,
    "aten.split_with_sizes": _split,
    "aten.slice": _slice,
    "aten.add": _sum,
    "aten.max_pool2d_with_indices": _maximum,
    "aten.upsample_nearest2d": _upsampling,
    "aten.view": _reshape,
    "aten._unsafe_view": _reshape,
    "aten.select": _reshape,  # of the only picture of the batch
    "aten.transpose": _transpose,
    "aten.detach": _same,
    "aten.alias": _same,
    "aten.clone": _same,
}
