"""What a replay sends: the bag's images as messages, read ahead, and when each is due."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.data.bags.frames import read_raw_images
from cgdet_core.errors import InputError
from cgdet_core.types import NANOSECONDS, ImageArray
from cgdet_ros.node import messages

if TYPE_CHECKING:
    from sensor_msgs.msg import Image


@dataclass
class Pacer:
    """When each frame is due, in seconds after the first, by its header stamp.

    A step back, and a pause longer than max_gap_s, take the last ordinary period in place of the time
    that they say, and are counted.
    """

    rate: float
    max_gap_s: float
    default_period_s: float
    gaps: int = 0
    backward_jumps: int = 0
    _last_ns: int | None = None
    _due_s: float = 0.0
    _period_s: float | None = field(default=None)

    def due_s(self, stamp_ns: int) -> float:
        """The due time of the next frame, which bears `stamp_ns`."""
        if self._last_ns is not None:
            step_s = (stamp_ns - self._last_ns) / NANOSECONDS
            if step_s <= 0:
                self.backward_jumps += 1
                step_s = self._period_s or self.default_period_s
            elif step_s > self.max_gap_s:
                self.gaps += 1
                step_s = self._period_s or self.default_period_s
            else:
                self._period_s = step_s
            self._due_s += step_s / self.rate
        self._last_ns = stamp_ns
        return self._due_s


@dataclass(frozen=True)
class NotSendable:
    """An image of the bag that is none; reason: bag, topic, stamp and why."""

    reason: str


@dataclass(frozen=True)
class ReadImage:
    """An image of the bag as it is to be sent, and when it was recorded."""

    stamp_ns: int
    record_time_ns: int
    message: Image | NotSendable


def read_ahead(bag: Path, topic: str, total: int, ahead: int) -> Iterator[ReadImage]:
    """The first `total` images of `topic`, read by a thread up to `ahead` before their time.

    Raises InputError for a damaged bag; a single image that cannot be unpacked is handed over as NotSendable.
    """
    waiting: queue.Queue[ReadImage | BaseException | None] = queue.Queue(ahead)
    ended = threading.Event()

    def put(item: ReadImage | BaseException | None) -> bool:
        while not ended.is_set():
            try:
                waiting.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for image in islice(read_raw_images(bag, topic), total):
                message: Image | NotSendable
                try:
                    message = messages.recorded_image_message(image.uncompressed())
                except InputError as error:
                    message = NotSendable(f"{bag}: {topic}, image of stamp {image.stamp_ns} ns: {error}")
                if not put(ReadImage(image.stamp_ns, image.record_time_ns, message)):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        ended.set()
        thread.join()


def sent_pictures(bag: Path, topic: str, stamps_ns: Iterable[int]) -> Iterator[tuple[int, ImageArray]]:
    """Stamp and pixels of the images that were sent, in the bag's order; those that cannot be decoded are passed over,
    as the node refused them too. Of several with one stamp the first, which was the one sent."""
    waiting = set(stamps_ns)
    for image in read_raw_images(bag, topic):
        if image.stamp_ns in waiting:
            waiting.remove(image.stamp_ns)
            try:
                pixels = image.decode()
            except InputError:
                continue
            yield image.stamp_ns, pixels
        if not waiting:
            return
