"""The play itself: the bag's images out in their own time, answers in, each matched by its header stamp."""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from cgdet_core.data.bags.frames import read_raw_images
from cgdet_core.data.bags.messages import RawImage, TimeBy
from cgdet_core.errors import InputError, StopRequest
from cgdet_core.evaluation.replay import Replay, ReplayedFrame
from cgdet_core.types import NANOSECONDS
from cgdet_ros.node import messages
from cgdet_ros.replay.process import NodeEnded, NodeProcess

if TYPE_CHECKING:
    from sensor_msgs.msg import Image

    from cgdet_ros.replay.link import ReplayLink
    from cgdet_ros.replay.request import Recording

_READ_AHEAD_FRAMES = 16
_ANSWER_TIMEOUT_S = 10.0  # for one answer in lockstep, and for the last one
_FINAL_REPORT_S = 5.0  # the node reports twice a second


@dataclass
class Pacer:
    """When each frame is due, in seconds after the first, by its header stamp.

    A step back, and a pause longer than max_gap_s, are counted and take the last ordinary period.
    """

    rate: float
    max_gap_s: float = 2.0
    default_period_s: float = 1 / 30
    gaps: int = 0
    backward_jumps: int = 0
    _last_ns: int | None = None
    _due_s: float = 0.0
    _period_s: float | None = None

    def due_s(self, stamp_ns: int) -> float:
        """The due time of the next frame, which bears `stamp_ns`."""
        if self._last_ns is not None:
            step_s = (stamp_ns - self._last_ns) / NANOSECONDS
            self.backward_jumps += step_s <= 0
            self.gaps += step_s > self.max_gap_s
            if 0 < step_s <= self.max_gap_s:
                self._period_s = step_s
            else:
                step_s = self._period_s or self.default_period_s
            self._due_s += step_s / self.rate
        self._last_ns = stamp_ns
        return self._due_s


def read_ahead(bag: Path, topic: str, total: int, by: TimeBy) -> Iterator[tuple[RawImage, Image | str]]:
    """The first `total` images of `topic`, read by a thread before their time, each as it is to be sent, or the reason
    why it cannot be unpacked. InputError for a damaged bag."""
    images = _read(bag, topic, total, by)
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, images, None) for _ in range(_READ_AHEAD_FRAMES))
        try:
            while (image := waiting.popleft().result()) is not None:
                waiting.append(thread.submit(next, images, None))
                yield image
        finally:
            thread.submit(images.close)  # SQLite closes a file in the thread that opened it


def _read(bag: Path, topic: str, total: int, by: TimeBy) -> Generator[tuple[RawImage, Image | str]]:
    for image in islice(read_raw_images(bag, topic, by), total):
        try:
            yield image, messages.recorded_image_message(image)
        except InputError as error:
            yield image, f"{bag}: {topic}, image of stamp {image.stamp_ns} ns: {error}"


def play(
    images: Iterator[tuple[RawImage, Image | str]],
    recording: Recording,
    request: argparse.Namespace,
    link: ReplayLink,
    process: NodeProcess,
    interruption: StopRequest,
) -> Replay:
    """Publish `images` in real time, or each after the answer to the one before (lockstep); collect the answers.
    A signal ends the sending; the answers to what was sent are waited for all the same."""
    lockstep, total = request.lockstep, recording.total
    pacer = Pacer(request.rate)
    sent: dict[int, ReplayedFrame] = {}
    late_ms: list[float] = []
    not_sendable: list[str] = []
    ended: str | None = None
    repeated_stamps = 0
    start_s = 0.0
    try:
        for image, message in tqdm(images, "replaying", total, unit="frame", disable=None):
            process.check()
            if interruption.is_set():
                break
            if isinstance(message, str):
                not_sendable.append(message)
                continue
            if image.stamp_ns in sent:  # an answer could not be told from that to the other
                repeated_stamps += 1
                continue
            due_s = pacer.due_s(image.stamp_ns)
            start_s = start_s or time.monotonic()
            if not lockstep and interruption.wait(start_s + due_s - time.monotonic()):
                break
            sent_s = link.send(message)
            size = message.height, message.width
            frame = ReplayedFrame(image.stamp_ns, size, due_s * request.rate, sent_s, image.record_time_ns)
            sent[image.stamp_ns] = frame
            if lockstep:
                _wait_for_outcome(link, process, image.stamp_ns, len(sent))
            else:
                late_ms.append((sent_s - start_s - due_s) * 1e3)
        if not sent:
            if interruption.is_set():
                raise KeyboardInterrupt
            why = f": {not_sendable[0]}" if not_sendable else ": choose another topic"
            raise InputError(f"the bag gave no frame to replay{why}")
        _wait_for_outcome(link, process, list(sent)[-1], len(sent))
    except NodeEnded as error:
        if not sent:
            raise
        ended = str(error)  # what was answered before is kept
    report, is_final = link.final_report(timeout_s=0.0 if ended else _FINAL_REPORT_S)
    answers = link.answers()
    frames = tuple(link.with_answer(frame, answers.pop(stamp_ns, None)) for stamp_ns, frame in sent.items())
    anomalies = {
        "answers_of_unknown_stamps": len(answers),
        "repeated_answers": link.repeated_answers,
        "gaps_in_bag": pacer.gaps,
        "backward_jumps_in_bag": pacer.backward_jumps,
    }
    return Replay(
        bag=request.bag,
        topic=recording.topic,
        rate=request.rate,
        lockstep=lockstep,
        by=request.by,
        command=request.command,
        class_names=link.class_names,
        threshold=link.threshold,
        in_bag=total,
        repeated_stamps=repeated_stamps,
        not_sendable=tuple(not_sendable),
        frames=frames,
        late_ms=tuple(late_ms),
        node=report,
        node_is_final=is_final and not ended,
        stages_ms=link.stages_ms(),
        anomalies=anomalies,
        ended=ended,
        interrupted=interruption.is_set(),
    )


def _wait_for_outcome(link: ReplayLink, process: NodeProcess, stamp_ns: int, sent: int) -> None:
    """The node answers in order: that was all once the last frame sent is answered or lost, or all is quiet."""
    while not link.wait_for_outcome(stamp_ns, sent, 0.1):
        process.check()
        if link.quiet_s() > _ANSWER_TIMEOUT_S:
            return
