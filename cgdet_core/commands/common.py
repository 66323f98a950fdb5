"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.errors import InputError
from cgdet_core.files import check_can_write, write_text

if TYPE_CHECKING:
    from cgdet_core.evaluation.offline import Selection
    from cgdet_core.evaluation.task import MeasuredTask
    from cgdet_core.runtime.predictor import LoadedModel

Subparsers = Any  # argparse names its own type only privately


def add_command(subparsers: Subparsers, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """A subcommand whose help ends in an example; summary: what it does, and after a semicolon what it needs."""
    does, _, needs = summary.partition("; ")
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.\n{needs[0].upper()}{needs[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_model_arguments(parser: argparse.ArgumentParser, several: bool = False, shipped: str = "detector") -> None:
    """For `load_models`; several: backend and precision are lists; shipped: the model of models/ that is taken."""
    parser.add_argument("--model", type=Path, help=f"model file (default: the shipped {shipped} in models/)")
    add_device_arguments(parser, several)


def add_device_arguments(parser: argparse.ArgumentParser, several: bool = False, backend: bool = True) -> None:
    how: dict[str, Any] = {"nargs": "+", "default": ["auto"]} if several else {"default": "auto"}
    of = "one or more of " if several else ""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    if backend:
        backends = f"{of}auto, openvino, torch, onnxruntime or tensorrt (default: auto)"
        parser.add_argument("--backend", help=backends, **how)
        size = "input of a detector in pixels, multiples of 32 such as 640x800 (default: the model's own)"
        parser.add_argument("--input", type=_size, metavar="HEIGHTxWIDTH", help=size)
    parser.add_argument("--precision", help=f"{of}auto, fp32, fp16, bf16 or int8 (default: auto)", **how)
    add_threads_argument(parser)


def add_threads_argument(parser: argparse.ArgumentParser) -> None:
    threads = "CPU threads of the network (default: its own choice)"
    parser.add_argument("--threads", type=count, default=0, metavar="N", help=threads)


def add_telemetry_argument(parser: argparse.ArgumentParser) -> None:
    either = parser.add_mutually_exclusive_group()
    rows = "cut N rows of telemetry: > 0 at the bottom, < 0 at the top"
    camera = "cut the telemetry of this camera, a name in config/cameras"
    either.add_argument("--telemetry-rows", type=int, default=0, metavar="N", help=rows)
    either.add_argument("--camera", type=_rows_of, dest="telemetry_rows", metavar="NAME", help=camera)


def add_data_arguments(parser: argparse.ArgumentParser, of_run: str = "", many: bool = False) -> None:
    """For `selected_frames`; of_run: what else than its frames the run gives the command; many: data are words."""
    how: dict[str, Any] = {"nargs": "+", "action": "extend"} if many else {"type": Path}
    bags = "a bag with labels, or several, folders of bags, patterns, URLs (s3://)" if many else "a bag with labels"
    parser.add_argument("--data", required=True, help=f"COCO JSON, or {bags}", **how)
    add_telemetry_argument(parser)
    parser.add_argument("--topic", help="image topic of a bag (default: the only or the most thermal-looking one)")
    labels = "labels of a bag: a Detection2DArray topic, or a COCO JSON keyed by stamp"
    parser.add_argument("--truth-topic", help=labels)
    add_by_argument(parser)
    add_class_map_argument(parser)
    frames = f"take {of_run}the frames that this run's recipe held out; --data is then the folder of the recipe's paths"
    parser.add_argument("--run", type=Path, metavar="RUN", dest="run_folder", help=frames)


def add_by_argument(parser: argparse.ArgumentParser) -> None:
    by = "time of a frame: its header stamp (default), or its record time where no driver sets the stamps"
    parser.add_argument("--by", choices=("stamp", "record"), default="stamp", help=by)


def add_class_map_argument(parser: argparse.ArgumentParser, of_what: str = "") -> None:
    """class_map, a mapping; of_what: whose categories, where that is not plain."""
    said = f"{of_what}map a category of the data to a class, ignore or background, such as truck=car dog=background"
    parser.add_argument("--class-map", nargs="+", default={}, action=_ClassMap, metavar="NAME=CLASS", help=said)


class _ClassMap(argparse.Action):
    """Its words as a mapping."""

    def __call__(self, parser: object, namespace: argparse.Namespace, words: Any, option: object = None) -> None:
        from cgdet_core.data.sets.coco import parse_class_map

        namespace.class_map = parse_class_map(words, vars(namespace).get("class_map"))


def add_settings_argument(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("settings", nargs="*", default=[], metavar="key=value", help=f"settings {what}")


def add_json_argument(parser: argparse.ArgumentParser, figures: str = "all figures") -> None:
    """For `put_out`."""
    said = f"write {figures} as JSON; '-' prints them"
    parser.add_argument(
        "--json", type=lambda word: word if word == "-" else str(writable(word)), metavar="F", help=said
    )


def writable(word: str) -> Path:
    """Type of an argument that names a file to write: InputError, before any work, where it could not be."""
    check_can_write(Path(word))
    return Path(word)


def _rows_of(camera: str) -> int:
    from cgdet_core.config.cameras import load_camera

    return load_camera(camera).telemetry_rows


def count(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"'{word}': give 0 or more")
    return int(word)


def _size(word: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", word)
    if found is None:
        raise argparse.ArgumentTypeError(f"'{word}': give height and width, such as 640x800")
    return int(found[1]), int(found[2])


def load_models(arguments: argparse.Namespace, *paths: Path | None) -> tuple[MeasuredTask, list[LoadedModel]]:
    """The models that the model arguments ask for (None: the shipped one), warmed up, and the task of them all;
    InputError before that where there is nothing at the command's `--data`."""
    from cgdet_core.evaluation.offline import check_data
    from cgdet_core.evaluation.task import task_of
    from cgdet_core.runtime.backends import shipped_model
    from cgdet_core.runtime.model_file import read_info

    if hasattr(arguments, "data"):
        check_data(arguments.data)
    files = [path or shipped_model(arguments.backend, arguments.device, arguments.precision) for path in paths]
    tasks = [task_of(read_info(path)) for path in files]
    if any(task is not tasks[0] for task in tasks):
        each = " and ".join(f"{path} is for {task.name}" for path, task in zip(files, tasks, strict=True))
        raise InputError(f"{each}: give two models of one task")
    return tasks[0], [tasks[0].load(path, *how(arguments)) for path in files]


def how(arguments: argparse.Namespace) -> tuple[str, str, int, str, tuple[int, int] | None]:
    """What the device arguments ask for, as a LoadedModel takes it behind its file."""
    return arguments.device, arguments.precision, arguments.threads, arguments.backend, arguments.input


def measured(model: LoadedModel) -> dict[str, Any]:
    """What was measured with: of the keys that the figures do not know all but the times."""
    return {
        "params": model.info.parameters,
        "model_bytes": model.model_path.stat().st_size,
        "device": model.device,
        "precision": model.precision,
        "backend": model.backend,
    }


def add_measuring_arguments(parser: argparse.ArgumentParser, report: str, of_run: str = "", many: bool = False) -> None:
    """For `selected_frames`; report: what is on the page."""
    add_json_argument(parser)
    parser.add_argument("--report", type=writable, metavar="F.html", help=f"write a page with {report}")
    add_data_arguments(parser, of_run, many)


def selected_frames(
    arguments: argparse.Namespace,
    names: tuple[str, ...],
    losses: list[str] | None = None,
    models: Sequence[LoadedModel] = (),
    again: bool = False,
) -> Selection:
    """What the data arguments, and `--run`, name. Tells, on standard error, what is odd about a set and which of these
    models have learnt from it, but not `again`."""
    from cgdet_core.evaluation.offline import select_frames

    labels = arguments.topic, arguments.truth_topic, arguments.class_map
    selection = select_frames(arguments.data, names, arguments.run_folder, *labels, losses, arguments.by)
    print_warnings(() if again else selection.warnings)
    for model in models:
        print_warnings(selection.learnt_by(model.model_path, model.info))
    return selection


def print_warnings(warnings: Iterable[str]) -> None:
    for warning in warnings:
        print(f"cgdet: warning: {warning}", file=sys.stderr)


def table(rows: Sequence[Sequence[object]]) -> str:
    """Rows in columns, the first to the left, the others to the right; floats have three decimals, None is a dash."""
    cells = [["-" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = []
    for first, *others in cells:
        right = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join((first.ljust(widths[0]), *right)))
    return "\n".join(lines)


def put_out(document: dict[str, Any], path: str | None, text: str) -> None:
    """Write JSON to a file and print the text for a person; where `path` is '-', print the JSON alone."""
    written = json.dumps(document, indent=2) + "\n"
    if path not in (None, "-"):
        write_text(Path(path), written)
    print(written if path == "-" else text, end="" if path == "-" else "\n")
