"""The frames that evaluate, compare and thresholds judge models by: of a set, a bag, or those that a run held out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.commands.common import samples_of
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.data.bags.frames import Loss
    from cgdet_core.data.sets.coco import CocoSet
    from cgdet_core.runtime.model_file import ModelInfo
    from cgdet_core.types import Sample


@dataclass(frozen=True)
class Judged:
    """The frames, how many where that is known, and whence.

    folds: set, by folder and name or as the run's recipe has it -> the fold that is used of it, None: all of it.
    """

    samples: Iterable[Sample]
    count: int | None
    folds: dict[str, int | None]

    def words(self) -> str:
        return words_of_folds(self.folds)


def add_run_argument(parser: argparse.ArgumentParser, more: str = "") -> None:
    """For `judged_frames`; more: what else the run gives the command."""
    parser.add_argument(
        "--run",
        type=Path,
        metavar="RUN",
        dest="run_folder",
        help=f"{more}the frames that this run's recipe held out; --data is the folder that its paths start from",
    )


def judged_frames(
    arguments: argparse.Namespace, class_names: tuple[str, ...], losses: list[Loss], again: bool = False
) -> Judged:
    """What `--data`, or `--run` and `--data`, name for a model of these classes.

    losses, again: as `samples_of` has them. InputError where there are no such frames.
    """
    from cgdet_core.evaluation.look_log import set_name

    if arguments.run_folder is None:
        return Judged(*samples_of(arguments, class_names, losses, again), {set_name(arguments.data): None})
    if arguments.topic or arguments.truth_topic or arguments.class_map:
        raise InputError("--run reads its recipe's own sets: leave out --topic, --truth-topic and --class-map")
    coco, folds = held_out_of(arguments.run_folder, arguments.data, class_names)
    return Judged(coco, len(coco), folds)


def held_out_of(run: Path, data: Path, class_names: tuple[str, ...]) -> tuple[CocoSet, dict[str, int | None]]:
    """The frames that a run's recipe held out, and the fold of each set; data: the folder its paths start from."""
    from cgdet_core.config import load_recipe
    from cgdet_core.data.feed.sources import load_held_out

    if not data.is_dir():
        raise InputError(f"{data}: is no folder: with --run, --data is the one that the recipe's paths start from")
    recipe = load_recipe(run / "recipe.yaml")
    if recipe.model.class_names != class_names:
        raise InputError(
            f"{run}: is of the classes {', '.join(recipe.model.class_names)}, the model knows "
            f"{', '.join(class_names)}: give a model of the run's classes"
        )
    coco = load_held_out(recipe, data)
    if coco is None:
        raise InputError(f"{run}: held no frames out: leave out --run and name a set with --data")
    return coco, recipe.held_out_folds


def set_to_choose_on(
    run: Path | None, data: Path, class_names: tuple[str, ...]
) -> tuple[CocoSet, dict[str, int | None]]:
    """What a run held out, or without one the COCO set `data`; folds as `Judged` has them.

    InputError for a test split, which nothing may be chosen on.
    """
    from cgdet_core.data.sets.coco import load_coco
    from cgdet_core.evaluation.look_log import is_test_split, set_name

    if run is not None:
        return held_out_of(run, data, class_names)
    if is_test_split(data):
        raise InputError(f"{data}: is a test split, which nothing may be chosen on: give a set to train or validate on")
    return load_coco(data, class_names), {set_name(data): None}


def words_of_folds(folds: Mapping[str, int | None]) -> str:
    """Sets, and the fold of those of which one is used."""
    return ", ".join(path if fold is None else f"{path} fold {fold}" for path, fold in folds.items())


def warn_of_known(model: Path, info: ModelInfo, folds: Mapping[str, int | None]) -> None:
    """Tell, on standard error, where a model has learnt from what it is judged by; folds: as `Judged` has them."""
    recipe = info.training.get("recipe")
    sources = recipe.get("sources", ()) if isinstance(recipe, dict) else ()
    for source in sources:
        path, fold = source["path"], source["hold_out_fold"]
        for used, of_it in folds.items():
            if Path(used).parts[-len(Path(path).parts) :] == Path(path).parts and (fold is None or fold != of_it):
                print(
                    f"cgdet: warning: {model} has learnt from frames of {path}: what it does there tells little",
                    file=sys.stderr,
                )
