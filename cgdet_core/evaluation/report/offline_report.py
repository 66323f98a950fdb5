"""The page of an offline evaluation: accuracy, sample frames, and the frames that went worst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cgdet_core.drawing import RgbArray, draw
from cgdet_core.evaluation.metrics.matching import above_thresholds, threshold_array
from cgdet_core.evaluation.metrics.metrics import Metrics
from cgdet_core.evaluation.offline import OfflineRun
from cgdet_core.evaluation.report.error_picture import LEGEND, draw_errors
from cgdet_core.evaluation.report.report import (
    SAMPLES_NOTE,
    WORST_TITLES,
    Gallery,
    KeyFigure,
    Part,
    Picture,
    Report,
    accuracy_figures,
    write_report,
)
from cgdet_core.evaluation.report.worst import frame_errors, worst_of_each_kind
from cgdet_core.evenly import evenly_spread
from cgdet_core.types import Sample

SAMPLE_FRAMES = 6
WORST_FRAMES = 4


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
    least = threshold_array(thresholds, names, 0.0)
    worst = worst_of_each_kind(frame_errors(run.frames, names, thresholds), WORST_FRAMES)
    wrong = {item.index for kind in worst.values() for item in kind}
    evenly = evenly_spread(len(run.frames), SAMPLE_FRAMES)
    pictures: dict[int, RgbArray] = {}
    errors: dict[int, RgbArray] = {}
    labelled = (sample for sample in samples if sample.truth is not None)
    for index, sample in enumerate(labelled):
        if index in evenly:
            shown = above_thresholds(run.frames[index].detections, least)
            pictures[index] = draw(sample.frame.image, shown, names, sample.truth, scale=2)
        if index in wrong:
            errors[index] = draw_errors(sample.frame.image, run.frames[index], names, least)
    tiles = accuracy_figures(metrics)
    if run.stage_ms:
        latency_ms = run.ms_per_image()
        note = f"p95 {latency_ms['p95']:.1f} ms"
        tiles.append(KeyFigure("Frame to detections", f"{latency_ms['p50']:.1f}", "ms", note))
    samples_shown = [Picture(pictures[index], run.frames[index].name) for index in evenly]
    part = Part(
        key_figures=tiles,
        facts={name: str(value) for name, value in facts.items()},
        metrics=metrics,
        galleries=[
            Gallery("Frames", samples_shown, SAMPLES_NOTE),
            *(
                Gallery(WORST_TITLES[kind], [Picture(errors[item.index], item.caption) for item in items], LEGEND)
                for kind, items in worst.items()
            ),
        ],
    )
    subtitle = f"{facts['data']}, every frame, offline"
    write_report(path, Report("Evaluation", subtitle, parts=[part], commands=[command]))
