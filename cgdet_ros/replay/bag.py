"""The detections of a replay as a bag of their own, to lie beside the one that was played."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cgdet_ros.replay.session import Replay

if TYPE_CHECKING:
    from cgdet_core.data.bags.write import BagWriter

TOPIC = "/detections"


def write_detections(writer: BagWriter, replays: Sequence[Replay]) -> None:
    """Every answer as the node published it, header included; of two models on /a/detections and /b/detections.

    Record times: that of the image and, where it was played in time, as much later as the answer came, so that both
    bags played together show what was known when.
    """
    with writer as bag:
        for replay, prefix in zip(replays, ("",) if len(replays) == 1 else ("/a", "/b"), strict=True):
            for frame in replay.run.answered:
                assert frame.answer is not None
                assert frame.latency_ms is not None
                # at another rate the recording's time runs faster or slower than the clock
                later_ns = 0 if replay.lockstep else round(frame.latency_ms * 1e6 * replay.rate)
                bag.detections(prefix + TOPIC, frame.answer, frame.record_time_ns + later_ns)
