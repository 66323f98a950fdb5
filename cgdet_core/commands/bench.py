"""cgdet bench: how long a frame takes, stage by stage."""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING, Any

from cgdet_core.commands import common
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.runtime.predictor import LoadedModel

_FEWEST_FRAMES = 100  # a 95th percentile of fewer says little


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "bench",
        "time each stage from raw frame to answer; it needs a model, or takes the shipped one",
        "cgdet bench --model models/detector.onnx --precision fp32 bf16 --json bench.json\n\n"
        "The frames are synthetic, 16-bit, of the model's input size; of a landmark model drawn faces.\n"
        "Several backends or precisions take turns, frame by frame, so that other load meets all of them alike.",
    )
    common.add_model_arguments(parser, several=True)
    parser.add_argument("--frames", type=int, default=200, metavar="N", help="timed frames of each (default: 200)")
    common.add_json_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.frames < _FEWEST_FRAMES:
        raise InputError(f"--frames {arguments.frames}: give at least {_FEWEST_FRAMES}, for the percentiles")
    from cgdet_core.evaluation.benchmark import machine_facts, time_in_turns

    models: list[LoadedModel] = []
    for backend, precision in itertools.product(arguments.backend, arguments.precision):
        arguments.backend, arguments.precision = backend, precision
        task, loaded = common.load_models(arguments, arguments.model)
        models += loaded
    inputs = task.timed_inputs(models[0].info)
    times = time_in_turns(models, inputs, arguments.frames)
    rows = [_figures(model, each) for model, each in zip(models, times, strict=True)]
    measured = {
        "model": str(models[0].model_path),
        "frames": arguments.frames,
        "threads": arguments.threads,
        "machine": machine_facts(models[0].device),
    }
    document = {**rows[0], **measured} if len(rows) == 1 else {"runs": rows, **measured}
    common.put_out(document, arguments.json, _text(rows, measured))
    return 0


def _figures(model: LoadedModel, stage_ms: dict[str, list[float]]) -> dict[str, Any]:
    """The keys that docs and tools rely on; the precision is the one that was executed."""
    from cgdet_core.runtime.predictor import percentiles

    return {
        "backend": model.backend,
        "device": model.device,
        "precision": model.precision,
        "input": list(model.info.input_height_width_px),
        "stages": {stage: percentiles(values) for stage, values in stage_ms.items()},
    }


def _text(rows: list[dict[str, Any]], measured: dict[str, Any]) -> str:
    machine = measured["machine"]
    where = machine.get("gpu", f"{machine['cpu']}, {machine['cores']} cores")
    lines: list[tuple[object, ...]] = [("", *(f"{stage} p50 p95 p99" for stage in rows[0]["stages"]))]
    for row in rows:
        times = (" ".join(f"{value:7.2f}" for value in ranks.values()) for ranks in row["stages"].values())
        lines.append((f"{row['backend']} {row['device']} {row['precision']}", *times))
    return f"{measured['model']}: {measured['frames']} frames on {where}, ms\n{common.table(lines)}"
