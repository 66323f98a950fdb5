"""The ledger of training runs: one JSON line a run, and what its rows say when they are laid side by side.

Rows are compared only within one protocol: the same start, data, augmentation, network and length, judged
on the same held-out blocks or the same foreign set; all but the training-only terms and the seed. Runs of
one seed then saw the same crops in the same order, so their differences are paired.

A row says what its recipe settles apart from the defaults, and its protocol is the hash of that: a key that is added to
the schema later, whose default leaves recipes as they were, leaves old rows' protocols as they were too.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgdet_core.config import Recipe, Settings, read_mapping, settings_from_mapping
from cgdet_core.errors import InputError

Row = Mapping[str, Any]


def _confused(matrix: Sequence[Sequence[int]]) -> float:
    """Objects that were found as another class, of all that were matched."""
    classes = len(matrix) - 1
    matched = sum(sum(row[:classes]) for row in matrix[:classes])
    right = sum(matrix[index][index] for index in range(classes))
    return float(matched - right) / max(matched, 1)


def _missed_below(figures: Mapping[str, Any], height_px: float) -> float:
    bins = [each for each in figures["misses_by_height"] if each["to_px"] is not None and each["to_px"] <= height_px]
    return _miss_rate(bins)


def _miss_rate(bins: Sequence[Mapping[str, int]]) -> float:
    return sum(each["missed"] for each in bins) / max(sum(each["truths"] for each in bins), 1)


# what a row is read for: name -> its value in the figures, or None where the data have none of it
MEASURES: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "mAP50": lambda figures: figures["map50"],
    "mAP": lambda figures: figures["map"],
    "day": lambda figures: figures["by_light"].get("day", {}).get("map50"),
    "night": lambda figures: figures["by_light"].get("night", {}).get("map50"),
    "small": lambda figures: figures["by_size"].get("small", {}).get("map50"),
    "duplicates": lambda figures: figures["duplicates_per_object"].get("all"),
    "missed": lambda figures: _miss_rate(figures["misses_by_height"]),
    "missed < 32 px": lambda figures: _missed_below(figures, 32),
    "confused": lambda figures: _confused(figures["confusion"]["matrix"]),
}
# of the recipe: the terms that rows of one protocol differ in
_TERMS = ("contrast.", "guidance.", "injection.")
# where it was computed, how it was watched, and the seed
_ASIDE = frozenset(
    f"train.{key}"
    for key in (
        *("device", "threads", "workers", "cache_mb", "checkpoint_seconds", "validate_every_images"),
        *("validate_frames", "tensorboard", "term_gradients_every_batches", "seed"),
    )
)
# key, as in `sources.*.weight` -> what rows without the key were trained with, where it is not the default now: a
# default that has changed, or a newer key whose default trains otherwise
FORMER_DEFAULTS: Mapping[str, Any] = {"thermal.hot_limit_spans": None}
LESS_IS_BETTER = frozenset({"duplicates", "missed", "missed < 32 px", "confused"})


@dataclass(frozen=True)
class Setting:
    """One setting of a recipe. key: dotted; schema_key: the same with `*` for a place in a list; value and default as
    in JSON; required: there is no default."""

    key: str
    schema_key: str
    value: Any
    default: Any
    required: bool


def settings_in(settings: Settings, prefix: str = "", schema_prefix: str = "") -> Iterator[Setting]:
    """All of them, with the defaults that the ledger compares with."""
    values = settings.model_dump(mode="json")
    for name, field in type(settings).model_fields.items():
        inner, key, schema_key = getattr(settings, name), f"{prefix}{name}", f"{schema_prefix}{name}"
        if isinstance(inner, Settings):
            yield from settings_in(inner, f"{key}.", f"{schema_key}.")
        elif isinstance(inner, tuple) and inner and isinstance(inner[0], Settings):
            for place, each in enumerate(inner):
                yield from settings_in(each, f"{key}.{place}.", f"{schema_key}.*.")
        else:
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            former = FORMER_DEFAULTS.get(schema_key, json.loads(json.dumps(default)))
            yield Setting(key, schema_key, values[name], former, field.is_required())


def recipe_of_run(run: Path) -> Recipe:
    """The recipe that a run has kept. InputError where there is none.

    It states every key that there was: one that it lacks is newer than the run, whose value FORMER_DEFAULTS has.
    """
    path = run / "recipe.yaml"
    mapping = read_mapping(path)
    for key, former in FORMER_DEFAULTS.items():
        section, _, name = key.rpartition(".")
        if isinstance(mapping.get(section), dict):
            mapping[section].setdefault(name, former)
    return settings_from_mapping(Recipe, mapping, str(path))


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Dotted key -> value (as in JSON) of what the recipe settles apart from the defaults; without terms, seed and how
    it was computed and watched."""
    return {
        each.key: each.value
        for each in settings_in(recipe)
        if not each.key.startswith(_TERMS) and each.key not in _ASIDE and (each.required or each.value != each.default)
    }


def protocol_of(settings: Mapping[str, Any], init: str | None, judged_on: str | None = None) -> str:
    """Eight hex digits, the same for runs that differ in nothing but terms, seed and how they were computed.

    settings: `settings_of` the recipe; judged_on: the set that gave the figures, where it was not the run's own
    held-out blocks.
    """
    facts = [dict(settings), init, judged_on]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """All rows, in their order. InputError, with the line's number, where one is no row."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read: give a ledger that `cgdet ledger add` wrote") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            _ = row["name"], row["seed"], row["protocol"], row["figures"]["map50"], row["images"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: line {number} is no row of a ledger: remove it or correct it") from None
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Spread:
    """Of one figure over seeds: mean, sample standard deviation (0 for one value), and how many."""

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values))

    @property
    def error(self) -> float:
        """Standard error of the mean; infinite for fewer than two values."""
        return self.deviation / math.sqrt(self.count) if self.count > 1 else math.inf


@dataclass(frozen=True)
class Summary:
    """One recipe in one protocol.

    seeds: in ascending order; measures: name -> over seeds; differences: name -> of the same seed's
    figures, this recipe's minus the reference's; step_ratio: time of a crop over the reference's, the
    median over the shared seeds (training speed, so machine and load are in it); None without such.
    """

    name: str
    seeds: tuple[int, ...]
    measures: dict[str, Spread]
    differences: dict[str, Spread]
    step_ratio: float | None


def summarise(rows: Sequence[Row], reference: str) -> dict[str, list[Summary]]:
    """protocol -> a summary of each recipe, in order of first appearance; `reference` is differed from.

    Where a recipe has several rows of one seed, the last counts.
    """
    protocols: dict[str, dict[str, dict[int, Row]]] = {}
    for row in rows:
        protocols.setdefault(row["protocol"], {}).setdefault(row["name"], {})[row["seed"]] = row
    return {
        protocol: [_summary(name, of_seeds, recipes.get(reference, {})) for name, of_seeds in recipes.items()]
        for protocol, recipes in protocols.items()
    }


def measures_of(row: Row) -> dict[str, float]:
    """The figures of MEASURES, and each class's AP50, that the row's data have."""
    figures = row["figures"]
    values = {name: read(figures) for name, read in MEASURES.items()}
    values |= {f"AP50 {name}": of_class["map50"] for name, of_class in figures["per_class"].items()}
    return {name: value for name, value in values.items() if value is not None}


def _summary(name: str, of_seeds: Mapping[int, Row], reference: Mapping[int, Row]) -> Summary:
    ours = {seed: measures_of(of_seeds[seed]) for seed in sorted(of_seeds)}
    theirs = {seed: measures_of(reference[seed]) for seed in ours if seed in reference}
    measures = {key: Spread.of([ours[seed][key] for seed in ours]) for key in next(iter(ours.values()))}
    differences = {}
    if reference and theirs and of_seeds is not reference:
        shared = [key for key in measures if all(key in theirs[seed] for seed in theirs)]
        differences = {key: Spread.of([ours[seed][key] - theirs[seed][key] for seed in theirs]) for key in shared}
    paces = [
        reference[seed]["images_per_second"] / of_seeds[seed]["images_per_second"]
        for seed in theirs
        if reference[seed].get("images_per_second") and of_seeds[seed].get("images_per_second")
    ]
    return Summary(name, tuple(ours), measures, differences, statistics.median(paces) if paces else None)
