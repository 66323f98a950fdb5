"""The batch that a loss or gradient was not finite for, kept for a look at it.

    from cgdet_core.training.bad_batch import load_bad_batch
    bad = load_bad_batch(Path("runs/first/bad_batch.safetensors"))
    print(bad.number, bad.terms, bad.batch.images.isfinite().all())

`bad_batch.jpg` beside it shows its crops with their boxes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from safetensors import SafetensorError, safe_open

from cgdet_core.config import Recipe
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.errors import InputError, RunError
from cgdet_core.files import write_tensors
from cgdet_core.training.samples import write_samples

METADATA_KEY = "cgdet_bad_batch"
NAME = "bad_batch.safetensors"


class NotFiniteError(RunError):
    """What (loss, gradient) was not finite for which batch, counted from 0, with the terms of its loss."""

    def __init__(self, what: str, number: int, terms: Mapping[str, float]) -> None:
        super().__init__(f"the {what} is not finite at batch {number}")
        self.number = number
        self.terms = dict(terms)


@dataclass(frozen=True)
class BadBatch:
    """A batch as it was learned from: crop by crop TrainingBatches[number] of the recipe with this hash.

    terms: name -> value of the loss; None where it was not finite.
    """

    batch: TrainingBatch
    number: int
    recipe_sha256: str
    terms: dict[str, float | None]


def recipe_sha256(recipe: Recipe) -> str:
    """Of the resolved settings, in JSON with sorted keys."""
    return hashlib.sha256(json.dumps(recipe.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def with_bad_batch(error: NotFiniteError, out: Path, recipe: Recipe, batch: TrainingBatch, rank: int = 0) -> RunError:
    """Keep the batch, or a process' share of it, in `out`; the error to raise, which names it.

    rank: of the process; each but the first has its number in the file's name.
    """
    path = out / (NAME if rank == 0 else NAME.replace(".", f"_{rank}."))
    remedy = "lower train.learning_rate and train again in another --out"
    terms = {name: value if math.isfinite(value) else None for name, value in error.terms.items()}
    description = {"number": error.number, "recipe_sha256": recipe_sha256(recipe), "terms": terms}
    try:
        write_tensors(path, batch.tensors(), {METADATA_KEY: json.dumps(description)})
        write_samples(path.with_suffix(".jpg"), [batch], recipe.model.class_names, len(batch.images))
    except InputError as refused:
        return RunError(f"{error}: {remedy} (its batch was not kept: {refused})")
    return RunError(f"{error}, kept in {path} and drawn in {path.with_suffix('.jpg').name}: {remedy}")


def load_bad_batch(path: Path) -> BadBatch:
    """InputError where the file is missing, cut or of another kind."""
    try:
        with safe_open(path, framework="pt") as handle:
            description = json.loads((handle.metadata() or {})[METADATA_KEY])
            stored = set(handle.keys())
            # what the batch need not have; a tensor that it must have is missed as it is read
            absent = {field.name for field in fields(TrainingBatch) if field.default is None} - stored
            names = [field.name for field in fields(TrainingBatch) if field.name not in absent]
            batch = TrainingBatch(**{name: handle.get_tensor(name) for name in names})
        return BadBatch(batch, int(description["number"]), description["recipe_sha256"], description["terms"])
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file: give the {NAME} of a run") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not a kept batch ({' '.join(str(error).split())})") from None
