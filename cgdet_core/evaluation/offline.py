"""Which labelled frames a model is measured by: of a set, of a bag, or those that a run held out of its training. Every
one of them through one model, or through two by turns; and which of them belong together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from cgdet_core.data.bags.messages import TimeBy
from cgdet_core.data.sets.coco import load_coco
from cgdet_core.data.sets.held_out import BLOCK_FRAMES, block_of_name
from cgdet_core.errors import InputError
from cgdet_core.runtime.model_file import ModelInfo, read_info
from cgdet_core.runtime.predictor import percentiles
from cgdet_core.types import Sample

F = TypeVar("F")  # a task's own record of a frame: what was found in it beside its labels
# a labelled frame through a model: the record, and the time of each stage in ms
Look = Callable[[Sample], tuple[F, Mapping[str, float]]]


@dataclass(frozen=True)
class Selection:
    """The frames, how many (None: of a bag, which is streamed), and whence.

    folds: set (its folder and name, or its path in the run's recipe) -> the fold that is used of it, None: all of it.
    warnings: what is odd about the set and yet no error, a line each.
    """

    samples: Iterable[Sample]
    count: int | None
    folds: Mapping[str, int | None]
    warnings: tuple[str, ...] = ()

    def learnt_by(self, model: Path, info: ModelInfo) -> list[str]:
        """A warning for each training source of the model that holds some of these frames."""
        recipe = info.training.get("recipe")
        warnings = []
        for source in recipe.get("sources", ()) if isinstance(recipe, dict) else ():
            path, fold = Path(source["path"]), source["hold_out_fold"]
            for used, used_fold in self.folds.items():
                if Path(used).parts[-len(path.parts) :] == path.parts and (fold is None or fold != used_fold):
                    warnings.append(f"{model} was trained on frames of {path}: its figures there say little")
        return warnings


def check_data(data: Path) -> None:
    """Raise InputError where there is nothing at `data`."""
    if not data.exists():
        raise InputError(f"{data}: there is no such file or folder: give a COCO JSON file or a bag")


def select_frames(
    data: Path,
    names: tuple[str, ...],
    run: Path | None = None,
    topic: str | None = None,
    truth_topic: str | None = None,
    class_map: Mapping[str, str] | None = None,
    losses: list[str] | None = None,
    by: TimeBy = "stamp",
) -> Selection:
    """The frames of a COCO JSON (a .json file) or of a bag (anything else); or, with a run, those that its recipe held
    out, `data` being the folder that its paths start from. InputError where there are no such frames.

    losses: what of a damaged MCAP was not read is added to it at the end; by: what counts as a bag's stamps.
    """
    whole = {"/".join(data.resolve().parts[-2:]): None}  # a set by its folder and name, wherever it lies
    of_a_bag = topic or truth_topic or by != "stamp"
    if run is not None:
        if of_a_bag or class_map:
            raise InputError("--run reads its recipe's sets: leave out --topic, --truth-topic, --by and --class-map")
        return _held_out_of_run(run, data, names)
    if data.suffix == ".json":
        if of_a_bag:
            raise InputError(f"{data}: is a COCO file, not a bag: leave out --topic, --truth-topic and --by")
        coco = load_coco(data, names, class_map)
        return Selection(coco, len(coco), whole, coco.warnings)
    if (data / "set.json").is_file():
        raise InputError(f"{data}: is the folder of a set: give {data / 'set.json'}")
    from cgdet_core.data.bags.frames import read_labelled_frames

    frames = read_labelled_frames(data, topic, truth_topic, names, class_map, losses, True, by)
    return Selection(frames, None, whole)


def _held_out_of_run(run: Path, data: Path, class_names: tuple[str, ...]) -> Selection:
    from cgdet_core.config import load_recipe
    from cgdet_core.data.feed.sources import held_out_content, load_held_out

    if not data.is_dir():
        raise InputError(f"{data}: is not a folder: with --run, give the folder of the recipe's paths as --data")
    recipe = load_recipe(run / "recipe.yaml")
    if recipe.model.class_names != class_names:
        own, known = (", ".join(names) for names in (recipe.model.class_names, class_names))
        raise InputError(f"{run}: is of the classes {own}, the model knows {known}: give a model of the run's classes")
    coco = load_held_out(recipe, data, run)
    if coco is None:
        raise InputError(f"{run}: held no frames out: leave out --run and name a set with --data")
    model, warnings = run / "model.safetensors", list[str]()
    then = read_info(model).training.get("held_out") if model.is_file() else None
    if then and then != (now := held_out_content(coco)):
        counts = (f"{each['frames']} frames with {each['objects']} objects" for each in (now, then))
        warnings.append(f"{run}: held out are {' now, then '.join(counts)}, and others: it may have learned from some")
    return Selection(coco, len(coco), recipe.held_out_folds, tuple(warnings))


def describe_folds(folds: Mapping[str, int | None]) -> str:
    """Sets, and the fold of those of which one is used."""
    return ", ".join(path if fold is None else f"{path} fold {fold}" for path, fold in folds.items())


def refuse_test_split(data: Path) -> None:
    """InputError where "test" is a word of the name: choosing thresholds there measures the choosing."""
    if "test" in re.split(r"[^a-z]+", data.stem.lower()):
        raise InputError(f"{data}: is a test split: choose thresholds on frames held out of training")


@dataclass
class OfflineRun(Generic[F]):
    """What a model found in the labelled frames of a set: a record of each, the block that each belongs to, stage ->
    time of each; unlabelled: frames passed over because they have no labels."""

    frames: list[F] = field(default_factory=list)
    blocks: list[tuple[str, str | int]] = field(default_factory=list)
    stage_ms: dict[str, list[float]] = field(default_factory=dict)
    unlabelled: int = 0

    def add(self, name: str, other: OfflineRun[Any]) -> None:
        """Append another set's frames; its name, where it has one, goes before theirs."""
        self.frames += [replace(each, name=f"{name}: {each.name}") if name else each for each in other.frames]
        for stage, latencies_ms in other.stage_ms.items():
            self.stage_ms.setdefault(stage, []).extend(latencies_ms)
        self.unlabelled += other.unlabelled

    def ms_per_frame(self) -> dict[str, float]:
        """p50, p95 and p99 of the time from raw frame to answer."""
        return percentiles(self.stage_ms["total"])


def run_in_turns(
    looks: Sequence[Look[F]], samples: Iterable[Sample], count: int | None = None, progress: bool = True
) -> list[OfflineRun[F]]:
    """Every labelled frame through each model in one pass, a run for each, frames in the same order.

    Whose turn is first changes with every frame, so that neither gains from a warm cache or a cooler processor.
    count: as of a Selection: without it names are those of a bag's frames, which say nothing of their order.
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
            run.blocks.append(block_of(sample.scene, position, None if count is None else sample.name))
            for stage, latency_ms in stage_ms.items():
                run.stage_ms.setdefault(stage, []).append(latency_ms)
    if not runs[0].frames:
        remedy = "give a set that has, or name a bag's labels with --truth-topic"
        raise InputError(f"none of the {runs[0].unlabelled} frames has labels: {remedy}")
    return runs


def block_of(scene: str | None, position: int, file_name: str | None = None) -> tuple[str, str | int]:
    """What a frame shares with the frames of its block: its scene where one is given; else the block of 50 numbers by
    its file's name (a frame without a number is alone); in a bag, without names, the 50 around its `position`."""
    if scene is not None:
        return "scene", scene
    if file_name is None:
        return "run", position // BLOCK_FRAMES
    number = block_of_name(file_name)
    return ("frame", file_name) if number is None else ("number", number)
