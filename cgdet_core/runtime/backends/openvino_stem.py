"""The first convolution, of one channel, as one of four: the same sums in a shape that OpenVINO runs faster.

A 3x3 convolution with stride 2 on a grey picture has one value of each pixel to multiply, and AMX
takes 32 at a time. Four neighbouring pixels of a row read as the channels of one make it a 3x2
convolution with stride (2, 1) that gives two neighbouring outputs at once; where a pixel has no part in
an output its weight is 0. In memory nothing moves: OpenVINO keeps channels last.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cgdet_core.runtime.backends.libraries import need
from cgdet_core.types import FloatArray

_PIXELS: Final = 4  # of a row that become channels
_ACTIVATIONS: Final = ({"HSwish"}, {"Relu"}, {"Swish"}, {"Sigmoid", "Multiply"})


def widen_stem(network: Any) -> None:
    """Change an openvino.Model in place, where it begins as ours do; any other is left as it is."""
    stem = next((node for node in network.get_ordered_ops() if node.get_type_name() == "Convolution"), None)
    if stem is None or not _is_ours(stem):
        return
    biased = next(node for node in _readers(stem) if node.get_type_name() == "Add")
    readers = _readers(biased)
    if {node.get_type_name() for node in readers} not in _ACTIVATIONS:
        return
    activation = next(node for node in readers if node.get_type_name() != "Sigmoid")
    picture, weight, bias = stem.input_value(0), _constant(stem.input_value(1)), _constant(biased.input_value(1))
    _, _, height, width = picture.get_shape()
    outputs = len(weight)
    ops = need("openvino.opset13", "backend openvino", "openvino")

    def shaped(value: Any, shape: list[int]) -> Any:
        return ops.reshape(value, ops.constant(np.array(shape, np.int64)), False)

    def moved(value: Any, axes: list[int]) -> Any:
        return ops.transpose(value, ops.constant(np.array(axes, np.int64)))

    blocks = moved(shaped(picture, [1, height, width // _PIXELS, _PIXELS]), [0, 3, 1, 2])
    wide = ops.convolution(blocks, ops.constant(wide_weight(weight)), [2, 1], [1, 1], [1, 0], [1, 1])
    wide = ops.add(wide, ops.constant(np.tile(bias.reshape(1, -1, 1, 1), (1, _PIXELS // 2, 1, 1))))
    after = activation.output(0).get_target_inputs()
    for reader in biased.output(0).get_target_inputs():
        reader.replace_source_output(wide.output(0))
    for node in sorted(readers, key=lambda node: node is activation):
        node.validate_and_infer_types()
    rows = shaped(moved(activation, [0, 2, 3, 1]), [1, height // 2, width // 2, outputs])
    narrow = moved(rows, [0, 3, 1, 2])
    for reader in after:
        reader.replace_source_output(narrow.output(0))
    network.validate_nodes_and_infer_types()


def wide_weight(weight: FloatArray) -> FloatArray:
    """Weight [out, 1, 3, 3] of stride 2 -> [2 * out, 4, 3, 2] of stride (2, 1); outputs of even columns come first."""
    outputs = len(weight)
    wide = np.zeros((_PIXELS // 2 * outputs, _PIXELS, 3, 2), np.float32)
    for column in range(_PIXELS // 2):
        for tap in range(3):
            pixel = 2 * column + tap - 1  # of the block; -1 is the last one of the block before
            block = int(pixel >= 0)
            wide[column * outputs : (column + 1) * outputs, pixel % _PIXELS, :, block] = weight[:, 0, :, tap]
    return wide


def _is_ours(stem: Any) -> bool:
    weight, picture = stem.input_value(1), stem.input_value(0)
    if weight.get_node().get_type_name() != "Constant" or not picture.get_partial_shape().is_static:
        return False
    facts = stem.get_attributes()
    plain = (list(facts["strides"]), list(facts["pads_begin"]), list(facts["pads_end"])) == ([2, 2], [1, 1], [1, 1])
    # an ONNX bias is shaped after the convolution's output
    added = sorted(node.get_type_name() for node in _readers(stem)) in (["Add"], ["Add", "ShapeOf"])
    fits = list(weight.get_shape())[1:] == [1, 3, 3] and picture.get_shape()[3] % _PIXELS == 0
    return plain and fits and added


def _readers(node: Any) -> list[Any]:
    return [each.get_node() for each in node.output(0).get_target_inputs()]


def _constant(value: Any) -> FloatArray:
    """The numbers of a constant, whatever shape it is brought into on the way."""
    node = value.get_node()
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return np.asarray(node.get_data(), np.float32)
