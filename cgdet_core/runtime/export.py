"""A model file for deployment: ONNX by torch.onnx, int8 by ONNX Runtime, checked against PyTorch.

PyTorch writes the graph, with the whole network in it, for one picture; a detector's may be of any size.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from cgdet_core.errors import InputError
from cgdet_core.model.blocks import ConvUnit, fuse
from cgdet_core.runtime.backends.base import INPUT, OUTPUTS, Backend, RawOutput, need
from cgdet_core.runtime.backends.torch import RawNetwork
from cgdet_core.runtime.model_file import ModelDescription, load_model
from cgdet_core.tasks.detection.decode import cells_of, decode_boxes
from cgdet_core.tasks.detection.head import DetectionNetwork
from cgdet_core.tasks.landmarks.decode import decode
from cgdet_core.types import FloatArray

_PIXELS: Final = 4  # of a row that become channels
MIN_SCORE: Final = 0.05  # a box counts in the check where the best score of its cell reaches this in PyTorch
# What boxes or points, in pixels, and scores may differ by; of int8 the medians: labelled frames judge its accuracy
LIMITS: Final = {"fp32": (1.0, 0.001), "int8": (1.0, 0.05)}


class WideStem(nn.Module):
    """The first convolution, of one channel, as one of four: the same sums in a shape that is run faster.

    A 3x3 convolution with stride 2 on a grey picture has one value of each pixel to multiply, and a
    matrix unit (AMX) takes 32 at a time. Four neighbouring pixels of a row read as the channels of one
    make it a 3x2 convolution with stride (2, 1) that gives two neighbouring outputs at once; where a
    pixel has no part in an output its weight is 0. In memory nothing moves: OpenVINO keeps channels last.
    """

    def __init__(self, stem: ConvUnit) -> None:
        super().__init__()
        narrow, bias = stem.conv.weight, stem.conv.bias
        assert bias is not None
        self.outputs = len(narrow)
        wide = torch.zeros(_PIXELS // 2 * self.outputs, _PIXELS, 3, 2)
        for column in range(_PIXELS // 2):
            for tap in range(3):
                pixel = 2 * column + tap - 1  # of the block; -1 is the last one of the block before
                rows = slice(column * self.outputs, (column + 1) * self.outputs)
                wide[rows, pixel % _PIXELS, :, int(pixel >= 0)] = narrow[:, 0, :, tap]
        self.weight, self.bias = nn.Parameter(wide), nn.Parameter(bias.repeat(_PIXELS // 2))
        self.act = stem.act

    def forward(self, picture: Tensor) -> Tensor:
        _, _, height, width = picture.shape
        blocks = picture.reshape(1, height, width // _PIXELS, _PIXELS).permute(0, 3, 1, 2)
        padded = nn.functional.pad(blocks, (1, 0, 1, 1))
        both: Tensor = self.act(nn.functional.conv2d(padded, self.weight, self.bias, (2, 1)))
        rows = both.permute(0, 2, 3, 1).reshape(1, height // 2, width // 2, self.outputs)
        return rows.permute(0, 3, 1, 2)


def network_to_export(model: Path) -> RawNetwork:
    """The network of a .safetensors as it is exported."""
    detector, _ = load_model(model)
    with torch.no_grad():
        fuse(detector)
        if isinstance(detector, DetectionNetwork):
            detector.backbone.stem = WideStem(detector.backbone.stem)  # type: ignore[assignment]
    return RawNetwork(detector).eval().requires_grad_(False)


def openvino_network(model: Path, height_width_px: tuple[int, int]) -> Any:
    """The openvino.Model of a .safetensors, for pictures of that size."""
    network, picture = network_to_export(model), torch.zeros(1, 1, *height_width_px)
    openvino = need("openvino", "backend openvino", "core")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # PyTorch has another tracer, which takes four times as long
        traced = torch.jit.freeze(torch.jit.trace(network, picture, check_trace=False))  # type: ignore[no-untyped-call]
        return openvino.convert_model(traced, input=[(list(picture.shape), np.float32)])


def write_export(model: Path, out: Path, description: ModelDescription, calibration: Sequence[FloatArray] = ()) -> None:
    """Write the .safetensors `model` as an .onnx with `description`.

    calibration: inputs of the network, float32 [H, W], that int8 is scaled by; none: the file is fp32. Raises
    InputError where a library is missing.
    """
    onnx = need("onnx", "an export", "train")
    need("onnxscript", "an export", "train")
    task, size = description.info.task, description.info.input_height_width_px
    # a detector's input may have any size of whole cells, a face's crop has one
    cells = {2: 32 * Dim("rows", min=1, max=256), 3: 32 * Dim("columns", min=1, max=256)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network_to_export(model),
            (torch.zeros(1, 1, *size),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=list(OUTPUTS[task]),
            dynamic_shapes=(cells if task == "detection" else None,),
        )
    assert program is not None
    file = program.model_proto
    # where in the sources each step stands: a third of a megabyte, with the folders of this machine
    for node in file.graph.node:
        node.ClearField("metadata_props")
    file.graph.ClearField("value_info")
    onnx.helper.set_model_props(file, description.to_metadata())
    onnx.save(file, out)
    if calibration:
        _quantise(out, calibration)


def _quantise(path: Path, calibration: Sequence[FloatArray]) -> None:
    """Make the fp32 .onnx at `path` one of int8: scales stand beside each value (QDQ), which OpenVINO and ONNX Runtime
    fold into their int8 kernels. The last convolutions and what joins their values stay as they are. Weights have 7
    bits: without VNNI a CPU adds two products in 16 bits, where those of 8 overflow and the boxes go."""
    need("onnxruntime", "an int8 export", "train")
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(path, path, skip_optimization=True, skip_symbolic_shape=True)
    kept: list[str] = []
    for node in onnx.load(path).graph.node:
        is_last = node.op_type == "Conv" and re.search(r"_branches\.\d\.2\.weight$|\.leave\.weight$", node.input[1])
        if is_last or (kept and node.op_type == "Concat"):
            kept.append(node.name)
    inputs = ({INPUT: canvas[None, None]} for canvas in calibration)
    quantize_static(
        path,
        path,
        SimpleNamespace(get_next=lambda: next(inputs, None)),
        op_types_to_quantize=["Conv", "Add", "Relu", "Resize", "Concat", "MaxPool"],
        nodes_to_exclude=kept,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        reduce_range=True,
    )


def check_parity(
    name: Path,
    precision: str,
    reference: Backend,
    other: Backend,
    canvases: Iterable[FloatArray],
    height_width_px: tuple[int, int],
) -> dict[str, float]:
    """By how much `other`, the export `name`, differs over the same inputs of the network, float32 [H, W].

    The greatest differences of the boxes that count, box_px, and of their scores, or point_px and confidence of
    landmarks; with int8 the medians. Raises InputError where they are beyond LIMITS, and where nothing is seen.
    """
    cells = cells_of(height_width_px)

    def decoded(output: RawOutput) -> tuple[FloatArray, FloatArray]:
        if len(output) == 1:  # maps of landmarks
            points, sure = decode(output[0][None], height_width_px[0])
            return points[0], sure[0][:, None]
        class_logits, box_logits = output
        boxes = decode_boxes(box_logits, cells.centres_xy_px, cells.strides_px)
        return boxes, np.asarray(1 / (1 + np.exp(-class_logits)), np.float32)

    found = []
    counted_as, names, least = "boxes", ("box_px", "score"), MIN_SCORE
    for canvas in canvases:
        raw = reference.infer(canvas)
        if len(raw) == 1:
            counted_as, names, least = "points", ("point_px", "confidence"), 0.0
        wanted_boxes, wanted_scores = decoded(raw)
        boxes, scores = decoded(other.infer(canvas))
        counted = wanted_scores.max(1) >= least
        found.append((np.abs(boxes - wanted_boxes)[counted], np.abs(scores - wanted_scores)[counted]))
    if not any(len(places) for places, _ in found):
        raise InputError(f"{name}: finds nothing in the frames of the check: give others by --frames")
    differences = [np.concatenate(apart) for apart in zip(*found, strict=True)]
    summary = np.median if precision == "int8" else np.max
    figures: dict[str, float] = {"frames": len(found), counted_as: len(differences[0])}
    for what, values, limit in zip(names, differences, LIMITS[precision], strict=True):
        figures[what] = float(summary(values))
        if not figures[what] <= limit:
            raise InputError(
                f"{name}: {what} differs from PyTorch's by {figures[what]:.3g} in {precision}, at most {limit:g} may "
                "be: nothing was written"
            )
    return figures
