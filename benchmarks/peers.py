"""cgdet from raw frame to detections beside YOLOv8n, in turns, in one run on one machine.

    python benchmarks/peers.py --peer-python VENV/bin/python [--rounds 200] [--model M] [--backend B] [--precision P]
        [--threads N]

The peers live in an environment of their own, which the project never imports and never installs:

    python3 -m venv VENV && VENV/bin/pip install ultralytics openvino

Each round takes one 640x512 frame of a synthetic street: cgdet from the 16-bit frame to Detections, by the predictor's
own clock; YOLOv8n's network alone in OpenVINO in `--peer-precision`, on a tensor made beforehand; ultralytics' predict
end to end on the frame in 8 bits and three channels. The order turns; a pause before each lets the threads of the one
before go to sleep. Ratios are of medians, and with them the median of the ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.config import ThermalConfig
from cgdet_core.evaluation.benchmark import street_frames
from cgdet_core.runtime.model_file import default_model_path
from cgdet_core.runtime.predictor import Predictor, percentiles
from cgdet_core.thermal import normalise

WARM_UP_ROUNDS = 15
PAUSE_S = 0.01
OURS = "cgdet: raw frame to Detections"
NETWORK = "YOLOv8n: network alone, OpenVINO"
PREDICT = "YOLOv8n: ultralytics predict"
WANTED = {NETWORK: 0.8, PREDICT: 0.4}


class Peer:
    """The worker in its own environment."""

    def __init__(self, python: Path, setup: dict[str, Any]) -> None:
        words = [str(python), str(Path(__file__).with_name("peer_worker.py"))]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self.ask(setup)

    def ask(self, document: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(document) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the peers' process ended: see its words above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--peer-precision", default="bf16", choices=("bf16", "f32"))
    parser.add_argument("--model", type=Path, default=default_model_path())
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="of each (default: every library's choice)")
    parser.add_argument("--rounds", type=int, default=200, metavar="N")
    arguments = parser.parse_args()
    predictor = Predictor(arguments.model, "cpu", arguments.precision, arguments.threads, arguments.backend)
    frames = street_frames((512, 640))
    eight_bit = np.stack([(normalise(frame, ThermalConfig()) * 255).astype(np.uint8) for frame in frames])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frames.npy"
        np.save(file, np.repeat(eight_bit[..., None], 3, axis=3))
        setup = {"frames": str(file), "threads": arguments.threads, "precision": arguments.peer_precision}
        peer = Peer(arguments.peer_python, setup)

    stages: dict[str, list[float]] = {}

    def ours(frame: int) -> float:
        predictor.predict(frames[frame])
        for stage, value_ms in predictor.last_stage_ms.items():
            stages.setdefault(stage, []).append(value_ms)
        return predictor.last_stage_ms["total"]

    turns = {
        OURS: ours,
        NETWORK: lambda frame: peer.ask({"do": "network", "frame": frame})["ms"],
        PREDICT: lambda frame: peer.ask({"do": "predict", "frame": frame})["ms"],
    }
    spent: dict[str, list[float]] = {name: [] for name in turns}
    names = list(turns)
    for number in range(-WARM_UP_ROUNDS, arguments.rounds):
        for place in range(len(names)):
            name = names[(place + number) % len(names)]
            time.sleep(PAUSE_S)
            value_ms = turns[name](number % len(frames))
            if number >= 0:
                spent[name].append(value_ms)
    figures = {name: percentiles(values) for name, values in spent.items()}
    own_stages = {stage: percentiles(values[WARM_UP_ROUNDS:]) for stage, values in stages.items()}
    print(f"cgdet in {predictor.backend} {predictor.precision}; {peer.facts}; ms: p50 p95 p99")
    for name, values in figures.items():
        print(f"  {name:<34}" + "".join(f"{value:9.2f}" for value in values.values()))
    print("  of cgdet: " + ", ".join(f"{stage} {values['p50']:.2f}" for stage, values in own_stages.items()))
    for name, wanted in WANTED.items():
        of_medians = figures[OURS]["p50"] / figures[name]["p50"]
        of_rounds = np.median(np.array(spent[OURS]) / spent[name])
        print(f"  cgdet over {name:<32}{of_medians:9.2f}, {of_rounds:.2f} within a round (at most {wanted} wanted)")


if __name__ == "__main__":
    main()
