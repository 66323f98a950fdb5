"""The pages of `cgdet evaluate` and `cgdet compare`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.drawing import draw
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame, above_thresholds
from cgdet_core.evaluation.metrics.metrics import Metrics, evaluate
from cgdet_core.evaluation.offline import OfflineRun
from cgdet_core.evaluation.report.errors import differing_frames, worst_frames
from cgdet_core.evaluation.report.page import SAMPLES_NOTE, Gallery, Picture, precision_recall, write_page
from cgdet_core.evaluation.task import MeasuredTask
from cgdet_core.subsample import subsample
from cgdet_core.types import Sample

SAMPLE_FRAMES = 6


def write_report(
    path: Path,
    task: MeasuredTask,
    run: OfflineRun[Any],
    samples: Iterable[Sample],
    figures: Any,
    facts: Mapping[str, Any],
    command: str,
    timed: str = "",
) -> None:
    """Write the page of one model. samples: the very frames of `run`, read again for their pixels; timed: what the
    times are of, where that is not the predictor's unit."""
    part = {**task.page_part(run, samples, figures), "facts": facts}
    if run.stage_ms:  # what was recorded elsewhere was not timed
        latency_ms = run.ms_per_frame()
        what = timed or f"One {task.unit}"
        part["tiles"] = [(what, f"{latency_ms['p50']:.1f}", "ms", f"p95 {latency_ms['p95']:.1f} ms")]
    write_page(path, "Evaluation", [part], subtitle=f"{facts['data']}, every {task.unit}", command=command)


def write_comparison(
    path: Path,
    task: MeasuredTask,
    runs: Sequence[OfflineRun[Any]],
    samples: Iterable[Sample],
    figures: Mapping[str, Any],
    command: str,
) -> None:
    """Write the page of two models. samples: as of `write_report`; figures: the JSON of the command."""
    of_models, of_both = task.page_parts_of_two(runs, samples, figures)
    parts = [
        {
            "name": f"Model {letter.upper()}: {model['model']}",
            "facts": {"model": model["file"], "model sha256": model["model_sha256"]},
            **of_model,
        }
        for (letter, model), of_model in zip(figures["models"].items(), of_models, strict=True)
    ]
    comparison = {**of_both, "figures": figures, "unit": task.unit}
    write_page(path, "Comparison", parts, subtitle=str(figures["data"]), comparison=comparison, command=command)


def detection_part(run: OfflineRun[EvaluatedFrame], samples: Iterable[Sample], metrics: Metrics) -> dict[str, Any]:
    """What the page of a detector shows. A detection is drawn and counts as one from its class's threshold on."""
    names = list(metrics.operating_point)
    floor = np.array([point["threshold"] for point in metrics.operating_point.values()], np.float64)
    worst = worst_frames(run.frames, names, floor)
    drawn: list[Picture] = []
    chosen = subsample(len(run.frames), SAMPLE_FRAMES)
    for index, sample in labelled(samples):
        frame = run.frames[index]
        if index in chosen:
            detections = above_thresholds(frame.detections, floor)
            drawn.append(Picture(draw(sample.frame.image, detections, names, sample.truth, scale=2), frame.name))
        worst.draw(index, sample.frame.image)
    return {"metrics": metrics, "galleries": [Gallery("Frames", drawn, SAMPLES_NOTE), *worst.galleries()]}


def detection_parts_of_two(
    runs: Sequence[OfflineRun[EvaluatedFrame]], samples: Iterable[Sample], figures: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the page of two detectors shows of each and of both; figures: the JSON of the command."""
    class_names = list(figures["per_class"])
    differing = differing_frames(runs[0].frames, runs[1].frames, class_names)
    for place, sample in labelled(samples):
        differing.draw(place, sample.frame.image)
    metrics = [evaluate(run.frames, class_names) for run in runs]
    comparison = {
        "curves": precision_recall(list(zip("AB", metrics, strict=True)), "both-"),
        "curves_note": "Precision over recall at IoU 0.5; A drawn through, B dashed; the dots are the thresholds.",
        "galleries": differing.galleries(),
    }
    return [{"metrics": each} for each in metrics], comparison


def labelled(samples: Iterable[Sample]) -> Iterator[tuple[int, Sample]]:
    """The frames that have a record, each with its place."""
    return enumerate(sample for sample in samples if sample.truth is not None)
