"""A run's state on disk, and how it ends with that state kept: no pickle, nothing half written."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open

from cgdet_core.config import Recipe, TrainConfig
from cgdet_core.errors import InputError
from cgdet_core.files import check_can_write, sha256_of, write_tensors
from cgdet_core.runtime.model_file import ModelInfo, check_is_file, read_info

if TYPE_CHECKING:
    from torch import Tensor

METADATA_KEY = "cgdet_checkpoint"
# a start may have others of these
_HOLD_NO_WEIGHTS = ("activation", "class_names", "input_height_width_px")
# where a run is computed and how it is watched may change when it is resumed
_WATCHED = ("checkpoint_seconds", "validate_every_images", "validate_frames", "tensorboard")
_MAY_CHANGE = ("device", "threads", "cache_mb", "workers", *_WATCHED)


@dataclass(frozen=True)
class Checkpoint:
    """After `batches_done` batches of `recipe`: tensors by name, such as `weights.`, `average.`, `optimizer.`.

    learned_from: what the run depends on beside its recipe, as JSON: data, `Source.content` of each source and of what
    is held out; init, the model file that it started from, name and hash, or None; teacher, its identity, or None.
    """

    recipe: Recipe
    batches_done: int
    tensors: dict[str, Tensor]
    learned_from: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under `prefix.`, without it."""
        return {name[len(prefix) + 1 :]: value for name, value in self.tensors.items() if name.startswith(prefix + ".")}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    description = {
        "batches_done": checkpoint.batches_done,
        "learned_from": checkpoint.learned_from,
        "recipe": checkpoint.recipe.model_dump(mode="json"),
    }
    write_tensors(path, checkpoint.tensors, {METADATA_KEY: json.dumps(description)})


def load_checkpoint(path: Path, with_tensors: bool = True) -> Checkpoint:
    """The checkpoint, or, for a look at what it is of, all of it but the tensors.

    InputError, in one line that names the file, where it is missing, cut or no checkpoint.
    """
    try:
        # a look needs no PyTorch
        with safe_open(path, framework="pt" if with_tensors else "np") as handle:
            description = json.loads((handle.metadata() or {})[METADATA_KEY])
            names = handle.keys() if with_tensors else ()
            tensors = {name: handle.get_tensor(name) for name in names}
        recipe = Recipe.model_validate(description["recipe"])
        return Checkpoint(recipe, int(description["batches_done"]), tensors, dict(description["learned_from"]))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no checkpoint to resume: train without --resume") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, ValidationError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is not a whole checkpoint ({reason}): train again in another --out") from None


def check_same_start(
    checkpoint: Checkpoint, data: Sequence[Mapping[str, Any]], teacher: str | None, path: Path
) -> None:
    """InputError where the run would go on with other data or another teacher than it began with."""
    for then, now in zip(checkpoint.learned_from["data"], data, strict=False):
        if then != now:
            counts = [f"{each['frames']} frames and {each['objects']} objects" for each in (now, then)]
            other = ", and they are others" if counts[0] == counts[1] else ""
            raise InputError(
                f"{path}: {now['name']} has {counts[0]} now, {counts[1]} when the run began{other}: put it back, or "
                "begin another run with --out and --init"
            )
    if checkpoint.learned_from["teacher"] != teacher:
        raise InputError(
            f"{path}: the teacher is {teacher} now, {checkpoint.learned_from['teacher']} when the run began: put it "
            "back, or begin another run (--out)"
        )


def check_folder(recipe: Recipe, out: Path, resume: bool, init: Path | None) -> None:
    """Refuse what can be told without PyTorch: a folder in use, a checkpoint or a start that does not fit."""
    path = out / "checkpoint.safetensors"
    if resume:
        checkpoint = load_checkpoint(path, with_tensors=False)
        # where and how it is computed may change
        if said := differences(essence(checkpoint.recipe), essence(recipe)):
            raise InputError(f"{path}: is of another recipe: {said}: take the run's own recipe.yaml, or another --out")
        if init is not None and checkpoint.learned_from["init"] != identity_of(init):
            began = checkpoint.learned_from["init"] or "random weights"
            raise InputError(f"{init}: the run in {out} began from {began}: leave out --init to go on with it")
    elif path.exists():
        raise InputError(f"{out}: already holds a run: add --resume to go on with it, or choose another --out")
    elif init is not None:
        check_same_network(read_info(init), recipe, init)
    check_can_write(path)


def identity_of(init: Path) -> str:
    """A model file by name and hash."""
    check_is_file(init)
    return f"{init.name} sha256:{sha256_of(init)}"


def essence(recipe: Recipe) -> Recipe:
    """The recipe, with the usual values of what does not decide what is learned."""
    usual = TrainConfig()
    same = {name: getattr(usual, name) for name in _MAY_CHANGE}
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=same)})


def differences(there: BaseModel, here: BaseModel, section: str = "") -> str:
    """The settings of a recipe, or of its `section`, that differ, with both values; empty where none does."""
    return "; ".join(_differing(there.model_dump(mode="json"), here.model_dump(mode="json"), section))


def _differing(there: Any, here: Any, key: str) -> Iterator[str]:
    # sources differ by their keys
    there, here = (dict(enumerate(each)) if key == "sources" else each for each in (there, here))
    if isinstance(there, dict) and isinstance(here, dict):
        for name in there | here:
            yield from _differing(there.get(name), here.get(name), f"{key}.{name}".lstrip("."))
    elif there != here:
        yield f"{key} is {there} there, {here} now"


class RunStopped(Exception):
    """The run was asked to end and its state is kept; one line that says how to go on.

    number: of the signal, 0 of one to another process; exit_code: 128 + signal, as a shell gives it.
    """

    def __init__(self, number: int, checkpoint: Path, batches_done: int, total: int) -> None:
        name = signal.Signals(number).name if number else "a signal to another process"
        super().__init__(
            f"stopped by {name} after batch {batches_done} of {total}, kept in {checkpoint}: --resume goes on"
        )
        self.exit_code = 128 + (number or signal.SIGTERM)


def check_same_network(info: ModelInfo, recipe: Recipe, path: Path) -> None:
    """InputError, naming the settings, where a network of the recipe cannot begin with the weights in `path`."""
    if info.task != recipe.task:
        raise InputError(f"{path}: its task is {info.task}, the recipe's {recipe.task}: train without --init")
    there = info.model
    free = {name: getattr(there, name) for name in _HOLD_NO_WEIGHTS if name in type(there).model_fields}
    if said := differences(there, recipe.model.model_copy(update=free), "model"):
        raise InputError(f"{path}: is of another network: {said}: copy its settings, or train without --init")
