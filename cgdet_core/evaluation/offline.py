"""Every frame of a data set or bag through the predictor, one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tqdm import tqdm

from cgdet_core.config import PostprocessConfig
from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics.matching import MIN_SCORE, EvaluatedFrame
from cgdet_core.runtime.predictor import Predictor, percentiles
from cgdet_core.types import Sample


@dataclass
class OfflineRun:
    """What a predictor found in the labelled frames of a set.

    frames: detections (score at least the evaluation's floor) and labels; stage_ms: stage name -> time
    of every frame; unlabelled: frames passed over because they have no labels.
    """

    frames: list[EvaluatedFrame] = field(default_factory=list)
    stage_ms: dict[str, list[float]] = field(default_factory=dict)
    unlabelled: int = 0

    def add(
        self,
        predictor: Predictor,
        sample: Sample,
        telemetry_rows: int = 0,
        postprocess: PostprocessConfig | None = None,
    ) -> None:
        """What the predictor finds in one frame, thresholds as in `Predictor.predict`; one without labels is only
        counted."""
        if sample.truth is None:
            self.unlabelled += 1
            return
        detections = predictor.predict(sample.frame.image, telemetry_rows, postprocess)
        for stage, latency_ms in predictor.last_stage_ms.items():
            self.stage_ms.setdefault(stage, []).append(latency_ms)
        size = sample.frame.height_width_px
        self.frames.append(EvaluatedFrame(sample.name, detections, sample.truth, size, sample.light))

    def check_labelled(self) -> None:
        """Raise InputError where no frame had labels."""
        if not self.frames:
            raise InputError(
                f"none of the {self.unlabelled} frames has labels: give a set that has, or name a bag's labels "
                "with --truth-topic"
            )

    def ms_per_image(self) -> dict[str, float]:
        """p50, p95 and p99 of the time from raw frame to detections."""
        return percentiles(self.stage_ms["total"])


def run_offline(
    predictor: Predictor,
    samples: Iterable[Sample],
    count: int | None = None,
    progress: bool = True,
    telemetry_rows: int = 0,
) -> OfflineRun:
    """Every labelled frame, with detections down to the evaluation's score floor.

    Raises InputError where no frame has labels.
    """
    run = OfflineRun()
    floor = predictor.postprocess.at_score(MIN_SCORE)
    for sample in tqdm(samples, "evaluating", count, unit="frame", disable=None if progress else True):
        run.add(predictor, sample, telemetry_rows, floor)
    run.check_labelled()
    return run
