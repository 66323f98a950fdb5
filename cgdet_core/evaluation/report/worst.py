"""Which frames went worst: where to look first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cgdet_core.config import EvaluationConfig
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame, match_frame, threshold_array
from cgdet_core.types import CLASS_NAMES


@dataclass(frozen=True)
class FrameErrors:
    """What is wrong with a frame. index: its place in the frames given; false_alarms: without duplicates."""

    index: int
    name: str
    missed: int
    false_alarms: int
    duplicates: int
    found: int

    @property
    def total(self) -> int:
        return self.missed + self.false_alarms + self.duplicates

    @property
    def caption(self) -> str:
        """For example `00103D: 4 found, 2 missed, 1 false alarm, no duplicate`."""
        return (
            f"{self.name}: {self.found} found, {_count(self.missed, 'missed', 'missed')}, "
            f"{_count(self.false_alarms, 'false alarm', 'false alarms')}, "
            f"{_count(self.duplicates, 'duplicate', 'duplicates')}"
        )


def frame_errors(
    frames: Sequence[EvaluatedFrame],
    class_names: Sequence[str] = CLASS_NAMES,
    thresholds: Mapping[str, float] | None = None,
    config: EvaluationConfig | None = None,
) -> list[FrameErrors]:
    """The errors of each frame at `thresholds` (else the configured operating score), in the frames' order."""
    config = config or EvaluationConfig()
    operating = threshold_array(thresholds, class_names, config.operating_score)
    errors = []
    for index, frame in enumerate(frames):
        match = match_frame(frame, len(class_names), config)
        above = match.above(operating)
        found = int(np.count_nonzero(match.found(operating)))
        duplicates = int(np.count_nonzero(above & match.duplicate))
        errors.append(
            FrameErrors(
                index=index,
                name=frame.name,
                missed=int(np.count_nonzero(match.counted)) - found,
                false_alarms=int(np.count_nonzero(above & match.false_alarm)) - duplicates,
                duplicates=duplicates,
                found=found,
            )
        )
    return errors


def worst_frames(
    frames: Sequence[EvaluatedFrame],
    n: int,
    class_names: Sequence[str] = CLASS_NAMES,
    thresholds: Mapping[str, float] | None = None,
    config: EvaluationConfig | None = None,
) -> list[FrameErrors]:
    """At most `n` frames with the most errors, worst first; frames without any are left out."""
    return _most(frame_errors(frames, class_names, thresholds, config), n, "total")


def worst_of_each_kind(errors: Sequence[FrameErrors], n: int) -> dict[str, list[FrameErrors]]:
    """For missed, false_alarms and duplicates at most `n` frames with the most of them, worst first."""
    return {kind: _most(errors, n, kind) for kind in ("missed", "false_alarms", "duplicates")}


def _most(errors: Sequence[FrameErrors], n: int, kind: str) -> list[FrameErrors]:
    chosen = [item for item in errors if getattr(item, kind)]
    return sorted(chosen, key=lambda item: (-getattr(item, kind), -item.total, item.index))[:n]


def _count(number: int, one: str, many: str) -> str:
    return f"{'no' if number == 0 else number} {one if number <= 1 else many}"
