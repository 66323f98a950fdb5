"""The wire format against the examples of its own documentation, and messages that are cut."""

from __future__ import annotations

import pytest

from cgdet_core.errors import InputError
from cgdet_core.runtime.exports import protobuf as pb
from cgdet_core.runtime.exports.onnx_graph import OnnxGraph, read_metadata


def test_bytes_are_those_of_the_documentation() -> None:
    # protobuf.dev/programming-guides/encoding: Test1{a: 150}, Test2{b: "testing"}, Test3{c: Test1}
    assert pb.number(1, 150) == bytes.fromhex("089601")
    assert pb.nested(2, "testing") == bytes.fromhex("120774657374696e67")
    assert pb.nested(3, pb.number(1, 150)) == bytes.fromhex("1a03089601")
    # -2 as int64: ten bytes of two's complement
    assert pb.varint(-2) == bytes.fromhex("feffffffffffffffff01")
    assert pb.real(2, 1.0) == bytes.fromhex("150000803f")


def test_what_is_written_is_read_back_field_by_field() -> None:
    message = pb.number(1, 300) + pb.nested(200, b"abc") + pb.real(3, -0.5)
    assert list(pb.fields(message)) == [(1, 300), (200, b"abc"), (3, bytes.fromhex("000000bf"))]


def test_a_cut_message_is_an_error_wherever_it_is_cut() -> None:
    model = OnnxGraph().to_bytes({"image": (1, 2)}, {"out": (1, 2)}, {"key": "text"}, "me")
    assert read_metadata(model, "m.onnx") == {"key": "text"}
    for length in range(len(model)):
        with pytest.raises(InputError, match=r"m\.onnx: is not"):
            read_metadata(model[:length], "m.onnx")


@pytest.mark.parametrize("content", [b"", b"\x00", b"no model at all", b"\xff" * 40, bytes(100)])
def test_what_is_no_onnx_file_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(InputError) as caught:
        read_metadata(content, "m.onnx")
    assert "\n" not in str(caught.value)
