"""cgdet info: what a model file says of itself."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cgdet_core.commands.common import Subparsers, add_command


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "info",
        "show a model's or export's structure, classes, input, training data and scores",
        "cgdet info models/detector.safetensors",
    )
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="model file (default: the shipped one)")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.files import sha256_of
    from cgdet_core.runtime.model_file import EXPORT_SUFFIXES, default_model_path, load_model, read_description

    path = arguments.model or default_model_path()
    description = read_description(path)
    info, is_export = description.info, path.suffix in EXPORT_SUFFIXES
    if not is_export:
        load_model(path)  # a file that says well of itself and cannot be loaded is no model
    facts: dict[str, Any] = {"file": str(path), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
    if is_export:
        facts["export"] = {name: getattr(description, name) for name in ("model_sha256", "precision", "calibration")}
    facts |= info.model_dump(mode="json")
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return 0
    height, width = info.input_height_width_px
    model = info.model
    lines = {
        "file": f"{path} ({facts['bytes'] / 1e6:.1f} MB, sha256 {facts['sha256'][:16]})",
        "architecture": f"{info.architecture}, {info.parameters:,} parameters",
        "structure": f"widths {_list(model.widths)}, depths {_list(model.depths)}, neck depth {model.neck_depth}, "
        f"head width {model.head_width}, {model.bins} bins, {model.activation}",
        "classes": ", ".join(info.class_names),
        "input": f"1 x {height} x {width} (thermal), {_tone(info.thermal)}",
        "thresholds": ", ".join(f"{name} {info.postprocess.threshold_of(name):.2f}" for name in info.class_names)
        + f", NMS IoU {info.postprocess.nms_iou:.2f}"
        + _chosen_on(info.training.get("operating_point")),
        "trained on": ", ".join(f"{name} ({count} frames)" for name, count in info.training.get("data", {}).items())
        or "not stated",
        "began with": _short(info.training.get("init")) or "random weights",
        "taught by": _short(info.training.get("teacher")) or "labels alone",
        "scores": "; ".join(f"{data}: {_scores(figures)}" for data, figures in info.scores.items()) or "not stated",
    }
    if is_export:
        scaled = f", scaled by {description.calibration}" if description.calibration else ""
        lines["export"] = f"{description.precision}{scaled}, of the model with sha256 {description.model_sha256[:16]}"
    for name, text in lines.items():
        print(f"{name:<13} {text}")
    return 0


def _list(values: tuple[int, ...]) -> str:
    return "-".join(map(str, values))


def _short(identity: Any) -> str:
    """A file's name and the beginning of its hash, out of `NAME sha256:HASH`; "" for none."""
    return " ".join(
        word[: len("sha256:") + 16] if word.startswith("sha256:") else word for word in str(identity or "").split()
    )


def _chosen_on(point: Any) -> str:
    """What the thresholds were chosen on, as `cgdet thresholds` writes it; "" where nothing is stated."""
    try:
        return f" (best F1 on {point['data']}, {point['frames']} frames)"
    except (TypeError, KeyError):
        return ""


def _tone(config: Any) -> str:
    if config.raw_range is not None:
        return f"counts {config.raw_range[0]:g} to {config.raw_range[1]:g} become 0 to 1"
    text = f"percentiles {config.low_percentile:g} to {config.high_percentile:g} become 0 to 1"
    if config.hot_limit_spans is not None:
        text += f", at most {config.hot_limit_spans:g} x the scene's span above it"
    return text


def _scores(figures: Any) -> str:
    """mAP50 and mAP of a data set, as tools/release_model.py writes them; anything else as it is."""
    try:
        return f"mAP50 {figures['map50']:.3f}, mAP {figures['map']:.3f} ({figures['device']}, {figures['precision']})"
    except (TypeError, KeyError, ValueError):
        return json.dumps(figures)
