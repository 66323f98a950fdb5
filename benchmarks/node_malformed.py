"""Ten thousand malformed images among good ones: every good one is answered once, and no bad one.

    python benchmarks/node_malformed.py [--bad 10000] [--transport raw] [--seed 0] [--model F] [--json F]

Images come no faster than the node answers them. The bad ones are bad by how they are made, not by what the node's own
checks say of them; every tenth is not even a message (bytes cut or changed after serialisation).
"""

from __future__ import annotations

import array
import json
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
from node_under_test import NodeUnderTest, arguments_parser, stamp_of, stamped, write_json
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

CHANNELS_AND_BYTES = {
    "mono8": (1, 1),
    "8UC1": (1, 1),
    "mono16": (1, 2),
    "16UC1": (1, 2),
    "rgb8": (3, 1),
    "bgr8": (3, 1),
}
UNKNOWN = (
    "",
    "mono32",
    "bayer_rggb8",
    "yuv422",
    "32FC1",
    "MONO8",
    "mono16 ",
    "rgba8",
    "16SC1",
    "\u00fcnknown",
    "x" * 500,
)


def good_raw(generator: np.random.Generator) -> Image:
    """Any encoding, size, padding and byte order."""
    encoding = str(generator.choice(list(CHANNELS_AND_BYTES)))
    channels, item_bytes = CHANNELS_AND_BYTES[encoding]
    height, width, padding = (int(generator.integers(*limits)) for limits in ((8, 200), (8, 200), (0, 9)))
    step = width * channels * item_bytes + padding
    data = array.array("B", generator.integers(0, 256, height * step, np.uint8).tobytes())
    big = int(generator.integers(2))
    header = Header(frame_id="good")
    return Image(header=header, height=height, width=width, encoding=encoding, step=step, is_bigendian=big, data=data)


def bad_raw(generator: np.random.Generator) -> tuple[str, Image | bytes]:
    """What is wrong with it, and the image."""
    message = good_raw(generator)
    message.header.frame_id = "bad"
    channels, item_bytes = CHANNELS_AND_BYTES[message.encoding]
    row = message.width * channels * item_bytes
    kinds = ("encoding", "step", "short", "empty", "no_size", "huge", "other_depth", "torn")
    kind = str(generator.choice(kinds))
    if kind == "encoding":
        message.encoding = str(generator.choice(UNKNOWN))
    elif kind == "step":
        message.step = int(generator.integers(0, row))
    elif kind == "short":  # the last row's padding may lack, its pixels may not
        needed = message.step * (message.height - 1) + row
        message.data = message.data[: int(generator.integers(0, needed))]
    elif kind == "empty":
        message.data = array.array("B")
    elif kind == "no_size":
        setattr(message, str(generator.choice(["height", "width"])), 0)
    elif kind == "huge":
        size = int(generator.integers(2**16, 2**32))
        setattr(message, str(generator.choice(["height", "width", "step"])), size)
    elif kind == "other_depth":
        message.encoding, message.step = "mono16", max(1, message.width)
    elif kind == "torn":
        return kind, torn(message, generator)
    return kind, message


def torn(message: Any, generator: np.random.Generator) -> bytes:
    """A serialised message, cut within its fields: no reader can make one of it."""
    whole = serialize_message(message)
    return bytes(whole[: int(generator.integers(0, 60))])


def good_compressed(generator: np.random.Generator) -> CompressedImage:
    """JPEG or PNG, grey or colour, 8 or 16 bits."""
    shape = (int(generator.integers(8, 200)), int(generator.integers(8, 200)))
    kind = str(generator.choice(["grey.jpg", "grey.png", "deep.png", "colour.jpg", "colour.png"]))
    if kind.startswith("deep"):
        pixels = generator.integers(0, 65536, shape, np.uint16)
    else:
        pixels = generator.integers(0, 256, (*shape, 3) if kind.startswith("colour") else shape, np.uint8)
    data = bytes(cv2.imencode(kind[-4:], pixels)[1])
    return CompressedImage(header=Header(frame_id="good"), format=kind, data=array.array("B", data))


def bad_compressed(generator: np.random.Generator) -> tuple[str, CompressedImage | bytes]:
    """What is wrong with it, and the image."""
    message = good_compressed(generator)
    message.header.frame_id = "bad"
    data = bytes(message.data)
    kind = str(generator.choice(["cut", "noise", "empty", "other", "promise", "depth_header", "torn"]))
    if kind == "cut":
        data = data[: int(generator.integers(0, len(data) - 2))]
    elif kind == "noise":
        data = generator.integers(0, 256, int(generator.integers(1, 5000)), np.uint8).tobytes()
    elif kind == "empty":
        data = b""
    elif kind == "other":
        suffix = str(generator.choice([".tiff", ".bmp", ".webp"]))
        data = bytes(cv2.imencode(suffix, generator.integers(0, 256, (20, 20), np.uint8))[1])
    elif kind == "promise":  # a header that asks for gigabytes
        png = bytearray(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1])
        png[16:24] = int(generator.integers(2**14, 2**31)).to_bytes(4, "big") * 2
        data = bytes(png)
    elif kind == "depth_header":  # compressedDepth: twelve bytes before the picture
        data = bytes(12) + data
    elif kind == "torn":
        return kind, torn(message, generator)
    message.data = array.array("B", data)
    return kind, message


def main() -> None:
    parser = arguments_parser(__doc__, sized=False)
    parser.add_argument("--bad", type=int, default=10000)
    parser.add_argument("--transport", choices=("raw", "compressed"), default="raw")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    make_good, make_bad = (good_raw, bad_raw) if arguments.transport == "raw" else (good_compressed, bad_compressed)
    kinds: Counter[str] = Counter()
    answer_s: list[float] = []
    good_stamps: list[int] = []
    with NodeUnderTest(f"image_transport:={arguments.transport}", model=arguments.model) as node:
        publisher = node.images if arguments.transport == "raw" else node.compressed
        node.connected(publisher)
        for _ in range(20):  # the pace
            good_stamps.append(ask(node, publisher, make_good(generator), answer_s))
        pace_s = float(np.percentile(answer_s, 90))
        before = node.held()
        stamp_ns = time.time_ns()
        while sum(kinds.values()) < arguments.bad:
            start_s = time.monotonic()
            if generator.random() < 0.2:
                good_stamps.append(ask(node, publisher, make_good(generator), answer_s))
            else:
                kind, message = make_bad(generator)
                kinds[kind] += 1
                stamp_ns = time.time_ns()
                publisher.publish(message if isinstance(message, bytes) else stamped(message, stamp_ns))
                time.sleep(max(0.0, pace_s - (time.monotonic() - start_s)))
        time.sleep(3.0)
        after, report = node.held(), dict(node.report)
    answered = Counter(stamp_of(message) for _, message in node.answers)
    figures = {
        "transport": arguments.transport,
        "pace_ms": round(pace_s * 1e3, 2),
        "bad": sum(kinds.values()),
        "bad_of_each_kind": dict(kinds),
        "good": len(good_stamps),
        "good_answered_once": sum(answered[stamp] == 1 for stamp in good_stamps),
        "answers_to_anything_else": sum(answered.values()) - sum(answered[stamp] for stamp in good_stamps),
        "answers_to_bad_ones": sum(message.header.frame_id == "bad" for _, message in node.answers),
        "node_counts": {key: report[key] for key in ("received", "answered", "refused", "overtaken", "failed")},
        "held_before": asdict(before),
        "held_after": asdict(after),
        "exit_code": node.exit_code,
    }
    print(json.dumps(figures, indent=2))
    write_json(arguments.json, figures)
    if figures["good_answered_once"] != len(good_stamps) or figures["answers_to_anything_else"]:
        raise SystemExit("not every good one was answered once, or a bad one was")


def ask(node: NodeUnderTest, publisher: Any, message: Any, answer_s: list[float]) -> int:
    """Send a good image and wait for its answer; its stamp."""
    stamp_ns, start_s = time.time_ns(), time.monotonic()
    publisher.publish(stamped(message, stamp_ns))
    arrived_s = node.answer_to(stamp_ns, 10.0)
    if arrived_s is not None:
        answer_s.append(arrived_s - start_s)
    return stamp_ns


if __name__ == "__main__":
    main()
