"""Detections straight to the bytes of their Detection2DArray.

A Detection2D is nine Python objects and forty-nine doubles, of which five say something: made and serialised one by
one, a hundred detections take 2 ms. Here the bytes of a detection are a template in which what differs is filled in for
all detections at once. The templates are cut from what the middleware itself makes of a message, so that no layout is
written down here; what is put together of them is read back and compared once, and where that fails every message is
made the plain way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message

from cgdet_core.boxes import xyxy_to_cxcywh
from cgdet_core.types import Detections, IntArray
from cgdet_ros.node import messages

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from std_msgs.msg import Header

_WORD_BYTES = 4  # numbers are laid on multiples of this by every encoding that ROS has


class DetectionWriter:
    """What `messages.detections_to_message` gives, as the bytes that a publisher takes in its place.

    Not for two threads at a time.
    """

    def __init__(self) -> None:
        self._known: tuple[str, tuple[str, ...]] | None = None
        self._layout: _Layout | None = None

    def write(self, header: Header, detections: Detections, class_ids: Sequence[str]) -> bytes:
        """The serialised array of `detections` in the image with `header`; class_ids: what to write for each class."""
        key = (header.frame_id, tuple(class_ids))
        if key != self._known:
            self._layout, self._known = _learn(header, key[1]), key
        if self._layout is None:
            return bytes(serialize_message(messages.detections_to_message(header, detections, class_ids)))
        return self._layout.fill(header, detections)


@dataclass(frozen=True)
class _Layout:
    """Where everything stands in the bytes of an array with one frame_id.

    head: an array without detections, which ends in their number; head_stamp: bytes to its stamp's seconds, which the
    nanoseconds follow; pieces: by class, what the first detection adds to it and what each further one; places: int64
    [C, 2, 6], bytes from a piece's start to its stamp and to its centre x, y, width, height and score.
    """

    head: bytes
    head_stamp: int
    pieces: tuple[tuple[bytes, bytes], ...]
    places: IntArray

    def fill(self, header: Header, detections: Detections) -> bytes:
        classes = detections.class_ids
        further = (np.arange(len(classes)) > 0).astype(np.int64)
        chosen = zip(classes.tolist(), further.tolist(), strict=True)
        pieces = [self.head, *(self.pieces[class_id][place] for class_id, place in chosen)]
        ends = np.cumsum([len(piece) for piece in pieces])
        words = np.frombuffer(bytearray(b"".join([*pieces, bytes(_WORD_BYTES)])), np.uint8)
        words = words[: len(words) // _WORD_BYTES * _WORD_BYTES].view(np.uint32)
        words[len(self.head) // _WORD_BYTES - 1] = len(classes)
        places = (ends[:-1, None] + self.places[classes, further]) // _WORD_BYTES
        stamps = np.append(places[:, 0], self.head_stamp // _WORD_BYTES)
        words[stamps] = np.array(header.stamp.sec, np.int32).view(np.uint32)
        words[stamps + 1] = header.stamp.nanosec
        words[places[:, 1:, None] + np.arange(2)] = _numbers(detections).view(np.uint32).reshape(-1, 5, 2)
        return words.tobytes()[: int(ends[-1])]


def _numbers(detections: Detections) -> NDArray[np.float64]:
    """float64 [N, 5]: centre x, y, width, height in pixels, score."""
    numbers = np.empty((len(detections), 5))
    numbers[:, :4] = xyxy_to_cxcywh(detections.boxes_xyxy_px)
    numbers[:, 4] = detections.scores
    return numbers


def _learn(header: Header, class_ids: tuple[str, ...]) -> _Layout | None:
    """The layout for `header`'s frame_id; None where the middleware's bytes are not put together as is thought here."""
    try:
        layout = _cut(header, class_ids)
        trial = _trial(np.arange(3 * len(class_ids)) % len(class_ids))
        for detections in (trial, _trial(trial.class_ids[::-1]), Detections.empty()):
            message = messages.detections_to_message(header, detections, class_ids)
            if deserialize_message(layout.fill(header, detections), type(message)) != message:
                return None
    except (ValueError, IndexError, RuntimeError):  # a number that is not found, or bytes that are no message
        return None
    return layout


def _trial(classes: IntArray) -> Detections:
    """Detections of which no two numbers are alike."""
    count = len(classes)
    corners = 1000 + np.arange(count * 4, dtype=np.float32).reshape(count, 4) ** 1.5
    return Detections(corners, np.linspace(0.9, 0.1, count), classes)


def _cut(header: Header, class_ids: tuple[str, ...]) -> _Layout:
    stamp = np.array([0x5A3C71E5, 0x2D96B34F], np.int32)
    marked = type(header)(frame_id=header.frame_id)
    marked.stamp.sec, marked.stamp.nanosec = stamp.tolist()

    def written(detections: Detections) -> bytes:
        return bytes(serialize_message(messages.detections_to_message(marked, detections, class_ids)))

    head, pieces, places = written(Detections.empty()), [], []
    for class_id in range(len(class_ids)):
        two = _trial(np.full(2, class_id))
        alone, both = written(Detections(two.boxes_xyxy_px[:1], two.scores[:1], two.class_ids[:1])), written(two)
        pieces.append((both[len(head) : len(alone)], both[len(alone) :]))
        # the last of its kind: gaps hold what the memory held, such as the same number of an earlier message
        places.append(
            [
                [piece.rindex(mark.tobytes()) for mark in (stamp, *numbers)]
                for piece, numbers in zip(pieces[-1], _numbers(two), strict=True)
            ]
        )
    return _Layout(head, head.rindex(stamp.tobytes()), tuple(pieces), np.array(places))
