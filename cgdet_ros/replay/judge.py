"""A finished replay beside its labels and beside the same predictor offline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cgdet_core.data.bags.truth import FrameInfo
from cgdet_core.errors import InputError
from cgdet_core.evaluation.agreement import Agreement, Tolerance
from cgdet_core.evaluation.live_steps import LiveFrame, Step, live_steps
from cgdet_core.evaluation.metrics.metrics import EvaluatedFrame, Metrics, evaluate
from cgdet_core.types import Detections
from cgdet_ros.config import ReplayConfig
from cgdet_ros.replay.interrupt import Interruption
from cgdet_ros.replay.offline import Offline, agreements, run_offline
from cgdet_ros.replay.run import ReplayedFrame
from cgdet_ros.replay.session import Replay


@dataclass(frozen=True)
class Judged:
    """answered: the frames that have labels and an answer; figures: over these; live: all that have labels, and were
    found something in offline, where that was run; steps: from its figures to the live ones; agreement: stamp in ns
    -> the answer beside what the node would have published offline; warnings: why any of it is missing."""

    replay: Replay
    answered: list[EvaluatedFrame]
    figures: Metrics | None
    offline: Offline | None = None
    live: list[LiveFrame] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    agreement: Mapping[int, Agreement] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def judge(replay: Replay, config: ReplayConfig, interruption: Interruption, with_offline: bool) -> Judged:
    """Measure; the offline part is left out, with a warning, where the predictor cannot be had or waited for."""
    answered = [
        _labelled(frame, replay, frame.detections)
        for frame in replay.run.answered
        if frame.stamp_ns in replay.labels.truth and frame.detections is not None
    ]
    figures = evaluate(answered, replay.run.class_names) if has_objects(answered) else None
    if not with_offline:
        return Judged(replay, answered, figures)
    try:
        offline = run_offline(replay, interruption)
    except InputError as error:
        return Judged(replay, answered, figures, warnings=(f"no offline run to compare with: {error}",))
    live = [
        LiveFrame(_labelled(frame, replay, offline.detections[frame.stamp_ns]), frame.detections)
        for frame in replay.run.frames
        if frame.stamp_ns in replay.labels.truth and frame.stamp_ns in offline.detections
    ]
    steps = (
        live_steps(live, replay.run.class_names, offline.thresholds)
        if has_objects([frame.offline for frame in live])
        else []
    )
    tolerance = Tolerance(config.same_box_px, config.same_score)
    return Judged(
        replay, answered, figures, offline, live, steps, agreements(replay, offline, tolerance), _odd(replay, offline)
    )


def has_objects(frames: list[EvaluatedFrame]) -> bool:
    """Whether there is anything in `frames` to be found; `evaluate` refuses them where not."""
    return any((~frame.truth.ignore).any() for frame in frames)


def _labelled(frame: ReplayedFrame, replay: Replay, detections: Detections) -> EvaluatedFrame:
    info = replay.labels.infos.get(frame.stamp_ns, FrameInfo())
    name = f"{info.name or 'frame'} at {frame.stamp_ns} ns"
    truth = replay.labels.truth[frame.stamp_ns]
    return EvaluatedFrame(name, detections, truth, frame.height_width_px, info.light)


def _odd(replay: Replay, offline: Offline) -> tuple[str, ...]:
    """What makes the offline run another thing than the node's."""
    node = replay.run.node
    told = {name: (node.get(name), executed) for name, executed in offline.executed.items()}
    lines = [
        f"offline ran on {name} {here}, the node on {there}" for name, (there, here) in told.items() if there != here
    ]
    if replay.run.settings.gain_time_s > 0 and len(replay.run.answered) < len(replay.run.frames):
        lines.append(
            f"gain_time_s {replay.run.settings.gain_time_s:g}: the node's gain follows the frames that it answered, "
            "offline it follows all: answers may differ for that alone"
        )
    return tuple(lines)


def count_different(judged: Judged) -> int:
    """Answers that are not what the predictor gives offline."""
    return int(np.count_nonzero([not item.same for item in judged.agreement.values()]))
