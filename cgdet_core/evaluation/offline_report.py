"""The page of an offline evaluation: accuracy, sample frames, and the frames that went worst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.drawing import draw
from cgdet_core.evaluation.metrics import Metrics
from cgdet_core.evaluation.offline import OfflineRun
from cgdet_core.evaluation.report import KeyFigure, Picture, Report, accuracy_figures, write_report
from cgdet_core.evaluation.worst import worst_frames
from cgdet_core.evenly import evenly_spread
from cgdet_core.types import Detections, Sample

SAMPLE_FRAMES = 6
WORST_FRAMES = 8


def write_offline_report(
    path: Path,
    run: OfflineRun,
    samples: Iterable[Sample],
    metrics: Metrics,
    thresholds: Mapping[str, float],
    facts: Mapping[str, Any],
    command: str,
) -> None:
    """Write the page to `path`. samples: the very frames of `run`, read again for their pixels.

    thresholds: class name -> score from which a detection is drawn and counts as one.
    """
    names = list(thresholds)
    captions = {frame.index: frame.caption for frame in worst_frames(run.frames, WORST_FRAMES, names, thresholds)}
    evenly = evenly_spread(len(run.frames), SAMPLE_FRAMES)
    pictures: dict[int, Any] = {}
    labelled = (sample for sample in samples if sample.truth is not None)
    for index, sample in enumerate(labelled):
        if index in captions or index in evenly:
            shown = _above(run.frames[index].detections, thresholds, names)
            pictures[index] = draw(sample.frame.image, shown, names, sample.truth, scale=2)
    latency_ms = run.ms_per_image()
    speed = KeyFigure("Frame to detections", f"{latency_ms['p50']:.1f}", "ms", f"p95 {latency_ms['p95']:.1f} ms")
    report = Report(
        title="Evaluation",
        subtitle=f"{facts['data']}, every frame, offline",
        key_figures=[*accuracy_figures(metrics), speed],
        facts={name: str(value) for name, value in facts.items()},
        metrics=metrics,
        samples=[Picture(pictures[index], run.frames[index].name) for index in evenly],
        worst=[Picture(pictures[index], caption) for index, caption in captions.items()],
        commands=[command],
    )
    write_report(path, report)


def _above(detections: Detections, thresholds: Mapping[str, float], names: Sequence[str]) -> Detections:
    least = np.array([thresholds[name] for name in names], np.float32)
    keep = detections.scores >= least[detections.class_ids]
    return Detections(detections.boxes_xyxy_px[keep], detections.scores[keep], detections.class_ids[keep])
