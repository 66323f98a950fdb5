"""Network designs side by side: parameters, arithmetic, milliseconds, and the accuracy of runs.

    python benchmarks/designs.py [--designs benchmarks/designs.yaml] [--runs runs/designs] [--rounds 30]

Times one frame of 512x640, batch 1, fused batch norms, network alone, the designs and backends taking turns in every
round, so that other load on the machine meets all of them; medians. Accuracy is read from runs/NAME_s*/held_out.json,
written by `cgdet train benchmarks/designs_recipe.yaml --out runs/designs/NAME_s0 train.seed=0 model.KEY=VALUE ...`.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino
import torch
import yaml
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cgdet_core.config import ModelConfig
from cgdet_core.model.blocks import fuse
from cgdet_core.tasks.detection.head import Detector

HEIGHT_WIDTH_PX = (512, 640)
BACKENDS = ("torch fp32", "torch bf16", "OpenVINO f32", "OpenVINO bf16")


class _Plain(nn.Module):
    """The detector with a tuple for its output, as OpenVINO's converter takes it."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        output = self.detector(images)
        return output.class_logits, output.box_logits


def run_of(detector: Detector, backend: str) -> Callable[[], Any]:
    """One frame through the network."""
    library, precision = backend.split()
    images = torch.rand(1, 1, *HEIGHT_WIDTH_PX)
    if library == "OpenVINO":
        with torch.no_grad():
            model = openvino.convert_model(_Plain(detector), example_input=images, input=[1, 1, *HEIGHT_WIDTH_PX])
        settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
        return lambda: request.infer([images.numpy()])
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    network = copy.deepcopy(detector).to(dtype).to(memory_format=torch.channels_last)
    return torch.inference_mode()(lambda: network(images.to(dtype)))


def accuracy(runs: Path, name: str) -> list[str]:
    """mAP50, mAP and duplicates of every seed's held-out blocks."""
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(runs.glob(f"{name}_s*/held_out.json"))]
    rows = ([d["map50"], d["map"], d["duplicates_per_object"]["all"]] for d in documents)
    return [" ".join(f"{value:.3f}" for value in values) for values in zip(*rows, strict=True)] or ["-"] * 3


def main() -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--designs", type=Path, default=here / "designs.yaml")
    parser.add_argument("--runs", type=Path, default=here.parent / "runs" / "designs")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    cells: dict[str, list[str]] = {}
    runs: dict[tuple[str, str], Callable[[], Any]] = {}
    for name, settings in yaml.safe_load(arguments.designs.read_text(encoding="utf-8")).items():
        detector = Detector(ModelConfig.model_validate(settings)).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            detector(torch.zeros(1, 1, *HEIGHT_WIDTH_PX))
        cells[name] = [f"{detector.parameter_count():,}", f"{counter.get_total_flops() / 1e9:.1f}"]
        fused = fuse(detector)
        runs |= {(name, backend): run_of(fused, backend) for backend in BACKENDS}
    times_ms: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for number in range(-2, arguments.rounds):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            times_ms[key] += [(time.perf_counter() - start) * 1e3] if number >= 0 else []
    heads = ["design", "parameters", "GFLOP", *(f"{name} ms" for name in BACKENDS), "mAP50", "mAP", "duplicates/object"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for name, row in cells.items():
        timed = [f"{statistics.median(times_ms[name, backend]):.1f}" for backend in BACKENDS]
        print("| " + " | ".join([name, *row, *timed, *accuracy(arguments.runs, name)]) + " |")


if __name__ == "__main__":
    main()
