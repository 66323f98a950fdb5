"""The run itself: images out in their own time, answers in, each matched by its header stamp."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cgdet_core.errors import InputError
from cgdet_core.types import Detections
from cgdet_ros.config import NodeConfig, ReplayConfig
from cgdet_ros.node import messages
from cgdet_ros.replay.accounts import Accounts, balance
from cgdet_ros.replay.images import NotSendable, Pacer, ReadImage
from cgdet_ros.replay.interrupt import Interruption
from cgdet_ros.replay.link import ReplayLink, StageReport
from cgdet_ros.replay.process import NodeEnded, NodeProcess

_FINAL_REPORT_S = 5.0  # the node reports twice a second


@dataclass(frozen=True)
class ReplayedFrame:
    """One frame that was published; latency_ms (publish to detections received), detections and answer (the serialised
    Detection2DArray): None without an answer.

    bag_s: when it was recorded, by the header stamps, from the first frame on, long pauses shortened;
    sent_s: monotonic time.
    """

    stamp_ns: int
    height_width_px: tuple[int, int]
    sent_s: float
    latency_ms: float | None
    detections: Detections | None
    bag_s: float = 0.0
    record_time_ns: int = 0
    answer: bytes | None = None


@dataclass(frozen=True)
class ReplayRun:
    """What came of a replay.

    frames: in the order sent; late_ms: how much later than its time each was published; node: what
    the node said of itself; anomalies: name -> count; accounts: what became of the bag's frames;
    reports: what the node said of its stages, over time; settings: the parameters that it ran with;
    not_sendable: images of the bag that could not be made a message, each with its reason; ended: why
    the run is cut short, the node having ended; interrupted: by the user.
    """

    frames: tuple[ReplayedFrame, ...]
    late_ms: tuple[float, ...]
    class_names: tuple[str, ...]
    threshold: float
    node: dict[str, str]
    anomalies: dict[str, int]
    accounts: Accounts
    reports: tuple[StageReport, ...]
    settings: NodeConfig
    not_sendable: tuple[str, ...] = ()
    ended: str | None = None
    interrupted: bool = False

    @property
    def answered(self) -> tuple[ReplayedFrame, ...]:
        return tuple(frame for frame in self.frames if frame.detections is not None)


def play(
    images: Iterator[ReadImage],
    total: int,
    link: ReplayLink,
    process: NodeProcess,
    config: ReplayConfig,
    *,
    lockstep: bool,
    interruption: Interruption,
) -> ReplayRun:
    """Publish `images`, `total` of them, in real time, or each after the answer to the one before (`lockstep`); collect
    the answers. A signal ends the sending; the answers to what was sent are waited for all the same."""
    pacer = Pacer(config.rate, config.max_gap_s, config.default_period_s)
    sent: dict[int, _Sent] = {}
    late_ms: list[float] = []
    not_sendable: list[str] = []
    ended: str | None = None
    repeated_stamps = 0
    start_s: float | None = None
    try:
        for image in _shown(images, total):
            process.check()
            if interruption.asked:
                break
            if isinstance(image.message, NotSendable):
                not_sendable.append(image.message.reason)
                continue
            if image.stamp_ns in sent:  # an answer could not be told from that to the other
                repeated_stamps += 1
                continue
            due_s = pacer.due_s(image.stamp_ns)
            if start_s is None:
                start_s = time.monotonic()
            if not lockstep and interruption.wait(start_s + due_s - time.monotonic()):
                break
            sent_s = link.send(image.message)
            size = image.message.height, image.message.width
            sent[image.stamp_ns] = _Sent(sent_s, due_s * config.rate, size, image.record_time_ns)
            if lockstep:
                _wait_for_outcome(link, process, image.stamp_ns, len(sent), config.answer_timeout_s)
            else:
                late_ms.append((sent_s - start_s - due_s) * 1e3)
        if not sent:
            if interruption.asked:
                raise KeyboardInterrupt
            why = f": {not_sendable[0]}" if not_sendable else ": choose another topic"
            raise InputError(f"the bag gave no frame to replay{why}")
        _wait_for_outcome(link, process, list(sent)[-1], len(sent), config.answer_timeout_s)
    except NodeEnded as error:
        if not sent:
            raise
        ended = str(error)  # what was answered before is kept
    report, is_final = link.final_report(timeout_s=0.0 if ended else _FINAL_REPORT_S)
    answers = link.answers()
    frames = tuple(_replayed(stamp_ns, of_frame, answers, link.class_names) for stamp_ns, of_frame in sent.items())
    accounts = balance(
        in_bag=total,
        read=len(sent) + repeated_stamps + len(not_sendable),
        repeated_stamps=repeated_stamps,
        not_sendable=len(not_sendable),
        sent=len(sent),
        answered=sum(frame.detections is not None for frame in frames),
        node=report if is_final and not ended else {},
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
        frames,
        tuple(late_ms),
        link.class_names,
        link.threshold,
        report,
        anomalies,
        accounts,
        link.stage_reports(),
        link.settings,
        not_sendable=tuple(not_sendable),
        ended=ended,
        interrupted=interruption.asked,
    )


@dataclass(frozen=True)
class _Sent:
    sent_s: float
    bag_s: float
    height_width_px: tuple[int, int]
    record_time_ns: int


def _replayed(
    stamp_ns: int, sent: _Sent, answers: dict[int, tuple[float, Any]], class_names: tuple[str, ...]
) -> ReplayedFrame:
    """The frame with its answer, which is taken out of `answers`."""
    if stamp_ns not in answers:
        return ReplayedFrame(
            stamp_ns, sent.height_width_px, sent.sent_s, None, None, sent.bag_s, sent.record_time_ns, None
        )
    received_s, message = answers.pop(stamp_ns)
    return ReplayedFrame(
        stamp_ns,
        sent.height_width_px,
        sent.sent_s,
        (received_s - sent.sent_s) * 1e3,
        messages.detections_from_message(message, class_names),
        sent.bag_s,
        sent.record_time_ns,
        messages.serialised(message),
    )


def _shown(images: Iterator[ReadImage], total: int) -> Iterator[ReadImage]:
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
