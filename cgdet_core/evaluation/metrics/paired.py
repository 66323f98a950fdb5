"""Two models over the same frames in one pass, and which frames belong together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from tqdm import tqdm

from cgdet_core.data.sets.held_out import BLOCK_FRAMES, block_of_name
from cgdet_core.evaluation.metrics.matching import MIN_SCORE, EvaluatedFrame
from cgdet_core.evaluation.offline import OfflineRun
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.types import Detections, Sample, class_places


@dataclass
class PairedRun:
    """What two predictors found in the same labelled frames.

    a, b: a run each, frames in the same order; blocks: for each frame the block that it belongs to.
    """

    a: OfflineRun = field(default_factory=OfflineRun)
    b: OfflineRun = field(default_factory=OfflineRun)
    blocks: list[Hashable] = field(default_factory=list)

    def ms_ratio(self) -> float:
        """Median time of a frame in B over that in A."""
        return float(np.median(self.b.stage_ms["total"]) / np.median(self.a.stage_ms["total"]))


def block_of(scene: str | None, position: int, file_name: str | None = None) -> Hashable:
    """What a frame shares with the frames of its block.

    Its scene where one is given; else the block of 50 frame numbers by its file's name, where a frame without a number
    is a block alone; in a bag, without file names, the run of 50 frames that its `position` falls in.
    """
    if scene is not None:
        return "scene", scene
    if file_name is None:
        return "run", position // BLOCK_FRAMES
    number = block_of_name(file_name)
    return ("frame", file_name) if number is None else ("number", number)


def run_paired(
    a: Predictor,
    b: Predictor,
    samples: Iterable[Sample],
    count: int | None = None,
    from_bag: bool = False,
    telemetry_rows: int = 0,
    class_names: Sequence[str] | None = None,
) -> PairedRun:
    """Every labelled frame through both, detections down to the evaluation's score floor.

    class_names: those of the labels, which both know; of what else a model finds nothing is kept (None: A's).

    Whose turn is first changes with every frame, so that neither gains from a warm cache or a
    cooler processor. Raises InputError where no frame has labels.
    """
    run = PairedRun()
    frames = tqdm(samples, "comparing", count, unit="frame", disable=None)
    for position, sample in enumerate(frames):
        turns = ((run.a, a), (run.b, b))
        for result, predictor in turns if position % 2 == 0 else turns[::-1]:
            result.add(predictor, sample, telemetry_rows, predictor.postprocess.at_score(MIN_SCORE))
        if sample.truth is not None:
            run.blocks.append(block_of(sample.scene, position, None if from_bag else sample.name))
    run.a.check_labelled()
    names = a.info.class_names if class_names is None else tuple(class_names)
    for result, predictor in ((run.a, a), (run.b, b)):
        result.frames = [_of_classes(frame, predictor.info.class_names, names) for frame in result.frames]
    return run


def _of_classes(frame: EvaluatedFrame, own: Sequence[str], wanted: Sequence[str]) -> EvaluatedFrame:
    """The frame with its detections, which number the classes `own`, numbered as `wanted`; those of others leave."""
    if tuple(own) == tuple(wanted):
        return frame
    place = class_places(own, wanted)
    found = frame.detections
    kept = place[found.class_ids] >= 0
    chosen = Detections(found.boxes_xyxy_px[kept], found.scores[kept], place[found.class_ids[kept]])
    return replace(frame, detections=chosen)
