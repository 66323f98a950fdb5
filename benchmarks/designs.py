"""Network designs side by side: parameters, arithmetic, milliseconds, and the accuracy of runs.

    python benchmarks/designs.py [--designs benchmarks/designs.yaml] [--runs runs/designs] [--rounds 30] [--json F]

Times one frame of 512x640, batch 1, fused batch norms, network alone, the designs and backends taking
turns in every round, so that other load on the machine meets all of them; medians. OpenVINO is timed
where it is installed (pip install openvino). Accuracy is read from runs/NAME_s*/held_out.json, written by
`cgdet train benchmarks/designs_recipe.yaml --out runs/designs/NAME_s0 train.seed=0 model.KEY=VALUE ...`.
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

import torch
import yaml
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cgdet_core.config import ModelConfig
from cgdet_core.model.detector import Detector
from cgdet_core.runtime.backends.libraries import is_installed
from cgdet_core.runtime.backends.openvino_backend import core as openvino_core
from cgdet_core.runtime.backends.openvino_backend import library
from cgdet_core.runtime.backends.torch_backend import fuse

HEIGHT_WIDTH_PX = (512, 640)


class _Plain(nn.Module):
    """The detector with a tuple for its output, as OpenVINO's converter takes it."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        output = self.detector(images)
        return output.class_logits, output.box_logits


def torch_runs(detector: Detector) -> dict[str, Callable[[], object]]:
    runs: dict[str, Callable[[], object]] = {}
    for name, dtype in (("torch fp32", torch.float32), ("torch bf16", torch.bfloat16)):
        network = copy.deepcopy(detector).to(dtype).to(memory_format=torch.channels_last)
        images = torch.rand(1, 1, *HEIGHT_WIDTH_PX, dtype=dtype)

        def run(network: Detector = network, images: Tensor = images) -> None:
            with torch.inference_mode():
                network(images)

        runs[name] = run
    return runs


def openvino_runs(detector: Detector) -> dict[str, Callable[[], object]]:
    if not is_installed("openvino"):
        return {}
    openvino, core = library(), openvino_core()
    images = torch.rand(1, 1, *HEIGHT_WIDTH_PX)
    with torch.no_grad():
        model = openvino.convert_model(_Plain(detector), example_input=images, input=[1, 1, *HEIGHT_WIDTH_PX])
    runs: dict[str, Callable[[], object]] = {}
    for name, precision in (("OpenVINO fp32", "f32"), ("OpenVINO bf16", "bf16")):
        settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        request = core.compile_model(model, "CPU", settings).create_infer_request()

        def run(request: Any = request) -> None:
            request.infer([images.numpy()])

        runs[name] = run
    return runs


def measure(designs: dict[str, dict[str, Any]], rounds: int) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    runs: dict[tuple[str, str], Callable[[], object]] = {}
    for name, settings in designs.items():
        detector = Detector(ModelConfig.model_validate(settings)).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            detector(torch.zeros(1, 1, *HEIGHT_WIDTH_PX))
        rows[name] = {"params": detector.parameter_count(), "gflop": counter.get_total_flops() / 1e9, "ms": {}}
        fused = fuse(detector)
        runs |= {(name, backend): run for backend, run in (torch_runs(fused) | openvino_runs(fused)).items()}
    for run in runs.values():
        run()
        run()
    times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            times[key].append((time.perf_counter() - start) * 1e3)
    for (name, backend), values in times.items():
        rows[name]["ms"][backend] = statistics.median(values)
    return rows


def accuracy(runs: Path, name: str) -> dict[str, list[float]]:
    """Figures of every seed's held-out blocks."""
    figures: dict[str, list[float]] = {"map50": [], "map": [], "duplicates": []}
    for path in sorted(runs.glob(f"{name}_s*/held_out.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        figures["map50"].append(document["map50"])
        figures["map"].append(document["map"])
        figures["duplicates"].append(document["duplicates_per_object"]["all"])
    return figures


def table(rows: dict[str, dict[str, Any]]) -> str:
    backends = list(next(iter(rows.values()))["ms"])
    heads = ["design", "parameters", "GFLOP", *(f"{name} ms" for name in backends), "mAP50", "mAP", "duplicates/object"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, row in rows.items():
        cells = [name, f"{row['params']:,}", f"{row['gflop']:.1f}"]
        cells += [f"{row['ms'][backend]:.1f}" for backend in backends]
        cells += [" ".join(f"{value:.3f}" for value in values) or "-" for values in row["accuracy"].values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--designs", type=Path, default=here / "designs.yaml")
    parser.add_argument("--runs", type=Path, default=here.parent / "runs" / "designs")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    designs = yaml.safe_load(arguments.designs.read_text(encoding="utf-8"))
    rows = measure(designs, arguments.rounds)
    for name, row in rows.items():
        row["accuracy"] = accuracy(arguments.runs, name)
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
