"""The run itself: images out in their own time, answers in, each matched by its header stamp."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.config import ReplayConfig
from cgdet_core.errors import InputError
from cgdet_core.types import Detections
from cgdet_ros import messages
from cgdet_ros.replay_link import ReplayLink
from cgdet_ros.replay_process import NodeEnded, NodeProcess

if TYPE_CHECKING:
    from sensor_msgs.msg import Image

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class ReplayedFrame:
    """One frame that was published; latency_ms (publish to detections received) and detections: None if dropped."""

    stamp_ns: int
    height_width_px: tuple[int, int]
    sent_s: float
    latency_ms: float | None
    detections: Detections | None


@dataclass(frozen=True)
class ReplayRun:
    """What came of a replay.

    frames: in the order sent; late_ms: how much later than its time each was published; node: what
    the node said of itself; anomalies: name -> count; not_sendable: images of the bag that could not be
    made a message, each with its reason; ended: why the run is cut short, the node having ended.
    """

    frames: tuple[ReplayedFrame, ...]
    late_ms: tuple[float, ...]
    class_names: tuple[str, ...]
    threshold: float
    node: dict[str, str]
    anomalies: dict[str, int]
    not_sendable: tuple[str, ...] = ()
    ended: str | None = None

    @property
    def answered(self) -> tuple[ReplayedFrame, ...]:
        return tuple(frame for frame in self.frames if frame.detections is not None)


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
            step_s = (stamp_ns - self._last_ns) / _NANOSECONDS
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


def read_ahead(bag: Path, topic: str, total: int, ahead: int) -> Iterator[tuple[int, Image | NotSendable]]:
    """Stamp in ns and message of the first `total` images of `topic`, read by a thread up to `ahead` before their time.

    Raises InputError for a damaged bag; a single image that cannot be unpacked is handed over as NotSendable.
    """
    from cgdet_core.data.bags import read_raw_images

    waiting: queue.Queue[tuple[int, Image | NotSendable] | BaseException | None] = queue.Queue(ahead)
    ended = threading.Event()

    def put(item: tuple[int, Image | NotSendable] | BaseException | None) -> bool:
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
                if not put((image.stamp_ns, message)):
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


def play(
    images: Iterator[tuple[int, Image | NotSendable]],
    total: int,
    link: ReplayLink,
    process: NodeProcess,
    config: ReplayConfig,
    lockstep: bool,
) -> ReplayRun:
    """Publish `images` in real time, or each after the answer to the one before (`lockstep`); collect the answers."""
    pacer = Pacer(config.rate, config.max_gap_s, config.default_period_s)
    sent: dict[int, tuple[float, tuple[int, int]]] = {}
    late_ms: list[float] = []
    not_sendable: list[str] = []
    ended: str | None = None
    repeated_stamps = 0
    start_s: float | None = None
    try:
        for stamp_ns, message in _shown(images, total):
            process.check()
            if isinstance(message, NotSendable):
                not_sendable.append(message.reason)
                continue
            if stamp_ns in sent:  # an answer could not be told from that to the other
                repeated_stamps += 1
                continue
            due_s = pacer.due_s(stamp_ns)
            if start_s is None:
                start_s = time.monotonic()
            if not lockstep:
                time.sleep(max(0.0, start_s + due_s - time.monotonic()))
            sent_s = link.send(message)
            sent[stamp_ns] = sent_s, (message.height, message.width)
            if lockstep:
                _wait_for_outcome(link, process, stamp_ns, len(sent), config.answer_timeout_s)
            else:
                late_ms.append((sent_s - start_s - due_s) * 1e3)
        if not sent:
            why = f": {not_sendable[0]}" if not_sendable else ": choose another topic"
            raise InputError(f"the bag gave no frame to replay{why}")
        _wait_for_outcome(link, process, list(sent)[-1], len(sent), config.answer_timeout_s)
    except NodeEnded as error:
        if not sent:
            raise
        ended = str(error)  # what was answered before is kept
    report = link.final_report(timeout_s=0.0 if ended else 3.0)
    answers = link.answers()
    class_names = link.class_names
    frames = []
    for stamp_ns, (sent_s, height_width_px) in sent.items():
        received_s, message = answers.pop(stamp_ns, (None, None))
        frames.append(
            ReplayedFrame(
                stamp_ns,
                height_width_px,
                sent_s,
                None if received_s is None else (received_s - sent_s) * 1e3,
                None if message is None else messages.detections_from_message(message, class_names),
            )
        )
    anomalies = {
        "answers_of_unknown_stamps": len(answers),
        "repeated_answers": link.repeated_answers,
        "repeated_stamps_in_bag": repeated_stamps,
        "images_not_sendable": len(not_sendable),
        "gaps_in_bag": pacer.gaps,
        "backward_jumps_in_bag": pacer.backward_jumps,
    }
    return ReplayRun(
        tuple(frames),
        tuple(late_ms),
        class_names,
        link.threshold,
        report,
        anomalies,
        not_sendable=tuple(not_sendable),
        ended=ended,
    )


def _shown(images: Iterator[tuple[int, Image | NotSendable]], total: int) -> Iterator[tuple[int, Image | NotSendable]]:
    """`images`, with a bar in a terminal."""
    from tqdm import tqdm

    with tqdm(total=total, unit="frame", desc="replaying", disable=None) as progress:
        for image in images:
            progress.update()
            yield image


def _wait_for_outcome(link: ReplayLink, process: NodeProcess, stamp_ns: int, sent: int, timeout_s: float) -> None:
    """The node answers in order: once the last of the frames sent is answered or lost, or nothing came for long, that
    was all."""
    deadline_s = time.monotonic() + timeout_s
    while not link.wait_for_outcome(stamp_ns, sent, 0.1):
        process.check()
        if time.monotonic() > deadline_s and link.quiet_s() > timeout_s:
            return
