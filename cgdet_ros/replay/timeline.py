"""When the answers of a replay came, and where their time went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cgdet_core.evaluation.report.report import LatencyTrace, StageTimes
from cgdet_core.evaluation.report.tables import NONE
from cgdet_ros.replay.document import held_ms
from cgdet_ros.replay.session import Replay

_RANKS = ("p50", "p95", "p99")
_WORDS = {
    "preprocess": "preprocess",
    "infer": "infer",
    "postprocess": "postprocess",
    "total": "predictor, in all",
    "receive_to_publish": "node: receive to publish",
}
_DRAWN = ("preprocess", "infer", "postprocess", "receive_to_publish")


def latency_trace(replay: Replay) -> LatencyTrace:
    """Over the time of the recording."""
    run = replay.run
    answered = run.answered
    held = [] if replay.lockstep else held_ms(run)
    at_s = [run.frames[place].bag_s for place, _ in held]
    came_ms = [run.frames[place].latency_ms or 0.0 for place, _ in held]
    to_bag_s = replay.rate / 1e3  # milliseconds on the clock are so many seconds of the recording
    ages_ms = np.array([[came, age] for came, (_, age) in zip(came_ms, held, strict=True)], np.float32).reshape(-1, 2)
    return LatencyTrace(
        np.array([frame.bag_s for frame in answered], np.float32),
        np.array([frame.latency_ms for frame in answered], np.float32),
        np.array([frame.bag_s for frame in run.frames if frame.detections is None], np.float32),
        np.array(at_s, np.float32)[:, None] + ages_ms * to_bag_s,
        ages_ms,
    )


def stage_times(replay: Replay, document: Mapping[str, Any]) -> StageTimes | None:
    """The node's own figures, the replay's, and those of the offline run; None where the node told none."""
    node, times = document["stages_ms"], document["latency_ms"]
    if node is None:
        return None
    offline = (document["offline"] or {}).get("stages_ms", {})
    table = {
        _WORDS[stage]: [*(f"{ranks[rank]:.1f}" for rank in _RANKS), _p50(offline.get(stage))]
        for stage, ranks in node.items()
    }
    if times is not None:
        table["publish to detections received"] = [*(f"{times[rank]:.1f}" for rank in _RANKS), NONE]
    reports = replay.run.reports
    frames = replay.run.frames
    sent_s = np.array([frame.sent_s for frame in frames])
    bag_s = np.array([frame.bag_s for frame in frames])
    return StageTimes(
        ("p50, ms", "p95", "p99", "offline p50"),
        table,
        "Stages: the node's own figures, of its last 256 answers; the last line: the replay's, of all. Offline: the "
        "same predictor afterwards, alone.",
        np.interp([report.received_s for report in reports], sent_s, bag_s),
        {_WORDS[stage]: np.array([report.stage_ms[stage]["p50"] for report in reports]) for stage in _DRAWN},
    )


def _p50(ranks: Mapping[str, float] | None) -> str:
    return NONE if ranks is None else f"{ranks['p50']:.1f}"
