"""Every labelled frame of a set or bag through one model, or through two by turns; and which frames belong together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tqdm import tqdm

from cgdet_core.data.sets.held_out import BLOCK_FRAMES, block_of_name
from cgdet_core.errors import InputError
from cgdet_core.runtime.predictor import percentiles
from cgdet_core.types import Sample

F = TypeVar("F")  # a task's own record of a frame: what was found in it beside its labels
# a labelled frame through a model: the record, and the time of each stage in ms
Look = Callable[[Sample], tuple[F, Mapping[str, float]]]


@dataclass
class OfflineRun(Generic[F]):
    """What a model found in the labelled frames of a set.

    frames: a record of each; blocks: for each the block that it belongs to; stage_ms: stage name -> time of every
    frame; unlabelled: frames passed over because they have no labels.
    """

    frames: list[F] = field(default_factory=list)
    blocks: list[Hashable] = field(default_factory=list)
    stage_ms: dict[str, list[float]] = field(default_factory=dict)
    unlabelled: int = 0

    def check_labelled(self) -> None:
        """Raise InputError where no frame had labels."""
        if not self.frames:
            raise InputError(
                f"none of the {self.unlabelled} frames has labels: give a set that has, or name a bag's labels "
                "with --truth-topic"
            )

    def ms_per_frame(self) -> dict[str, float]:
        """p50, p95 and p99 of the time from raw frame to answer."""
        return percentiles(self.stage_ms["total"])


def run_in_turns(
    looks: Sequence[Look[F]],
    samples: Iterable[Sample],
    count: int | None = None,
    from_bag: bool = False,
    progress: bool = True,
) -> list[OfflineRun[F]]:
    """Every labelled frame through each model in one pass, a run for each, frames in the same order.

    Whose turn is first changes with every frame, so that neither gains from a warm cache or a cooler processor.
    Raises InputError where no frame has labels.
    """
    runs: list[OfflineRun[F]] = [OfflineRun() for _ in looks]
    turns = list(zip(runs, looks, strict=True))
    frames = tqdm(samples, "evaluating", count, unit="frame", disable=None if progress else True)
    for position, sample in enumerate(frames):
        for run, look in turns if position % 2 == 0 else turns[::-1]:
            if sample.truth is None:
                run.unlabelled += 1
                continue
            frame, stage_ms = look(sample)
            run.frames.append(frame)
            run.blocks.append(block_of(sample.scene, position, None if from_bag else sample.name))
            for stage, latency_ms in stage_ms.items():
                run.stage_ms.setdefault(stage, []).append(latency_ms)
    runs[0].check_labelled()
    return runs


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
