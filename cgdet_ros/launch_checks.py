"""What the launch files check before they start a process: launch itself passes over most mistakes.

ROS's launch ignores arguments that are misspelt, starts a node without the parameter file that is
not there, and a section for another node's name is silently none of this one's. Here each is one
line that ends the launch. Launch runs under the Python of the ROS installation, where cgdet's
libraries may be missing: this file needs the standard library and PyYAML.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

TRANSPORTS = ("raw", "compressed")
COLOUR_MAPS = ("white_hot", "black_hot", "ironbow", "inferno", "cividis")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
# rcl says of others only that a remap rule cannot be parsed
_TOPIC = re.compile(r"(/|~/)?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)


class LaunchError(ValueError):
    """One line for whoever launches; launch prints it and ends."""


def flag(name: str, text: str) -> bool:
    """true or false, in any case; LaunchError for anything else."""
    try:
        return _TRUTHS[text.strip().lower()]
    except KeyError:
        raise LaunchError(f"{name}:={text}: give true or false") from None


def whole_number(name: str, text: str) -> int:
    """0 or more; LaunchError for anything else."""
    if not text.strip().isdecimal():
        raise LaunchError(f"{name}:={text}: give a whole number, 0 or more")
    return int(text)


def number(name: str, text: str) -> float:
    """0 or more; LaunchError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise LaunchError(f"{name}:={text}: give a number, 0 or more")
    return value


def one_of(name: str, text: str, allowed: Sequence[str]) -> str:
    """`text`, where it is one of `allowed`; LaunchError where it is not."""
    if text not in allowed:
        raise LaunchError(f"{name}:={text}: give {', '.join(allowed[:-1])} or {allowed[-1]}")
    return text


def device(text: str) -> str:
    """`text`, where it can name a device; whether that is there is for the node to say."""
    if not _DEVICE.fullmatch(text):
        raise LaunchError(f"device:={text}: give auto, cpu, cuda or cuda:N")
    return text


def topic(name: str, text: str) -> str:
    """`text`, where it can name a topic; LaunchError where it cannot."""
    if not _TOPIC.fullmatch(text):
        raise LaunchError(
            f"{name}:={text}: give a topic: letters, digits and _, with / between, such as /flir/image_raw"
        )
    return text


def existing_file(name: str, text: str, folder: Path | None = None) -> Path:
    """The absolute path of a file; a relative one is looked for in `folder`, by default where launch was started."""
    path = (folder or Path.cwd()) / Path(text).expanduser()
    if not path.is_file():
        raise LaunchError(f"{name}:={text}: there is no such file ({path})")
    return path


def check_arguments(
    launch_file: str, given: Sequence[str], known: Collection[str], parameters: Collection[str] = ()
) -> None:
    """Refuse name:=value of `given` with a name that is not in `known`; launch itself would pass over it.

    parameters: names of the node's, which an argument may have been taken for. Only where `launch_file` itself was
    launched: within another file the words are that file's.
    """
    if not any(Path(word).name == launch_file for word in sys.argv):
        return
    for word in given:
        name, separator, _ = word.partition(":=")
        if separator and name in parameters and name not in known:
            raise LaunchError(
                f"{launch_file} has no argument '{name}', it is a parameter of the node: write it into a file like "
                f"config/detector.yaml{' and give params_file:=FILE' if 'params_file' in known else ''}"
            )
        if separator and name not in known:
            raise LaunchError(f"{launch_file} has no argument '{name}': {_remedy(name, known)}")


def check_names(given: Collection[str], known: Collection[str], what: str) -> None:
    """LaunchError for the first of `given` that is not in `known`; what: where it stands, and what it is none of."""
    for name in given:
        if name not in known:
            raise LaunchError(f"{what} '{name}': {_remedy(str(name), known)}")


def _remedy(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def sections_for(path: Path, node: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The sections of a parameter file for the node of that full name (/front/thermal_detector), as pattern and values.

    Raises LaunchError for a file that is no YAML, that has no ros__parameters, or none for `node`.
    """
    content = read_yaml(path)
    sections = list(_sections(content, "")) if isinstance(content, Mapping) else []
    if not sections:
        raise LaunchError(f"{path}: no parameter file: under '/**:' it needs 'ros__parameters:', and the values below")
    fitting = [(pattern, values) for pattern, values in sections if _fits(pattern, node)]
    if not fitting:
        there = ", ".join(pattern for pattern, _ in sections)
        raise LaunchError(f"{path}: it is for {there}, and the node is {node}: name it so, or /** for every node")
    return fitting


def parameters_for(path: Path, node: str) -> dict[str, Any]:
    """What a parameter file gives the node, flattened with dots; LaunchError as in `sections_for`."""
    return {name: value for _, values in sections_for(path, node) for name, value in _flat(values, "")}


def overriding(path: Path, node: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Content of a parameter file that goes before `path`'s values for `node`.

    Of a node's sections that one wins which came last, and a section keeps the place where its name came first: so
    every section of `path` that is for the node gets the values.
    """
    patterns = [pattern for pattern, _ in sections_for(path, node)]
    return {pattern: {"ros__parameters": dict(values)} for pattern in dict.fromkeys([*patterns, node])}


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; LaunchError where it cannot be read."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise LaunchError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchError(f"{path}: cannot be read: {error}") from None


def _sections(content: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Pattern of node names and parameters; namespaces may be written with slashes or as mappings."""
    for name, value in content.items():
        if name == "ros__parameters":
            if prefix and isinstance(value, Mapping):
                yield prefix, value
        elif isinstance(value, Mapping):
            yield from _sections(value, f"{prefix}/{str(name).strip('/')}")


def _fits(pattern: str, node: str) -> bool:
    """Whether a section's pattern takes the node of that full name: * is one name, ** is any number, as in rcl."""
    words = [
        "(/[^/]+)*" if word == "**" else "/[^/]+" if word == "*" else re.escape(f"/{word}")
        for word in pattern.strip("/").split("/")
    ]
    return re.fullmatch("".join(words), node) is not None


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
