"""How long the network takes in every backend that is installed, in turns, and beside it any other network.

    python benchmarks/backends.py --rounds 200 --threads 2 --int8 models/detector.int8.onnx \
        --peer yolov8n=yolov8n.onnx --data held_out.json

A peer is an .onnx or OpenVINO .xml file of one image in, timed in OpenVINO (fp32, and bf16 where the CPU has it)
and, if an .onnx, in ONNX Runtime; nothing of it is installed here. With --data it measures mAP there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from cgdet_core import thermal
from cgdet_core.data.sets.coco import load_coco
from cgdet_core.evaluation.benchmark import machine_facts, street_frames
from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.evaluation.offline import run_offline
from cgdet_core.runtime.backends.base import cpu_precision, is_installed
from cgdet_core.runtime.model_file import default_model_path
from cgdet_core.runtime.predictor import Predictor, percentiles
from cgdet_core.types import FloatArray

WARM_UP_ROUNDS = 10


def own(model: Path, int8: Path | None, threads: int) -> dict[str, Predictor]:
    """Every backend and precision that this machine executes."""
    wanted = [("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("onnxruntime", "fp32")]
    found = {}
    for backend, precision in wanted:
        if is_installed(backend) and (precision != "bf16" or cpu_precision() == "bf16"):
            path = model.with_suffix(".safetensors" if backend == "torch" else ".onnx")
            found[f"{backend} {precision}"] = Predictor(path, "cpu", precision, threads=threads, backend=backend)
    if int8 is not None and is_installed("openvino"):
        found["openvino int8"] = Predictor(int8, "cpu", "int8", threads=threads, backend="openvino")
    return found


def peers(name: str, path: Path, threads: int) -> dict[str, Callable[[], object]]:
    """The runs of another network on noise of its input's size."""
    from cgdet_core.runtime.backends.openvino import compile_network, read_network

    network = read_network(path)
    shape = [int(side) for side in network.input().shape]
    image = np.random.default_rng(0).random(shape, np.float32)
    runs: dict[str, Callable[[], object]] = {}
    for precision in ["fp32"] + (["bf16"] if cpu_precision() == "bf16" else []):
        request = compile_network(network, precision, threads).create_infer_request()
        runs[f"{name} {shape[2]}x{shape[3]}, openvino {precision}"] = lambda request=request: request.infer(
            [image], share_inputs=True, share_outputs=True
        )
    if path.suffix == ".onnx" and is_installed("onnxruntime"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: image}
        runs[f"{name} {shape[2]}x{shape[3]}, onnxruntime fp32"] = lambda: session.run(None, feed)
    return runs


def time_in_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every round; the order turns, so that no run always follows the same one."""
    names = list(runs)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-WARM_UP_ROUNDS, rounds):
        for place in range(len(names)):
            name = names[(place + number) % len(names)]
            start = perf_counter()
            runs[name]()
            if number >= 0:
                times[name].append((perf_counter() - start) * 1e3)
    return times


def canvas_of(predictor: Predictor) -> FloatArray:
    (frame,) = street_frames(predictor.info.input_height_width_px, 1)
    return thermal.letterbox(thermal.normalise(frame, predictor.thermal), predictor.info.input_height_width_px)[0]


def accuracy(predictor: Predictor, data: Path) -> dict[str, float]:
    samples = load_coco(data, predictor.info.class_names)
    frames = run_offline(predictor, samples, len(samples)).frames
    figures = evaluate(frames, predictor.info.class_names).to_json({})
    return {"map": figures["map"], "map50": figures["map50"]}


def file_bytes(predictor: Predictor) -> int:
    path = predictor.model_path
    weights = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    return sum(file.stat().st_size for file in [path, *weights])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=default_model_path(), help="with its .onnx beside it")
    parser.add_argument("--int8", type=Path, help="a calibrated export of it (cgdet export --calibration)")
    parser.add_argument("--peer", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--data", type=Path, help="COCO JSON of frames to measure mAP on")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    predictors = own(arguments.model, arguments.int8, arguments.threads)
    canvas = canvas_of(next(iter(predictors.values())))
    runs: dict[str, Callable[[], object]] = {
        name: (lambda network=predictor._network: network.infer(canvas)) for name, predictor in predictors.items()
    }
    for word in arguments.peer:
        name, _, file = word.partition("=")
        runs |= peers(name, Path(file), arguments.threads)
    rows: dict[str, dict[str, Any]] = {
        name: {"ms": percentiles(values)} for name, values in time_in_turns(runs, arguments.rounds).items()
    }
    print("| network | ms p50 | p95 | mAP | mAP50 | MB of file |\n|---|---|---|---|---|---|")
    for name, row in rows.items():
        predictor = predictors.get(name)
        row |= accuracy(predictor, arguments.data) if predictor and arguments.data else {}
        row |= {"bytes": file_bytes(predictor), "executed": predictor.precision} if predictor else {}
        cells = [f"{row['ms']['p50']:.1f}", f"{row['ms']['p95']:.1f}"]
        cells += [f"{row[key]:.4f}" if key in row else "-" for key in ("map", "map50")]
        cells += [f"{row['bytes'] / 1e6:.1f}" if "bytes" in row else "-"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    if arguments.json:
        facts = {"rounds": arguments.rounds, "threads": arguments.threads, "machine": machine_facts("cpu")}
        arguments.json.write_text(json.dumps({"rows": rows, **facts}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
