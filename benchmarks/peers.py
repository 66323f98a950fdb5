"""cgdet from raw frame to detections beside another detector's network alone, in turns, in one run on one machine.

    python benchmarks/peers.py PEER.xml [--rounds 200] [--model M] [--backend B] [--precision P] [--threads N]

The peer is what OpenVINO reads, a network of three channels and a fixed input, exported by its own tools:

    python3 -m venv VENV && VENV/bin/pip install ultralytics openvino
    VENV/bin/yolo export model=yolov8n.yaml format=openvino imgsz=512,640    # random weights: that changes no time

Each round takes one frame of a synthetic street: cgdet from the 16-bit frame to Detections, by the predictor's own
clock; the peer's network on a tensor that is made before its clock starts. The order turns; a pause before each lets
the threads of the one before go to sleep.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.config import ThermalConfig
from cgdet_core.evaluation.benchmark import street_frames, time_in_turns
from cgdet_core.runtime.backends.openvino import compile_network, executed_precision, read_network
from cgdet_core.runtime.predictor import Predictor, percentiles
from cgdet_core.thermal import normalise
from cgdet_core.types import Detections, ImageArray

PAUSE_S = 0.01


class RestedPredictor(Predictor):
    def predict(self, *inputs: Any, **settings: Any) -> Detections:
        time.sleep(PAUSE_S)
        return super().predict(*inputs, **settings)


class Peer:
    def __init__(self, path: Path, threads: int) -> None:
        compiled = compile_network(read_network(path), "bf16", threads)
        self.precision, self.input_shape = executed_precision(compiled), tuple(compiled.input(0).shape)
        self._request = compiled.create_infer_request()

    def predict(self, frame: ImageArray) -> None:
        picture = np.repeat(normalise(frame, ThermalConfig())[None, None], 3, axis=1)
        time.sleep(PAUSE_S)
        start_s = time.perf_counter()
        self._request.infer([picture], share_inputs=True, share_outputs=True)
        self.last_stage_ms = {"total": (time.perf_counter() - start_s) * 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path, metavar="PEER.xml")
    parser.add_argument("--model", type=Path, help="default: the shipped one, as it runs best here")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="of each (default: every library's choice)")
    parser.add_argument("--rounds", type=int, default=200, metavar="N")
    arguments = parser.parse_args()
    ours = RestedPredictor(arguments.model, "cpu", arguments.precision, arguments.threads, arguments.backend)
    peer = Peer(arguments.peer, arguments.threads)
    frames = street_frames(peer.input_shape[2:])
    times = time_in_turns([ours, peer], [(frame,) for frame in frames], arguments.rounds)
    executed = f"cgdet in {ours.backend} {ours.precision}", f"{arguments.peer.stem} in openvino {peer.precision}"
    for name, measured in zip(executed, times, strict=True):
        for stage, values_ms in measured.items():
            ranks = percentiles(values_ms)
            print(f"{name}, {stage}: " + ", ".join(f"{rank} {value_ms:.2f} ms" for rank, value_ms in ranks.items()))
    print(f"cgdet over it: {np.median(np.divide(*(of['total'] for of in times))):.2f} (median of the rounds)")


if __name__ == "__main__":
    main()
