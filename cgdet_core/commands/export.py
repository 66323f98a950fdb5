"""cgdet export: the model for another runtime, checked against PyTorch before it is put in its place."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands.common import (
    Subparsers,
    add_class_map_argument,
    add_command,
    add_json_argument,
    check_json_place,
    print_or_write_json,
)
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.data.sets.coco import CocoSet
    from cgdet_core.runtime.backends.base import Backend
    from cgdet_core.runtime.exports.network_onnx import Ranges
    from cgdet_core.runtime.model_file import ModelInfo
    from cgdet_core.types import FloatArray, ImageArray

FORMATS = ("onnx", "openvino", "torchscript", "tensorrt")
CALIBRATION_FRAMES = 96
CHECK_FRAMES = 8
STREETS = (1, 4)  # seeds of the synthetic streets that the check looks at where no frames are given
MAX_LOSS_MAP = 0.005


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "export",
        "write the model for another runtime, checked against PyTorch",
        "cgdet export --format onnx --precision int8 --calibration msrs/thermal_train.json --held-out held_out.json",
    )
    parser.add_argument("--model", type=Path, help="model file (default: the shipped models/detector.safetensors)")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "fp16", "int8"),
        help="of the file: fp32 (default; OpenVINO runs it in bf16 too), fp16 (TensorRT's default), int8",
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="COCO.json", help="training frames that int8 is scaled by (labels unused)"
    )
    parser.add_argument(
        "--held-out",
        type=Path,
        metavar="COCO.json",
        help=f"labelled frames on which int8 may lose at most {MAX_LOSS_MAP} mAP, or nothing is written",
    )
    add_class_map_argument(parser, "of the labels of --held-out: ")
    parser.add_argument(
        "--frames",
        type=Path,
        metavar="COCO.json",
        help=f"frames of the check, {CHECK_FRAMES} of them (default: those of the calibration, or synthetic ones)",
    )
    parser.add_argument("--out", type=Path, metavar="F", help="file (default: beside the model, where cgdet looks)")
    parser.add_argument("--device", default="auto", help="the GPU that a TensorRT engine is built on (default: auto)")
    add_json_argument(parser, "the description and the differences found")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.sets.coco import load_coco, parse_class_map
    from cgdet_core.files import check_can_write, sha256_of
    from cgdet_core.runtime.backends.torch_backend import fuse
    from cgdet_core.runtime.exports.calibration import calibrate
    from cgdet_core.runtime.exports.description import SUFFIXES, ExportInfo, export_path
    from cgdet_core.runtime.exports.writing import beside, write_export
    from cgdet_core.runtime.model_file import default_model_path, load_model

    model = arguments.model or default_model_path()
    precision = _precision(arguments)
    out = arguments.out or export_path(model, arguments.format, precision)
    if out.suffix != SUFFIXES[arguments.format]:
        raise InputError(f"{out}: an export as {arguments.format} ends in {SUFFIXES[arguments.format]}: name it so")
    check_can_write(out)
    check_json_place(arguments.json)
    detector, info = load_model(model)
    held_out = None
    if arguments.held_out is not None:
        # what is wrong with it is told before the calibration, which takes a while
        held_out = load_coco(arguments.held_out, info.class_names, parse_class_map(arguments.class_map))
    fuse(detector)
    ranges: Ranges | None = None
    calibration: dict[str, Any] = {}
    if arguments.calibration is not None:
        frames = _frames_of(arguments.calibration, info, CALIBRATION_FRAMES)
        calibration = {"data": arguments.calibration.name, "frames": len(frames)}
        found = calibrate(detector, (_canvas(frame, info) for frame in _shown(frames, "calibrating")))
        ranges = {name: value for name, value in found.items() if not _is_sensitive(name)}
    checked = _check_frames(arguments, info)
    description = ExportInfo(
        format=arguments.format,
        precision=precision,
        model_sha256=sha256_of(model),
        info=info,
        calibration=calibration,
    )
    with beside(out) as partial:
        write_export(partial, detector, description, ranges, arguments.device)
        figures = _check(partial, out, description, model, checked, arguments.device)
        if held_out is not None:
            figures["held_out"] = _check_accuracy(partial, out, model, held_out)
    files = [out, out.with_suffix(".bin")] if arguments.format == "openvino" else [out]
    size = sum(file.stat().st_size for file in files)
    document = description.model_dump(mode="json") | {"file": str(out), "bytes": size, "check": figures}
    if arguments.json != "-":
        for name, values in figures.items():
            print(_told(name, values))
        print(f"{out} ({size / 1e6:.1f} MB), {description.format} {description.precision}")
    print_or_write_json(document, arguments.json)
    return 0


def _precision(arguments: argparse.Namespace) -> Any:
    if arguments.precision == "int8":
        if arguments.format == "torchscript":
            raise InputError("--precision int8: TorchScript has none here: use --format onnx or openvino")
        if arguments.calibration is None:
            raise InputError("--precision int8 needs frames to be scaled by: give --calibration COCO.json")
        return "int8"
    for name in ("calibration", "held_out"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} is for --precision int8 alone: leave it out")
    if arguments.format == "tensorrt":
        return "fp16" if arguments.precision == "auto" else arguments.precision
    if arguments.precision == "fp16":
        raise InputError(f"--precision fp16: {arguments.format} files hold fp32 here: leave it out")
    return "fp32"


def _is_sensitive(name: str) -> bool:
    """Layers that stay as they are in an int8 export: the first, which reads the picture, and the last ones."""
    return name == "backbone.stem.conv.weight" or (name.startswith("head.") and name.endswith(".2.weight"))


def _frames_of(data: Path, info: ModelInfo, most: int) -> list[ImageArray]:
    """`most` frames of a COCO set, evenly spread."""
    from cgdet_core.data.sets.coco import load_coco
    from cgdet_core.data.sets.coco_file import read_coco
    from cgdet_core.evaluation.offline import check_data
    from cgdet_core.subsample import subsample
    from cgdet_core.types import IGNORE

    check_data(data)
    if data.suffix != ".json":
        raise InputError(f"{data}: give a COCO JSON file (cgdet bag extract makes one of a bag)")
    # of labels nothing is asked here: whatever the categories are called
    class_map = {category.name: IGNORE for category in read_coco(data).categories}
    coco = load_coco(data, info.class_names, class_map)
    return [coco.sample(place).frame.image for place in subsample(len(coco), most)]


def _check_frames(arguments: argparse.Namespace, info: ModelInfo) -> list[FloatArray]:
    """Inputs of the network to compare on."""
    data = arguments.frames or arguments.calibration
    if data is not None:
        images = _frames_of(data, info, CHECK_FRAMES)
    else:
        from cgdet_core.data.synthetic.street import SyntheticStreet

        each = CHECK_FRAMES // len(STREETS)
        images = [SyntheticStreet(seed).sample(20 * index).frame.image for seed in STREETS for index in range(each)]
    return [_canvas(image, info) for image in images]


def _canvas(image: ImageArray, info: ModelInfo) -> FloatArray:
    from cgdet_core import thermal

    return thermal.letterbox(thermal.normalise(image, info.thermal), info.input_height_width_px)[0]


def _shown(frames: Sequence[ImageArray], what: str) -> Iterator[ImageArray]:
    from tqdm import tqdm

    yield from tqdm(frames, what, unit="frame", disable=None)


def _check(
    partial: Path, out: Path, description: Any, model: Path, canvases: list[FloatArray], device: str
) -> dict[str, dict[str, Any]]:
    """The differences of every backend that can run the file; InputError where one is too great."""
    import torch

    from cgdet_core.runtime.backends.torch_backend import TorchBackend
    from cgdet_core.runtime.exports import parity
    from cgdet_core.runtime.model_file import load_model

    info = description.info
    reference = TorchBackend(load_model(model)[0], torch.device("cpu"), "fp32")
    found: dict[str, dict[str, Any]] = {}
    for backend in _runners(partial, description, device):
        difference = parity.difference(reference, backend, canvases, info.model.bins, info.input_height_width_px)
        parity.check(out, backend.precision, difference)
        found[f"{backend.name} {backend.precision}"] = asdict(difference)
    return found


def _runners(path: Path, description: Any, device: str) -> Iterator[Backend]:
    """Every way in which this machine can run the export; InputError where there is none."""
    from cgdet_core.runtime.backends.choice import open_model, usable

    if description.format == "torchscript":
        from cgdet_core.runtime.exports.torchscript_run import TorchScriptRun

        yield TorchScriptRun(path)
        return
    if description.format == "tensorrt":
        yield open_model(path, "tensorrt", device, "auto", 0).backend
        return
    int8 = description.precision == "int8"
    names = ["openvino"] if int8 or description.format == "openvino" else ["openvino", "onnxruntime"]
    installed = [name for name in names if usable(name)]
    if not installed:
        raise InputError(
            f"an export as {description.format} {description.precision} is checked before it is written, which needs "
            f"{' or '.join(names)}: pip install {names[-1]}"
        )
    for name in installed:
        yield open_model(path, name, "cpu", "int8" if int8 else "fp32", 0).backend


def _check_accuracy(partial: Path, out: Path, model: Path, held_out: CocoSet) -> dict[str, Any]:
    """mAP of the export and of the model in fp32; InputError where it lost too much."""
    from cgdet_core.evaluation.metrics.metrics import evaluate
    from cgdet_core.evaluation.offline import run_offline
    from cgdet_core.runtime.predictor import Predictor

    figures = {}
    for name, path, precision in (("fp32", model, "fp32"), ("int8", partial, "int8")):
        predictor = Predictor(path, "auto" if partial.suffix == ".engine" else "cpu", precision)
        frames = run_offline(predictor, held_out, len(held_out)).frames
        figures[name] = evaluate(frames, held_out.class_names).to_json({})["map"]
    loss = figures["fp32"] - figures["int8"]
    if loss > MAX_LOSS_MAP:
        raise InputError(
            f"{out}: int8 has {figures['int8']:.4f} mAP on {held_out.path}, fp32 {figures['fp32']:.4f}, at most "
            f"{MAX_LOSS_MAP} less may be: nothing was written; give other frames by --calibration"
        )
    return {"data": held_out.path.name, "map_fp32": figures["fp32"], "map_int8": figures["int8"]}


def _told(name: str, values: dict[str, Any]) -> str:
    """One check, for a person."""
    if "boxes" not in values:
        return f"{name}: " + ", ".join(f"{key} {_short(value)}" for key, value in values.items())
    return (
        f"{name} against PyTorch: {values['boxes']} boxes of {values['frames']} frames; greatest differences "
        f"{_short(values['box_px'])} px and {_short(values['score'])} of the score, medians "
        f"{_short(values['median_box_px'])} px and {_short(values['median_score'])}"
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
