"""Parameter files and the file of several cameras, as the launch files read them.

Launch runs under the Python of the ROS installation, where cgdet's libraries may be missing: this needs the standard
library and PyYAML, as cgdet_core.errors does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cgdet_core.errors import InputError, check_known

NODE = "thermal_detector"
# An overlay is larger than the shared memory that Fast DDS (2, 3) has by default. A profile that is set is kept.
_PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_KEYS = ("image", "params_file", "parameters")


def check_words(words: Iterable[str], names: Sequence[str], file: str) -> None:
    """InputError for a `name:=value` of none of these arguments of a launch file; launch's own begin with launch-."""
    given = (word.partition(":=")[0] for word in words if not word.startswith("launch-"))
    check_known(file, "argument", given, names, "other parameters stand in a params_file")


def has_profile() -> bool:
    """Whether this process says itself how Fast DDS is to pass messages on."""
    return any(os.environ.get(name) for name in (*_PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS"))


def large_frames(share: Path) -> dict[str, str]:
    """What a process that sends images gets in its environment in addition; share: where config/ is."""
    if has_profile():
        return {}
    return dict.fromkeys(_PROFILE_VARIABLES, str(share / "config" / "fastdds_large_frames.xml"))


def read_cameras(path: Path) -> list[dict[str, Any]]:
    """For each camera of a file what launching.thermal_node takes; InputError names the file and the entry.

    A camera that names none, in its entry or parameter file, gets an equal share of the CPU's cores, not all.
    """
    content = read_yaml(path)
    cameras = content.get("cameras") if isinstance(content, Mapping) else None
    if not isinstance(cameras, Mapping) or not cameras or len(content) > 1:
        raise InputError(f"{path}: it needs 'cameras:' alone, and below it an entry for each, such as 'front:'")
    share = max(1, len(os.sched_getaffinity(0)) // len(cameras))
    return [_camera(path, str(name), entry, share) for name, entry in cameras.items()]


def _camera(path: Path, name: str, entry: Any, share: int) -> dict[str, Any]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("image"), str) or set(entry) - set(_KEYS):
        raise InputError(f"{path}: camera {name}: it takes image (a topic; needed), params_file, parameters")
    parameters = dict(entry.get("parameters") or {})
    if parameters.get("model"):
        parameters["model"] = str(path.parent / Path(parameters["model"]).expanduser())
    params_file, held = None, {}
    if entry.get("params_file"):
        params_file = path.parent / Path(entry["params_file"]).expanduser()
        held = parameters_for(params_file, f"/{name}/{NODE}")
    if not {**held, **parameters}.get("threads"):
        parameters["threads"] = share
    topics = {"image": entry["image"]}
    return {"namespace": name, "topics": topics, "params_file": params_file, "parameters": parameters}


def parameters_for(path: Path, node: str) -> dict[str, Any]:
    """What a parameter file gives the node of that full name (/front/thermal_detector), flattened with dots.

    Raises InputError for a file that has no ros__parameters, or none for `node`, which ROS would start without them.
    """
    content = read_yaml(path)
    try:
        sections = {str(name): dict(entry["ros__parameters"]) for name, entry in dict(content).items()}
    except (KeyError, TypeError, ValueError):
        sections = {}
    if not sections:
        raise InputError(f"{path}: under '/**:', or a node's full name, it needs 'ros__parameters:', the values below")
    fitting = [values for pattern, values in sections.items() if _fits(pattern, node)]
    if not fitting:
        raise InputError(f"{path}: it is for {', '.join(sections)}, the node is {node}: name it so, or /** for all")
    return {name: value for values in fitting for name, value in flat(values)}


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; InputError where it cannot be read."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


def _fits(pattern: str, node: str) -> bool:
    """Whether a section's pattern takes the node of that full name: * is one name, ** is any number, as in rcl."""
    words = {"**": "(/[^/]+)*", "*": "/[^/]+"}
    regex = "".join(words.get(word, re.escape(f"/{word}")) for word in pattern.strip("/").split("/"))
    return re.fullmatch(regex, node) is not None


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names with dots in place of groups."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
