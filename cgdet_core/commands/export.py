"""cgdet export: the model for deployment, checked against PyTorch before it is put in its place."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands import common
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.data.sets.coco import CocoSet
    from cgdet_core.runtime.model_file import ModelInfo
    from cgdet_core.types import FloatArray, Sample

CALIBRATION_FRAMES = 96
CHECK_FRAMES = 8


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "export",
        "write the ONNX file that a vehicle runs, checked against PyTorch; it needs a model and requirements/train.txt",
        "cgdet export --model runs/first/model.safetensors",
    )
    parser.add_argument("--model", type=Path, help=".safetensors (default: the shipped models/detector.safetensors)")
    int8 = "write int8, scaled by these training frames, whose labels are unused (default: fp32)"
    parser.add_argument("--calibration", type=Path, metavar="COCO.json", help=int8)
    held_out = "labelled frames on which int8 may lose at most 0.005 mAP, or 0.001 NME, or nothing is written"
    parser.add_argument("--held-out", type=Path, metavar="COCO.json", help=held_out)
    common.add_class_map_argument(parser, "of the labels of --held-out: ")
    frames = f"frames of the check, {CHECK_FRAMES} of them (default: those of the calibration, or synthetic ones)"
    parser.add_argument("--frames", type=Path, metavar="COCO.json", help=frames)
    out = "where it is written (default: beside the model, of int8 as .int8.onnx)"
    parser.add_argument("--out", type=Path, metavar="F.onnx", help=out)
    common.add_json_argument(parser, "what was written and the differences found")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.sets.coco import load_coco
    from cgdet_core.evaluation.task import task_of
    from cgdet_core.files import check_can_write, replacing
    from cgdet_core.runtime.export import write_export
    from cgdet_core.runtime.model_file import ModelDescription, default_model_path, read_description

    model = arguments.model or default_model_path(".safetensors")
    int8 = arguments.calibration is not None
    out = arguments.out or model.with_suffix(".int8.onnx" if int8 else ".onnx")
    if out.suffix != ".onnx":
        raise InputError(f"{out}: an export is an .onnx: rename it")
    if model.suffix != ".safetensors":
        raise InputError(f"{model}: is not a .safetensors file: give the one that `cgdet train` wrote")
    if arguments.class_map and arguments.held_out is None:
        raise InputError("--class-map needs --held-out: give both, or leave it out")
    if arguments.held_out is not None and not int8:
        raise InputError("--held-out needs --calibration: give both, or leave it out")
    check_can_write(out)
    of_model = read_description(model)
    info, task = of_model.info, task_of(of_model.info)
    # what is wrong with the frames is told before the work, which takes a while
    held_out = None
    if arguments.held_out is not None:
        held_out = load_coco(arguments.held_out, info.class_names, arguments.class_map)
        common.print_warnings(held_out.warnings)
    calibration = task.canvases(info, _spread(arguments.calibration, info, CALIBRATION_FRAMES)) if int8 else []
    frames = arguments.frames or arguments.calibration
    checked = task.canvases(info, None if frames is None else _spread(frames, info, CHECK_FRAMES))
    description = ModelDescription(
        info,
        of_model.model_sha256,
        "int8" if int8 else "fp32",
        f"{arguments.calibration.name}, {len(calibration)} frames" if int8 else "",
    )
    with replacing(out) as partial:
        write_export(model, partial, description, calibration)
        figures = _check(partial, out, description.precision, model, checked)
        if held_out is not None:
            figures["held_out"] = _check_accuracy(partial, out, model, held_out)
    document: dict[str, Any] = {
        "file": str(out),
        "bytes": out.stat().st_size,
        "precision": description.precision,
        "calibration": description.calibration,
        "model_sha256": description.model_sha256,
        "check": figures,
    }
    lines = [f"{name}: {json.dumps(values)}" for name, values in figures.items()]
    lines.append(f"{out} ({document['bytes'] / 1e6:.1f} MB), {description.precision}")
    common.put_out(document, arguments.json, "\n".join(lines))
    return 0


def _spread(data: Path, info: ModelInfo, most: int) -> Iterator[Sample]:
    """`most` frames of a COCO set, evenly spread."""
    from cgdet_core.data.sets.coco import load_coco
    from cgdet_core.data.sets.coco_file import read_coco
    from cgdet_core.subsample import subsample
    from cgdet_core.types import IGNORE

    if data.suffix != ".json":
        raise InputError(f"{data}: give a COCO JSON file (cgdet bag extract makes one of a bag)")
    # of labels nothing is asked here: whatever the categories are called
    class_map = {category.name: IGNORE for category in read_coco(data).categories}
    coco = load_coco(data, info.class_names, class_map)
    return map(coco.sample, subsample(len(coco), most))


def _check(
    partial: Path, out: Path, precision: str, model: Path, canvases: list[FloatArray]
) -> dict[str, dict[str, Any]]:
    """The differences in every library that runs the file here; InputError where one is too great."""
    from cgdet_core.runtime.backends import open_model
    from cgdet_core.runtime.backends.base import is_installed
    from cgdet_core.runtime.export import check_parity

    reference, of_model = open_model(model, "torch", "cpu", "fp32", 0)
    size = of_model.info.input_height_width_px
    found: dict[str, dict[str, Any]] = {}
    for name in ("openvino", *filter(is_installed, ["onnxruntime"])):
        backend, _ = open_model(partial, name, "cpu", precision, 0)
        found[f"{name} {backend.precision}"] = check_parity(out, precision, reference, backend, canvases, size)
    return found


def _check_accuracy(partial: Path, out: Path, model: Path, held_out: CocoSet) -> dict[str, Any]:
    """The task's first figure of the export and of the model in fp32; InputError where it lost too much."""
    import numpy as np

    from cgdet_core.evaluation.task import run_model

    values = {}
    for precision, path in (("fp32", model), ("int8", partial)):
        task, _, run = run_model(path, held_out, "cpu", precision, "auto")
        vector = task.vector(run.frames, held_out.class_names)
        values[precision] = float(vector.of(np.ones(len(run.frames), np.int64))[0])
    key = vector.keys[0]
    lost = values["int8"] - values["fp32"] if key.less_is_better else values["fp32"] - values["int8"]
    if not lost <= task.int8_may_lose:
        raise InputError(
            f"{out}: not written, int8 loses too much: {key.name} {values['int8']:.4f} on {held_out.path} (fp32 "
            f"{values['fp32']:.4f}, allowed loss {task.int8_may_lose}): give other frames with --calibration"
        )
    return {
        "data": held_out.path.name,
        **{f"{key.path[-1]}_{precision}": value for precision, value in values.items()},
    }
