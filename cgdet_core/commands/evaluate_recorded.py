"""cgdet evaluate --detections: what a bag of detections is worth, whoever made them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cgdet_core.commands.common import print_losses, print_warnings, selected_frames
from cgdet_core.data.bags.frames import Loss
from cgdet_core.errors import InputError


def evaluate_recorded(arguments: argparse.Namespace) -> tuple[dict[str, Any], Callable[[], None]]:
    """The figures of recorded detections over every labelled frame; a frame without an array is one in which nothing
    was found; and what writes the report that is asked for. Raises InputError for what cannot be measured so."""
    from cgdet_core.config import EvaluationConfig
    from cgdet_core.data.bags.recorded import read_detections
    from cgdet_core.evaluation.metrics.metrics import EvaluatedFrame, evaluate
    from cgdet_core.evaluation.offline import OfflineRun
    from cgdet_core.evaluation.report.offline_report import write_offline_report
    from cgdet_core.runtime.model_file import read_info
    from cgdet_core.types import CLASS_NAMES, Detections

    if arguments.data.suffix == ".json":
        raise InputError(f"{arguments.data}: its frames have no header stamps to find detections by: give a bag")
    names = CLASS_NAMES if arguments.model is None else read_info(arguments.model).class_names
    found = read_detections(arguments.detections, names, arguments.detections_topic)
    run, answered, losses = OfflineRun(), 0, list[Loss]()
    selection = selected_frames(arguments, names, losses)
    print_warnings(selection.warnings)
    for sample in selection.samples:
        if sample.truth is None:
            run.unlabelled += 1
            continue
        detections = found.get(sample.frame.stamp_ns)
        answered += detections is not None
        size = sample.frame.height_width_px
        run.frames.append(
            EvaluatedFrame(sample.name, detections or Detections.empty(), sample.truth, size, sample.light)
        )
    print_losses(losses)
    run.check_labelled()
    if not answered:
        raise InputError(
            f"{arguments.detections}: none of its {len(found)} arrays bears the header stamp of a labelled frame of "
            f"{arguments.data}: give the detections of this bag"
        )
    metrics = evaluate(run.frames, names)
    facts = {
        "data": str(arguments.data),
        "detections": str(arguments.detections),
        "frames_with_detections": answered,
        "frames_without_detections": len(run.frames) - answered,
        "frames_without_labels": run.unlabelled,
        "damage": [str(loss) for loss in losses],
    }

    def write_report() -> None:
        thresholds = dict.fromkeys(names, EvaluationConfig().operating_score)
        words = ["cgdet", "evaluate", "--data", str(arguments.data), "--detections", str(arguments.detections)]
        again = selected_frames(arguments, names).samples
        write_offline_report(Path(arguments.report), run, again, metrics, thresholds, facts, shlex.join(words))

    unknown = dict.fromkeys(("model_sha256", "device", "precision", "backend"))
    return metrics.to_json({**facts, "model": arguments.detections.name, **unknown}), write_report
