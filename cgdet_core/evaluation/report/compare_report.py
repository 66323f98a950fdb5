"""The page of a comparison: the verdict, every difference with its interval, and the frames that differ most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.config import EvaluationConfig
from cgdet_core.evaluation.differing import galleries, most_differing
from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.evaluation.metrics.paired import PairedRun
from cgdet_core.evaluation.report.error_picture import draw_errors
from cgdet_core.evaluation.report.report import ComparisonPart, KeyFigure, Part, Report, accuracy_figures, write_report
from cgdet_core.types import Sample

DIFFERING_FRAMES = 4


def write_compare_report(
    path: Path,
    run: PairedRun,
    samples: Iterable[Sample],
    figures: Mapping[str, Any],
    names: tuple[str, str],
    command: str,
) -> None:
    """Write the page to `path`. samples: the very frames of `run`, read again for their pixels; figures: the JSON of
    the command; names: of the two models."""
    class_names = list(figures["per_class"])
    differing = most_differing(run.a.frames, run.b.frames, DIFFERING_FRAMES, class_names)
    thresholds = np.full(len(class_names), EvaluationConfig().operating_score)
    pictures = {}
    labelled = (sample for sample in samples if sample.truth is not None)
    for place, sample in enumerate(labelled):
        if place in differing.places:
            a, b = (
                draw_errors(sample.frame.image, frames[place], class_names, thresholds)
                for frames in (run.a.frames, run.b.frames)
            )
            pictures[place] = (a, b)
    metrics = evaluate(run.a.frames, class_names), evaluate(run.b.frames, class_names)
    of_models = [figures["models"][letter] for letter in "ab"]
    table = [
        ("ms a frame, p50", *(f"{model['ms_per_image']['p50']:.1f}" for model in of_models)),
        ("parameters", *(f"{model['params'] / 1e6:.2f} M" for model in of_models)),
        ("device", *(f"{model['device']}, {model['precision']}, {model['backend']}" for model in of_models)),
    ]
    comparison = ComparisonPart(
        figures,
        names,
        [(row[0], row[1], row[2]) for row in table],
        metrics,
        f"Over {figures['images']} labelled frames, every one offline.",
        galleries(differing, pictures),
    )
    parts = [
        Part(
            name=f"Model {letter}: {Path(name).name}",
            key_figures=[*accuracy_figures(of_model), KeyFigure("Frames", str(of_model.images))],
            metrics=of_model,
            facts={"model": name, "model sha256": model["model_sha256"]},
        )
        for letter, name, of_model, model in zip("AB", names, metrics, of_models, strict=True)
    ]
    write_report(
        path, Report("Comparison", str(figures["data"]), comparison=comparison, parts=parts, commands=[command])
    )
