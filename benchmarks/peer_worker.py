"""YOLOv8n, timed on request: the other end of benchmarks/peers.py, run by a Python that is not the project's.

That environment holds ultralytics (AGPL-3.0), openvino and torch; nothing of cgdet is imported here, and nothing of
this environment there. A line of JSON in, a line out: {"frames": F.npy, "threads": N, "precision": P} -> what is
loaded; {"do": "network" or "predict", "frame": 3} -> {"ms": ...}. The weights are random: that changes no time, except
that nothing is found, so that predict has no box to suppress, to its advantage.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from typing import Any


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer

    def answer(document: dict[str, Any]) -> None:
        answers.write(json.dumps(document) + "\n")
        answers.flush()

    setup = json.loads(sys.stdin.readline())
    import numpy as np
    import openvino
    import torch
    import ultralytics

    if setup["threads"]:
        torch.set_num_threads(setup["threads"])
    frames = np.load(setup["frames"])
    height, width = frames.shape[1:3]
    yolo = ultralytics.YOLO("yolov8n.yaml", task="detect")
    network = yolo.model.eval().float().fuse()
    pictures = [np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32) / 255 for frame in frames]
    exported = copy.deepcopy(network)
    for module in exported.modules():
        if hasattr(module, "export"):  # the head then gives its boxes and scores as one tensor
            module.export, module.format = True, "openvino"
    picture = torch.from_numpy(pictures[0])
    with torch.no_grad():
        exported(picture)  # its grid of anchors is made in the first call, which is not to be traced
        converted = openvino.convert_model(exported, example_input=picture)
    converted.reshape([1, 3, height, width])
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": setup["precision"]}
    if setup["threads"]:
        settings["INFERENCE_NUM_THREADS"] = setup["threads"]
    compiled = openvino.Core().compile_model(converted, "CPU", settings)
    request = compiled.create_infer_request()
    actions = {
        "network": lambda frame: request.infer([pictures[frame]], share_inputs=True, share_outputs=True),
        "predict": lambda frame: yolo.predict(frames[frame], imgsz=(height, width), device="cpu", verbose=False),
    }
    convolutions = [
        node.get_rt_info()["runtimePrecision"].astype(str)
        for node in compiled.get_runtime_model().get_ordered_ops()
        if node.get_rt_info()["layerType"].astype(str) == "Convolution"
    ]
    answer(
        {
            "ultralytics": ultralytics.__version__,
            "openvino": openvino.__version__,
            "convolutions_in": max(set(convolutions), key=convolutions.count),
        }
    )
    for line in sys.stdin:
        wanted = json.loads(line)
        action = actions[wanted["do"]]
        start_s = time.perf_counter()
        action(wanted["frame"])
        answer({"ms": (time.perf_counter() - start_s) * 1e3})


if __name__ == "__main__":
    main()
