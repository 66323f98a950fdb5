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
            self._layout = _learn(header, key[1])
            self._known = key
        if self._layout is None:
            return bytes(serialize_message(messages.detections_to_message(header, detections, class_ids)))
        return self._layout.fill(header, detections)


@dataclass(frozen=True)
class _Layout:
    """Where everything stands in the bytes of an array with one frame_id.

    head: an array without detections, which ends in their number; first, later: by class, what the first and each
    further detection adds to it. *_numbers: int64 [C, 5], bytes from a piece's start to its centre x, y, width, height
    and score; *_stamps: int64 [C], to its stamp's seconds, which the nanoseconds follow; head_stamp: to the head's.
    """

    head: bytes
    head_stamp: int
    first: tuple[bytes, ...]
    later: tuple[bytes, ...]
    first_numbers: IntArray
    later_numbers: IntArray
    first_stamps: IntArray
    later_stamps: IntArray

    def fill(self, header: Header, detections: Detections) -> bytes:
        classes = detections.class_ids
        count = len(classes)
        pieces = [self.head]
        numbers, stamps = self.later_numbers[classes], self.later_stamps[classes]
        if count:
            pieces += [self.later[class_id] for class_id in classes.tolist()]
            pieces[1] = self.first[classes[0]]
            numbers[0], stamps[0] = self.first_numbers[classes[0]], self.first_stamps[classes[0]]
        ends = np.cumsum([len(piece) for piece in pieces])
        words = np.frombuffer(bytearray(b"".join([*pieces, bytes(_WORD_BYTES)])), np.uint8)
        words = words[: len(words) // _WORD_BYTES * _WORD_BYTES].view(np.uint32)
        starts = ends[:-1]
        words[len(self.head) // _WORD_BYTES - 1] = count
        seconds_at = np.append(starts + stamps, self.head_stamp) // _WORD_BYTES
        words[seconds_at] = np.array(header.stamp.sec, np.int32).view(np.uint32)
        words[seconds_at + 1] = header.stamp.nanosec
        numbers_at = (starts[:, None] + numbers) // _WORD_BYTES
        values = _numbers(detections).view(np.uint32).reshape(count, 5, 2)
        words[numbers_at[..., None] + np.arange(2)] = values
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

    head = written(Detections.empty())
    pieces: list[tuple[bytes, bytes]] = []
    places: list[list[list[int]]] = []  # by class, first and later: stamp, then the five numbers
    for class_id in range(len(class_ids)):
        two = _trial(np.full(2, class_id))
        alone, both = written(Detections(two.boxes_xyxy_px[:1], two.scores[:1], two.class_ids[:1])), written(two)
        first, later = both[len(head) : len(alone)], both[len(alone) :]
        pieces.append((first, later))
        places.append(
            [
                # the last of its kind: gaps hold what the memory held, such as the same number of an earlier message
                [piece.rindex(stamp.tobytes()), *(piece.rindex(number.tobytes()) for number in numbers)]
                for piece, numbers in zip((first, later), _numbers(two), strict=True)
            ]
        )
    places_of = np.array(places)
    return _Layout(
        head=head,
        head_stamp=head.rindex(stamp.tobytes()),
        first=tuple(first for first, _ in pieces),
        later=tuple(later for _, later in pieces),
        first_numbers=places_of[:, 0, 1:],
        later_numbers=places_of[:, 1, 1:],
        first_stamps=places_of[:, 0, 0],
        later_stamps=places_of[:, 1, 0],
    )
