"""Frames in which two models differ most, and their pictures beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cgdet_core.drawing import RgbArray
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.evaluation.report.error_picture import LEGEND
from cgdet_core.evaluation.report.report import Gallery, Picture
from cgdet_core.evaluation.report.worst import FrameErrors, frame_errors


@dataclass(frozen=True)
class Differing:
    """Places in the frames given, greatest difference first: where B has more errors than A, and the other way round;
    a, b: the errors of every frame."""

    worse: list[int]
    better: list[int]
    a: list[FrameErrors]
    b: list[FrameErrors]

    @property
    def places(self) -> set[int]:
        """All of them."""
        return {*self.worse, *self.better}


def most_differing(
    frames_a: Sequence[EvaluatedFrame],
    frames_b: Sequence[EvaluatedFrame],
    n: int,
    class_names: Sequence[str],
    thresholds: tuple[Mapping[str, float], Mapping[str, float]] | None = None,
) -> Differing:
    """At most `n` of each. thresholds: of A and of B, class name -> score; else the configured operating score."""
    of_a, of_b = thresholds or (None, None)
    a, b = frame_errors(frames_a, class_names, of_a), frame_errors(frames_b, class_names, of_b)
    more = [item_b.total - item_a.total for item_a, item_b in zip(a, b, strict=True)]
    order = sorted(range(len(more)), key=lambda place: (-abs(more[place]), place))
    return Differing([i for i in order if more[i] > 0][:n], [i for i in order if more[i] < 0][:n], a, b)


def galleries(differing: Differing, pictures: Mapping[int, tuple[RgbArray, RgbArray]]) -> list[Gallery]:
    """pictures: place -> A's and B's. A place without pictures is passed over."""

    def of(places: Sequence[int]) -> list[Picture]:
        pairs = []
        for place in places:
            if place in pictures:
                of_a, of_b = pictures[place]
                pairs.append(Picture(of_a, f"A, {differing.a[place].caption}"))
                pairs.append(Picture(of_b, f"B, {differing.b[place].caption}"))
        return pairs

    return [
        Gallery("Where B is worse than A", of(differing.worse), LEGEND),
        Gallery("Where B is better than A", of(differing.better), LEGEND),
    ]
