"""The state of a run in one .safetensors, written beside and renamed: no pickle, nothing half written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from cgdet_core.config import Recipe
from cgdet_core.errors import InputError
from cgdet_core.files import write_tensors

METADATA_KEY = "cgdet_checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """After `batches_done` batches of `recipe`: tensors by name, such as `weights.`, `average.`, `optimizer.`.

    init: the model file that the run started from, name and hash; None from scratch.
    """

    recipe: Recipe
    batches_done: int
    tensors: dict[str, Tensor]
    init: str | None = None

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under `prefix.`, without it."""
        return {name[len(prefix) + 1 :]: value for name, value in self.tensors.items() if name.startswith(prefix + ".")}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    description = {
        "batches_done": checkpoint.batches_done,
        "init": checkpoint.init,
        "recipe": checkpoint.recipe.model_dump(mode="json"),
    }
    write_tensors(path, checkpoint.tensors, {METADATA_KEY: json.dumps(description)})


def load_checkpoint(path: Path, with_tensors: bool = True) -> Checkpoint:
    """The checkpoint, or, for a look at what it is of, all of it but the tensors.

    InputError, in one line that names the file, where it is missing, cut or no checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            description = json.loads((handle.metadata() or {})[METADATA_KEY])
            names = handle.keys() if with_tensors else ()
            tensors = {name: handle.get_tensor(name) for name in names}
        recipe = Recipe.model_validate(description["recipe"])
        return Checkpoint(recipe, int(description["batches_done"]), tensors, description["init"])
    except FileNotFoundError:
        raise InputError(f"{path}: there is no checkpoint to resume: train without --resume") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, ValidationError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is not a whole checkpoint ({reason}): train again in another --out") from None
