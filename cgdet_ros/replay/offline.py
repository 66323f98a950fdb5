"""The node's own inference over the frames that were sent, offline: what every frame would have given.

The bag is read again for it, so that it takes nothing from the run.
"""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from cgdet_core.errors import InputError
from cgdet_core.evaluation.live import OfflineAnswers
from cgdet_core.evaluation.metrics.matching import MIN_SCORE
from cgdet_core.evaluation.replay import Replay
from cgdet_core.types import Detections
from cgdet_ros.config import NodeConfig
from cgdet_ros.node.pipeline import Inference
from cgdet_ros.replay.play import Interruption

_EXECUTED = ("device", "precision", "backend")


def answer_offline(replay: Replay, settings: NodeConfig, interruption: Interruption) -> OfflineAnswers:
    """With the model, settings and arithmetic of the node. Raises InputError where these are not to be had any more,
    and where the user does not want to wait."""
    executed = {name: replay.node[name] for name in ("model", *_EXECUTED) if name in replay.node}
    inference = Inference(settings.model_copy(update=executed))
    predictor = inference.predictor
    own = inference.postprocess
    thresholds = np.array([own.threshold_of(name) for name in predictor.info.class_names], np.float64)
    floor = own.at_score(min(MIN_SCORE, *thresholds))
    detections: dict[int, Detections] = {}
    stage_ms: dict[str, list[float]] = {}
    pictures = replay.pictures(frame.stamp_ns for frame in replay.frames)
    for stamp_ns, image in tqdm(pictures, "offline", len(replay.frames), unit="frame", disable=None):
        if interruption.asked:
            raise InputError("it was interrupted")
        try:
            detections[stamp_ns] = inference.predict(image, stamp_ns, floor)
        except InputError:  # the node refused it as well
            continue
        for stage, latency_ms in predictor.last_stage_ms.items():
            stage_ms.setdefault(stage, []).append(latency_ms)
    here = {"device": predictor.device, "precision": predictor.precision, "backend": predictor.backend}
    warnings = [
        f"offline ran on {name} {here[name]}, the node on {replay.node.get(name)}"
        for name in _EXECUTED
        if here[name] != replay.node.get(name)
    ]
    if settings.gain_time_s > 0 and len(replay.answered) < len(replay.frames):
        warnings.append(
            f"gain_time_s {settings.gain_time_s:g}: the node's gain follows the frames that it answered, "
            "offline it follows all: answers may differ for that alone"
        )
    return OfflineAnswers(detections, thresholds, stage_ms, here, tuple(warnings))
