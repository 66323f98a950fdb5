"""The training data in numbers, before the first step; what cannot be learned from is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cgdet_core.data.feed.sources import Source
from cgdet_core.errors import InputError


@dataclass(frozen=True)
class SourceFacts:
    """One set. share: of the samples; boxes: objects by class name, None where the set does not label the class;
    ignored: regions to ignore; median_height_px: of the objects' boxes, in pixels of the frames; frames_with_rgb: 0
    where the recipe uses no RGB."""

    name: str
    share: float
    frames: int
    frames_without_objects: int
    boxes: dict[str, int | None]
    ignored: int
    median_height_px: float | None
    frames_with_rgb: int

    def line(self) -> str:
        boxes = ", ".join(f"{name} {'unlabelled' if n is None else n}" for name, n in self.boxes.items())
        height = "" if self.median_height_px is None else f", median height {self.median_height_px:.0f} px"
        rgb = f"; {self.frames_with_rgb} frames with RGB" if self.frames_with_rgb else ""
        return (
            f"{self.name}: {self.share:.0%} of the samples, {self.frames} frames "
            f"({self.frames_without_objects} without objects): {boxes}; {self.ignored} to ignore{height}{rgb}"
        )


def check_data(sources: Sequence[Source], class_names: Sequence[str]) -> tuple[list[SourceFacts], list[str]]:
    """The sets in numbers, and what is odd about them, a line each.

    InputError where none of them holds an object of any class.
    """
    weight = sum(source.weight for source in sources)
    facts = [_facts(source, source.weight / weight, class_names) for source in sources]
    missing = [name for name in class_names if not any(source.boxes[name] for source in facts)]
    if len(missing) == len(class_names):
        raise InputError(
            f"none of the {sum(source.frames for source in facts)} training frames holds an object of the classes "
            f"{', '.join(class_names)}: check the sources' labels and class_map"
        )
    oddities = [warning for source in sources for warning in source.warnings]
    for name in missing:
        oddities.append(f"class '{name}' will not be learned, no frame holds one: check class_map, or leave it out")
    return facts, oddities


def _facts(source: Source, share: float, class_names: Sequence[str]) -> SourceFacts:
    truths = [frame.truth for frame in source.frames]
    class_ids = np.concatenate([truth.class_ids[~truth.ignore] for truth in truths])
    boxes = np.concatenate([truth.boxes_xyxy_px[~truth.ignore] for truth in truths])
    labelled = [any(truth.labelled is None or truth.labelled[c] for truth in truths) for c in range(len(class_names))]
    return SourceFacts(
        name=source.name,
        share=share,
        frames=len(truths),
        frames_without_objects=sum(bool(truth.ignore.all()) for truth in truths),
        boxes={name: int((class_ids == c).sum()) if labelled[c] else None for c, name in enumerate(class_names)},
        # a region that is to be ignored for several classes is one region
        ignored=sum(len(np.unique(truth.boxes_xyxy_px[truth.ignore], axis=0)) for truth in truths),
        median_height_px=round(float(np.median(boxes[:, 3] - boxes[:, 1])), 1) if len(boxes) else None,
        frames_with_rgb=sum(frame.rgb is not None for frame in source.frames),
    )
