"""An ONNX model put together node by node and written as bytes (onnx.proto3 of ONNX IR version 8, opset 17).

No library is needed to write one, and none of what reads them (ONNX Runtime, OpenVINO, TensorRT) has
to be there. Field numbers are those of onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cgdet_core.errors import InputError
from cgdet_core.runtime.exports import protobuf as pb

IR_VERSION: Final = 8
OPSET: Final = 17
FLOAT32: Final = 1
FLOAT16: Final = 10
_TYPES: Final = {"float32": FLOAT32, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "float16": FLOAT16}  # DataType


class OnnxGraph:
    """Nodes in the order of their work. Values are named by whoever adds them."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: dict[str, bytes] = {}

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Add a node; attributes are whole numbers, lists of them, floats or text."""
        self._nodes.append(
            pb.repeated(1, inputs)
            + pb.repeated(2, outputs)
            + pb.nested(3, outputs[0])
            + pb.nested(4, kind)
            + pb.repeated(5, [_attribute(name, value) for name, value in attributes.items()])
        )

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant, once under its name; the name."""
        if name not in self._constants:
            values = np.ascontiguousarray(values)
            dims = b"".join(pb.number(1, side) for side in values.shape)
            kind = pb.number(2, _TYPES[values.dtype.name])
            self._constants[name] = dims + kind + pb.nested(8, name) + pb.nested(9, values.tobytes())
        return name

    def to_bytes(
        self,
        inputs: Mapping[str, Sequence[int]],
        outputs: Mapping[str, Sequence[int]],
        metadata: Mapping[str, str],
        producer: str,
    ) -> bytes:
        """The model: names and shapes of its float32 inputs and outputs, and metadata as text by key."""
        graph = (
            pb.repeated(1, self._nodes)
            + pb.nested(2, "cgdet")
            + pb.repeated(5, self._constants.values())
            + pb.repeated(11, [_value(name, shape) for name, shape in inputs.items()])
            + pb.repeated(12, [_value(name, shape) for name, shape in outputs.items()])
        )
        entries = [pb.nested(1, key) + pb.nested(2, text) for key, text in metadata.items()]
        return (
            pb.number(1, IR_VERSION)
            + pb.nested(2, producer)
            + pb.nested(8, pb.nested(1, "") + pb.number(2, OPSET))
            + pb.repeated(14, entries)
            + pb.nested(7, graph)
        )


def read_metadata(model: bytes, name: str) -> dict[str, str]:
    """Metadata of an ONNX model by key; InputError, naming `name`, where it is no ONNX model or cut."""
    found: dict[str, str] = {}
    graphs = 0
    try:
        for number, value in pb.fields(model):
            graphs += number == 7
            if number == 14 and isinstance(value, bytes):
                entry = {key: text.decode() for key, text in pb.fields(value) if isinstance(text, bytes)}
                found[entry[1]] = entry[2]
    except (ValueError, KeyError) as error:
        raise InputError(f"{name}: is not a whole ONNX file ({error}): export it again") from None
    if graphs != 1:
        raise InputError(f"{name}: is not an ONNX file: export it again")
    return found


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        typed = pb.nested(4, value) + pb.number(20, 3)
    elif isinstance(value, float):
        typed = pb.real(2, value) + pb.number(20, 1)
    elif isinstance(value, int):
        typed = pb.number(3, value) + pb.number(20, 2)
    else:
        typed = b"".join(pb.number(8, item) for item in value) + pb.number(20, 7)
    return pb.nested(1, name) + typed


def _value(name: str, shape: Sequence[int]) -> bytes:
    dims = pb.repeated(1, [pb.number(1, side) for side in shape])
    tensor = pb.number(1, FLOAT32) + pb.nested(2, dims)
    return pb.nested(1, name) + pb.nested(2, pb.nested(1, tensor))
