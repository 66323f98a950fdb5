"""The node's own predictor over the frames that were sent, offline: what every frame would have given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cgdet_core.config import EvaluationConfig
from cgdet_core.errors import InputError
from cgdet_core.evaluation.agreement import Agreement, Tolerance, agreement
from cgdet_core.evaluation.metrics.matching import above_thresholds
from cgdet_core.types import Detections
from cgdet_ros.replay.images import sent_pictures
from cgdet_ros.replay.interrupt import Interruption
from cgdet_ros.replay.session import Replay

_INTERRUPTED = "it was interrupted"
_EXECUTED = ("device", "precision", "backend")


@dataclass(frozen=True)
class Offline:
    """detections: stamp in ns -> what was found, down to the evaluation's score floor; thresholds: float64 [C], the
    node's; stage_ms: stage -> time of every frame; executed: device, precision and backend."""

    detections: Mapping[int, Detections]
    thresholds: NDArray[np.float64]
    stage_ms: Mapping[str, list[float]]
    executed: Mapping[str, str]

    def published(self, stamp_ns: int) -> Detections | None:
        """What the node would have published about the frame; None where it cannot be decoded."""
        found = self.detections.get(stamp_ns)
        return None if found is None else above_thresholds(found, self.thresholds)


def run_offline(replay: Replay, interruption: Interruption) -> Offline:
    """With the model, settings and arithmetic of the node. Raises InputError where these are not to be had any more,
    and where the user does not want to wait."""
    if interruption.asked:
        raise InputError(_INTERRUPTED)
    from cgdet_ros.node.pipeline import Inference

    node = replay.run.node
    executed = {name: node[name] for name in ("model", *_EXECUTED) if name in node}
    inference = Inference(replay.run.settings.model_copy(update=executed))
    predictor = inference.predictor
    predictor.warm_up()
    names, own = predictor.info.class_names, inference.postprocess
    thresholds = np.array([own.threshold_of(name) for name in names], np.float64)
    floor = min(EvaluationConfig().min_score, *thresholds)
    to_the_floor = own.at_score(floor)
    detections: dict[int, Detections] = {}
    stage_ms: dict[str, list[float]] = {}
    stamps_ns = [frame.stamp_ns for frame in replay.run.frames]
    pictures = sent_pictures(replay.bag, replay.topic, stamps_ns)
    for stamp_ns, image in tqdm(pictures, "offline", len(stamps_ns), unit="frame", disable=None):
        if interruption.asked:
            raise InputError(_INTERRUPTED)
        try:
            detections[stamp_ns] = inference.predict(image, stamp_ns, to_the_floor)
        except InputError:  # the node refused it as well
            continue
        for stage, latency_ms in predictor.last_stage_ms.items():
            stage_ms.setdefault(stage, []).append(latency_ms)
    done = {"device": predictor.device, "precision": predictor.precision, "backend": predictor.backend}
    return Offline(detections, thresholds, stage_ms, done)


def agreements(replay: Replay, offline: Offline, tolerance: Tolerance) -> dict[int, Agreement]:
    """Stamp in ns -> the node's answer beside what it would have published offline, of every frame that has both."""
    compared = {}
    for frame in replay.run.answered:
        expected = offline.published(frame.stamp_ns)
        if expected is not None and frame.detections is not None:
            compared[frame.stamp_ns] = agreement(frame.detections, expected, offline.thresholds, tolerance)
    return compared
