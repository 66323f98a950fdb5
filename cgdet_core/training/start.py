"""A run that begins with a model's weights: which it takes over, and what it refuses.

Activation and input size hold no weights. Classes hold the last layer of the class branches alone: those of a name that
both know keep theirs, others begin as in an untrained network.
"""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from cgdet_core.config import ModelConfig
from cgdet_core.errors import InputError
from cgdet_core.model.detector import Detector
from cgdet_core.runtime.model_file import ModelInfo

_HOLD_NO_WEIGHTS = ("activation", "class_names", "input_height_width_px")
_OF_CLASSES = re.compile(r"head\.class_branches\.\d+\.2\.(weight|bias)")


def check_same_network(info: ModelInfo, wanted: ModelConfig, path: Path) -> None:
    """InputError, naming the settings, where a network of `wanted` cannot begin with the weights in `path`."""
    there, here = info.model.model_dump(), wanted.model_dump()
    differing = [key for key in here if key not in _HOLD_NO_WEIGHTS and there[key] != here[key]]
    if differing:
        what = "; ".join(
            f"model.{key} is {_plain(there[key])} there, {_plain(here[key])} in the recipe" for key in differing
        )
        raise InputError(f"{path}: is of another network: {what}. Copy its settings, or train without --init")


def take_over(start: Detector, info: ModelInfo, detector: Detector, wanted: ModelConfig) -> None:
    """Put the weights of `start`, which `info` describes, into `detector` of `wanted`, as check_same_network allows."""
    state = dict(start.state_dict())
    if info.model.class_names != wanted.class_names:
        fresh = detector.state_dict()
        for name in state:
            if _OF_CLASSES.fullmatch(name):
                state[name] = _rows(state[name], info.model.class_names, fresh[name], wanted.class_names)
    detector.load_state_dict(state)


def words_of_start(info: ModelInfo, wanted: ModelConfig) -> list[str]:
    """What somebody should know who begins with this model, a line each."""
    lines = []
    if info.model.activation != wanted.activation:
        lines.append(
            f"learned with {info.model.activation}, this run has {wanted.activation}: "
            f"model.activation={info.model.activation} keeps it"
        )
    new = [name for name in wanted.class_names if name not in info.model.class_names]
    if new:
        known = ", ".join(info.model.class_names)
        lines.append(f"knows the classes {known}: what is {' or '.join(new)} this run learns anew")
    return lines


def _rows(old: Tensor, old_names: tuple[str, ...], fresh: Tensor, names: tuple[str, ...]) -> Tensor:
    """fresh [C, ...] with the rows of the classes that `old` knows too."""
    rows = fresh.clone()
    for index, name in enumerate(names):
        if name in old_names:
            rows[index] = old[old_names.index(name)]
    return rows


def _plain(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
