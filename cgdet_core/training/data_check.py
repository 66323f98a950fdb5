"""The training data in numbers, before the first step; what cannot be learned from is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cgdet_core.data.feed.sources import Source
from cgdet_core.errors import InputError


@dataclass(frozen=True)
class SourceFacts:
    """One set. share: of the samples; boxes: objects by class name, None where the set does not label the class;
    ignored: regions to ignore; median_height_px: of the objects' boxes, in pixels of the frames; frames_with_rgb: None
    where the recipe uses no RGB."""

    name: str
    share: float
    frames: int
    frames_without_objects: int
    boxes: dict[str, int | None]
    ignored: int
    median_height_px: float | None
    frames_with_rgb: int | None

    def line(self) -> str:
        boxes = ", ".join(f"{name} {'unlabelled' if n is None else n}" for name, n in self.boxes.items())
        height = "" if self.median_height_px is None else f", median height {self.median_height_px:.0f} px"
        rgb = "" if self.frames_with_rgb is None else f"; {self.frames_with_rgb} frames with RGB"
        return (
            f"{self.name}: {self.share:.0%} of the samples, {self.frames} frames "
            f"({self.frames_without_objects} without objects): {boxes}; {self.ignored} to ignore{height}{rgb}"
        )


@dataclass(frozen=True)
class DataFacts:
    """All sets, and what is odd about them, a line each."""

    sources: tuple[SourceFacts, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"sources": [asdict(source) for source in self.sources], "warnings": list(self.warnings)}


def check_data(sources: Sequence[Source], class_names: Sequence[str], with_rgb: bool = False) -> DataFacts:
    """The sets in numbers; InputError where none of them holds an object of any class.

    with_rgb: whether the recipe uses RGB.
    """
    weight = sum(source.weight for source in sources)
    facts = tuple(_facts(source, source.weight / weight, class_names, with_rgb) for source in sources)
    found = {name: sum(source.boxes[name] or 0 for source in facts) for name in class_names}
    if not any(found.values()):
        raise InputError(
            f"none of the {sum(source.frames for source in facts)} training frames holds an object of the classes "
            f"{', '.join(class_names)}: check the sources' labels and class_map"
        )
    warnings = [warning for source in sources for warning in source.warnings]
    for name, count in found.items():
        if not count:
            labelled = any(source.boxes[name] is not None for source in facts)
            why = "no frame holds one" if labelled else "no source labels it"
            warnings.append(f"class '{name}' will not be learned, {why}: check class_map, or leave it out of the model")
    return DataFacts(facts, tuple(warnings))


def _facts(source: Source, share: float, class_names: Sequence[str], with_rgb: bool) -> SourceFacts:
    counts = np.zeros(len(class_names), np.int64)
    labelled = np.zeros(len(class_names), np.bool_)
    ignored = empty = 0
    heights = [np.zeros(0, np.float32)]
    for frame in source.frames:
        truth = frame.truth
        objects = ~truth.ignore
        counts += np.bincount(truth.class_ids[objects], minlength=len(class_names))
        labelled |= True if truth.labelled is None else truth.labelled
        # a region that is to be ignored for several classes is one region
        ignored += len(np.unique(truth.boxes_xyxy_px[truth.ignore], axis=0))
        empty += not objects.any()
        heights.append(truth.boxes_xyxy_px[objects, 3] - truth.boxes_xyxy_px[objects, 1])
    height_px = np.concatenate(heights)
    return SourceFacts(
        name=source.name,
        share=share,
        frames=len(source.frames),
        frames_without_objects=empty,
        boxes={name: int(counts[c]) if labelled[c] else None for c, name in enumerate(class_names)},
        ignored=ignored,
        median_height_px=round(float(np.median(height_px)), 1) if len(height_px) else None,
        frames_with_rgb=sum(frame.rgb is not None for frame in source.frames) if with_rgb else None,
    )
