"""The file of several cameras that `cameras.launch.py` takes: one node each, with parameters of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cgdet_ros.launch_checks import LaunchError, check_names, existing_file, parameters_for, read_yaml, topic

KEYS = ("image", "params_file", "parameters")
NODE = "thermal_detector"
_NAMESPACE = re.compile(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Camera:
    """One entry: namespace is the entry's name, without a slash before it."""

    namespace: str
    image: str
    params_file: Path | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


def read_cameras(path: Path, known_parameters: Collection[str]) -> tuple[Camera, ...]:
    """The cameras of a file, each with a number of threads.

    A camera that names none, in its entry or in its parameter file, gets an equal share of the CPU's
    cores: by default every node would take them all. Raises LaunchError in one line that names the file.
    """
    content = read_yaml(path)
    cameras = content.get("cameras") if isinstance(content, Mapping) else None
    if not isinstance(cameras, Mapping) or not cameras:
        raise LaunchError(f"{path}: it needs 'cameras:', and below it an entry for each, such as 'front:'")
    check_names([str(key) for key in content], ("cameras",), f"{path}: unknown key")
    share = max(1, _cores() // len(cameras))
    return tuple(_camera(path, str(name), entry, known_parameters, share) for name, entry in cameras.items())


def _camera(path: Path, name: str, entry: Any, known_parameters: Collection[str], share: int) -> Camera:
    if not _NAMESPACE.fullmatch(name):
        raise LaunchError(
            f"{path}: camera '{name}': its name becomes a namespace: letters, digits and _, such as front"
        )
    if not isinstance(entry, Mapping) or not isinstance(entry.get("image"), str):
        raise LaunchError(f"{path}: camera {name}: it needs 'image:', the topic of its images")
    check_names([str(key) for key in entry], KEYS, f"{path}: camera {name}: unknown key")
    parameters = entry.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise LaunchError(f"{path}: camera {name}: 'parameters:' takes name: value, such as device: cuda:0")
    parameters = {str(key): value for key, value in parameters.items()}
    check_names(parameters, known_parameters, f"{path}: camera {name}: unknown parameter")
    try:
        topic("image", entry["image"])
        if parameters.get("model"):
            parameters["model"] = str(existing_file("model", str(parameters["model"]), path.parent))
        params_file, held = None, {}
        if entry.get("params_file"):
            params_file = existing_file("params_file", str(entry["params_file"]), path.parent)
            held = parameters_for(params_file, f"/{name}/{NODE}")
    except LaunchError as error:
        raise LaunchError(f"{path}: camera {name}: {error}") from None
    if not ({**held, **parameters}).get("threads"):
        parameters["threads"] = share
    return Camera(name, entry["image"], params_file, parameters)


def _cores() -> int:
    """Those that this process may run on, as its children may."""
    return len(os.sched_getaffinity(0))
