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
        "show a model's structure, classes, training data and scores; it needs a model file, or takes the shipped one",
        "cgdet info models/detector.safetensors",
    )
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="model file (default: the shipped one)")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.config import PostprocessConfig
    from cgdet_core.files import sha256_of
    from cgdet_core.runtime.backends.base import is_installed
    from cgdet_core.runtime.model_file import EXPORT_SUFFIX, default_model_path, load_model, read_description

    path = arguments.model or default_model_path()
    description = read_description(path)
    info, is_export = description.info, path.suffix == EXPORT_SUFFIX
    if not is_export and is_installed("torch"):
        load_model(path)  # a file that says well of itself and cannot be loaded is no model
    facts: dict[str, Any] = {"file": str(path), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
    if is_export:
        facts["export"] = {name: getattr(description, name) for name in ("model_sha256", "precision", "calibration")}
    facts |= info.model_dump(mode="json")
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return 0
    height, width = info.input_height_width_px
    post = info.postprocess
    if isinstance(post, PostprocessConfig):
        thresholds = ", ".join(f"{name} {post.threshold_of(name):.2f}" for name in info.class_names)
        thresholds += f", NMS IoU {post.nms_iou:.2f}"
    else:
        thresholds = f"box x {post.box_scale:.2f}, a face is lost below a mean confidence of {post.lost_below:.2f}"
        thresholds += f", spread x {post.spread_factor:.2f}"
    given = info.training.get("data")
    data = given if isinstance(given, dict) else {}
    scores = json.loads(json.dumps(info.scores), parse_float=lambda digits: round(float(digits), 3))
    lines = {
        "file": f"{path} ({facts['bytes'] / 1e6:.1f} MB, sha256 {facts['sha256'][:16]})",
        "architecture": f"{info.architecture}, {info.parameters:,} parameters, input {height} x {width}",
        "classes": ", ".join(info.class_names),
        "thresholds": thresholds,
        "trained on": ", ".join(f"{name} ({count} frames)" for name, count in data.items()) or "not stated",
        "began with": info.training.get("init") or "random weights",
        "taught by": info.training.get("teacher") or "labels alone",
        **{f"scores on {data}": json.dumps(figures).replace('"', "").strip("{}") for data, figures in scores.items()},
    }
    if is_export:
        scaled = f", scaled by {description.calibration}" if description.calibration else ""
        lines["export"] = f"{description.precision}{scaled}, of the model with sha256 {description.model_sha256[:16]}"
    for name, text in lines.items():
        print(f"{name:<13} {text}")
    return 0
