"""From YAML files and `key=value` words to checked settings; whatever is wrong is one clear line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError

from cgdet_core.config.detector import PostprocessConfig
from cgdet_core.config.settings import Settings
from cgdet_core.config.training import SECTIONS, OfTask, Recipe
from cgdet_core.errors import InputError, check_known, unknown

S = TypeVar("S", bound=Settings)


def settings_from_mapping(kind: type[S], mapping: Mapping[str, Any], origin: str) -> S:
    """Checked settings; InputError names `origin` (a file or command) and every offending key."""
    try:
        return kind.model_validate(dict(mapping))
    except ValidationError as error:
        task = mapping.get("task", "detection")
        raise InputError(f"{origin}: {_one_line(error, kind, str(task))}") from None


def load_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe in a file that has no stages; see `load_stages`."""
    recipes = load_stages(path, overrides)
    if len(recipes) > 1:
        raise InputError(f"{path}: has stages: give a recipe without them")
    return recipes[0]


def load_stages(path: Path, overrides: Iterable[str] = ()) -> list[Recipe]:
    """The recipes in a YAML file with `key=value` overrides, dotted keys, laid over it: of each fragment under `stages`
    the whole of it, merged over the rest of the file, in the order in which they are trained; without that key one.

    A file may name another one under `base`, relative to its own folder, and then states only what differs: keys are
    merged at every depth, lists replaced. Overrides reach a fragment by its place: stages.0.train.images=2000.
    """
    of_file, words = _with_base(path, ()), list(overrides)
    mapping = deepcopy(of_file)
    for override in words:
        _lay_over(mapping, override)
    try:
        return _stages(mapping, f"{path} with {shlex.join(words)}" if words else str(path))
    except InputError:
        # what is the file's own fault is not blamed on the words
        _stages(of_file, str(path))
        raise


def _stages(mapping: dict[str, Any], origin: str) -> list[Recipe]:
    if "stages" not in mapping:
        return [_recipe(mapping, origin)]
    fragments = mapping.pop("stages")
    if not isinstance(fragments, list) or not fragments or not all(isinstance(each, dict) for each in fragments):
        raise InputError(f"{origin}: key 'stages': give a list with the keys of each stage")
    return [
        _recipe(_merged(mapping, fragment), f"{origin}: stages.{place}") for place, fragment in enumerate(fragments)
    ]


def _recipe(mapping: Mapping[str, Any], origin: str) -> Recipe:
    recipe = settings_from_mapping(Recipe, mapping, origin)
    if isinstance(recipe.postprocess, PostprocessConfig):
        thresholds = recipe.postprocess.class_thresholds
        check_known(f"{origin}: postprocess.class_thresholds", "class", thresholds, recipe.model.class_names)
    return recipe


def _with_base(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise InputError(f"{path}: is its own base: correct the 'base' keys")
    mapping = read_mapping(path)
    base = mapping.pop("base", None)
    if base is None:
        return mapping
    if not isinstance(base, str):
        raise InputError(f"{path}: key 'base' = {base!r}: must be the name of another recipe file")
    return _merged(_with_base(path.parent / base, (*above, path.resolve())), mapping)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def read_mapping(path: Path, wanted: str = "a recipe such as config/recipes/first.yaml") -> dict[str, Any]:
    """The keys and values of a YAML file; InputError says to give `wanted` where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): give {wanted}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text: give {wanted}, in YAML") from None
    try:
        mapping = yaml.load(text, _Loader)
    # ValueError: a date that the calendar does not have
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, dict):
        raise InputError(f"{path}: must hold keys and values, holds {type(mapping).__name__}")
    return mapping


class _Loader(yaml.SafeLoader):
    """Of a key that stands twice in a mapping YAML's own takes the second without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.MarkedYAMLError(problem=f"the key '{twice[0]}' stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def settings_from_words(kind: type[S], words: Iterable[str], origin: str, given: Mapping[str, Any] | None = None) -> S:
    """Settings of one kind from `key=value` words over what is given otherwise, and over their defaults."""
    mapping: dict[str, Any] = dict(given or {})
    for word in words:
        _lay_over(mapping, word)
    return settings_from_mapping(kind, mapping, origin)


def _lay_over(mapping: dict[str, Any], override: str) -> None:
    """`a.b=value`; a whole number is the place in a list: `sources.0.weight=2`."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"'{override}': give key=value without spaces, such as train.batch_size=8")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise InputError(f"'{override}': '{text}' is not a YAML value: put it in quotes") from None
    *parents, last = key.split(".")
    place: Any = mapping
    for number, parent in enumerate(parents):
        if isinstance(place, dict) and place.get(parent) is None:
            place[parent] = {}
        place = place[_key_in(place, parent, override)]
        if not isinstance(place, dict | list):
            raise InputError(f"'{override}': '{'.'.join(parents[: number + 1])}' holds a value, not keys")
    place[_key_in(place, last, override)] = value


def _key_in(place: dict[str, Any] | list[Any], word: str, override: str) -> Any:
    if isinstance(place, dict):
        return word
    if not (word.isdecimal() and int(word) < len(place)):
        raise InputError(f"'{override}': '{word}' must be a place in a list of {len(place)}, counted from 0")
    return int(word)


def _one_line(error: ValidationError, kind: type[Settings], task: str) -> str:
    parts = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            parts.append(str(_unknown_key(item["loc"], kind, task)))
        elif item["type"] == "literal_error" and isinstance(item["input"], str):
            choices = re.findall(r"'(.*?)'", item["ctx"]["expected"])
            parts.append(str(unknown(key, "value", item["input"], choices)))
        elif item["type"] == "missing":
            parts.append(f"key '{key}' is missing")
        elif item["type"] == "tuple_type" and not isinstance(item["input"], dict):
            parts.append(f"key '{key}' = {item['input']!r}: give a list, such as [{item['input']}]")
        else:
            value = "" if isinstance(item["input"], dict) else f" = {item['input']!r}"
            parts.append((f"key '{key}'{value}: " if key else "") + item["msg"].removeprefix("Value error, "))
    return "; ".join(parts[:4] + ["..."] * (len(parts) > 4))  # more have the same cause, such as a file of another kind


def _unknown_key(where: tuple[int | str, ...], kind: type[Settings], task: str) -> InputError:
    *above, wrong = map(str, where)
    place: type[Settings] = kind
    for part in above:
        if not part.isdecimal():
            place = _settings_below(place, part, task)
    sections = {name: _settings_below(kind, name, task) for name in kind.model_fields}
    elsewhere = [f"{name}.{wrong}" for name, section in sections.items() if wrong in section.model_fields]
    return unknown(".".join(above), "key", wrong, [*elsewhere, *place.model_fields])


def _settings_below(kind: type[Settings], key: str, task: str) -> type[Settings]:
    """The kind of settings that `key` holds, also in a tuple of them or as one of two; of a plain value none at all."""
    if issubclass(kind, OfTask) and key in kind.model_fields and key in SECTIONS.get(task, {}):
        return SECTIONS[task][key]
    field = kind.model_fields.get(key)
    waiting: list[Any] = [] if field is None else [field.annotation]
    while waiting:
        found = waiting.pop()
        if isinstance(found, type) and issubclass(found, Settings):
            return found
        waiting += get_args(found)
    return Settings
