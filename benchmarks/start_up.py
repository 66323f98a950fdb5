"""How long a process takes to its first detections, and its memory, by backend; cache cold and warm.

    python benchmarks/start_up.py --repeats 3 --node [--only "openvino bf16"] [--model M]

Every figure is of a process of its own, so that all of them take minutes: `--only` names one. `node`: from starting
`cgdet-detector` to its line "active"; needs ROS.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from cgdet_core.runtime.model_file import default_model_path

CODE = """
import json, sys, time
start = time.perf_counter()
from pathlib import Path
import numpy as np
from cgdet_core.runtime.predictor import Predictor
imported = time.perf_counter()
model, backend, precision = sys.argv[1:4]
predictor = Predictor(Path(model), "cpu", precision, threads=1, backend=backend)
loaded = time.perf_counter()
predictor.warm_up()
ready = time.perf_counter()
memory = dict(line.split(":", 1) for line in open("/proc/self/status"))
megabytes = lambda name: int(memory[name].split()[0]) / 1024
print(json.dumps({"import_s": imported - start, "load_s": loaded - imported, "warm_up_s": ready - loaded,
    "rss_mb": megabytes("VmRSS"), "peak_mb": megabytes("VmHWM"), "executed": predictor.precision}))
"""
RUNS = [("torch", "fp32"), ("torch", "bf16"), ("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]


def of_process(model: Path, backend: str, precision: str, cache: str) -> dict[str, float]:
    environment = os.environ | {"XDG_CACHE_HOME": cache}
    command = [sys.executable, "-c", CODE, str(model), backend, precision]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def of_node(model: Path, backend: str, precision: str, cache: str, timeout_s: float = 60.0) -> float:
    """Seconds from the start of the node's process to its line "active"."""
    settings = {"model": model, "backend": backend, "precision": precision, "device": "cpu", "threads": 1}
    words = [word for name, value in settings.items() for word in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "cgdet_ros.node.detector_node", "--ros-args", *words]
    start = time.perf_counter()
    environment = os.environ | {"XDG_CACHE_HOME": cache, "ROS_DOMAIN_ID": "77"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        # a node that says nothing more would be waited for for ever
        patience = threading.Timer(timeout_s, process.kill)
        patience.start()
        try:
            for line in process.stderr:
                if "active: detecting on" in line:
                    return time.perf_counter() - start
        finally:
            process.terminate()
            process.wait()
            patience.cancel()
    raise SystemExit("the node did not become active")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--node", action="store_true", help="start the node too")
    parser.add_argument("--only", choices=[" ".join(run) for run in RUNS], help="this backend in this precision")
    parser.add_argument("--model", type=Path, default=default_model_path(), help="with its .safetensors beside it")
    arguments = parser.parse_args()
    print("| backend | cache | import s | load s | warm-up s | RSS MB | peak MB | node: launch to active s |")
    print("|---|---|---|---|---|---|---|---|")
    for backend, precision in [tuple(arguments.only.split())] if arguments.only else RUNS:
        model = arguments.model.with_suffix(".safetensors" if backend == "torch" else ".onnx").resolve()
        for kind in ("cold", "warm") if backend == "openvino" else ("-",):
            rows, active = [], []
            for _ in range(arguments.repeats):
                with tempfile.TemporaryDirectory() as folder:
                    run = model, backend, precision, folder
                    if kind == "warm":
                        of_process(*run)
                    rows.append(of_process(*run))
                    if kind == "cold":
                        shutil.rmtree(Path(folder) / "cgdet", ignore_errors=True)
                    active.append(of_node(*run) if arguments.node else 0.0)
            keys = ("import_s", "load_s", "warm_up_s", "rss_mb", "peak_mb")
            cells = [f"{statistics.median(row[key] for row in rows):.{0 if 'mb' in key else 2}f}" for key in keys]
            node = f"{statistics.median(active):.1f}" if any(active) else "-"
            print(f"| {backend} {precision} | {kind} | " + " | ".join([*cells, node]) + " |", flush=True)


if __name__ == "__main__":
    main()
