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
from cgdet_core.evaluation.report.page import (
    SAMPLES_NOTE,
    Gallery,
    KeyFigure,
    Picture,
    accuracy_tiles,
    write_page,
)
from cgdet_core.subsample import subsample
from cgdet_core.types import Sample

SAMPLE_FRAMES = 6


def write_offline_report(
    path: Path,
    run: OfflineRun[EvaluatedFrame],
    samples: Iterable[Sample],
    metrics: Metrics,
    facts: Mapping[str, Any],
    command: str,
) -> None:
    """Write the page to `path`. samples: the very frames of `run`, read again for their pixels. A detection is drawn
    and counts as one from its class's threshold on."""
    names = list(metrics.operating_point)
    floor = np.array([point["threshold"] for point in metrics.operating_point.values()], np.float64)
    worst = worst_frames(run.frames, names, floor)
    drawn: list[Picture] = []
    chosen = subsample(len(run.frames), SAMPLE_FRAMES)
    for index, sample in _labelled(samples):
        frame = run.frames[index]
        if index in chosen:
            detections = above_thresholds(frame.detections, floor)
            drawn.append(Picture(draw(sample.frame.image, detections, names, sample.truth, scale=2), frame.name))
        worst.draw(index, sample.frame.image)
    tiles = accuracy_tiles(metrics)
    if run.stage_ms:
        latency_ms = run.ms_per_frame()
        note = f"p95 {latency_ms['p95']:.1f} ms"
        tiles.append(KeyFigure("Frame to detections", f"{latency_ms['p50']:.1f}", "ms", note))
    galleries = [Gallery("Frames", drawn, SAMPLES_NOTE), *worst.galleries()]
    part = {"tiles": tiles, "metrics": metrics, "galleries": galleries, "facts": facts}
    write_page(path, "Evaluation", [part], subtitle=f"{facts['data']}, every frame, offline", command=command)


def write_compare_report(
    path: Path,
    runs: Sequence[OfflineRun[EvaluatedFrame]],
    samples: Iterable[Sample],
    figures: Mapping[str, Any],
    command: str,
) -> None:
    """Write the page to `path`. samples: the very frames of `runs`, read again for their pixels; figures: the JSON of
    the command."""
    class_names = list(figures["per_class"])
    differing = differing_frames(runs[0].frames, runs[1].frames, class_names)
    for place, sample in _labelled(samples):
        differing.draw(place, sample.frame.image)
    metrics = evaluate(runs[0].frames, class_names), evaluate(runs[1].frames, class_names)
    a, b = (figures["models"][letter] for letter in "ab")
    names = a["file"], b["file"]
    device_a, device_b = (f"{each['device']}, {each['precision']}, {each['backend']}" for each in (a, b))
    comparison = {
        "figures": figures,
        "names": names,
        "table": [
            ("ms a frame, p50", f"{a['ms_per_image']['p50']:.1f}", f"{b['ms_per_image']['p50']:.1f}"),
            ("parameters", f"{a['params'] / 1e6:.2f} M", f"{b['params'] / 1e6:.2f} M"),
            ("device", device_a, device_b),
        ],
        "metrics": metrics,
        "note": f"Over {figures['images']} labelled frames, every one offline.",
        "galleries": differing.galleries(),
    }
    parts = [
        {
            "name": f"Model {letter}: {Path(name).name}",
            "tiles": [*accuracy_tiles(of_model), KeyFigure("Frames", str(of_model.images))],
            "metrics": of_model,
            "facts": {"model": name, "model sha256": model["model_sha256"]},
        }
        for letter, name, of_model, model in zip("AB", names, metrics, (a, b), strict=True)
    ]
    write_page(path, "Comparison", parts, subtitle=str(figures["data"]), comparison=comparison, command=command)


def _labelled(samples: Iterable[Sample]) -> Iterator[tuple[int, Sample]]:
    return enumerate(sample for sample in samples if sample.truth is not None)
