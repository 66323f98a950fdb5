"""The training data in numbers, before the first step; what cannot be learned from is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cgdet_core.data.feed.sources import Source
from cgdet_core.tasks.task import Task


@dataclass(frozen=True)
class SourceFacts:
    """One set. share: of the samples; frames_with_rgb: 0 where the recipe uses no RGB; labels: what its task counts of
    them (`Task.count`), and words: the same for a person."""

    name: str
    share: float
    frames: int
    frames_with_rgb: int
    labels: Mapping[str, Any]
    words: str

    def line(self) -> str:
        rgb = f"; {self.frames_with_rgb} frames with RGB" if self.frames_with_rgb else ""
        return f"{self.name}: {self.share:.0%} of the samples, {self.frames} frames {self.words}{rgb}"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "share": self.share,
            "frames": self.frames,
            "frames_with_rgb": self.frames_with_rgb,
            **self.labels,
        }


def check_data(sources: Sequence[Source], task: Task) -> tuple[list[SourceFacts], list[str]]:
    """The sets in numbers, and what is odd about them, a line each; InputError where nothing can be learned."""
    weight = sum(source.weight for source in sources)
    facts = []
    for source in sources:
        labels = task.count([frame.truth for frame in source.frames])
        with_rgb = sum(frame.rgb is not None for frame in source.frames)
        share = source.weight / weight
        facts.append(SourceFacts(source.name, share, len(source.frames), with_rgb, labels, task.describe(labels)))
    oddities = [warning for source in sources for warning in source.warnings]
    return facts, [*oddities, *task.not_learned([each.labels for each in facts])]
