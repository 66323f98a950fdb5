"""How long a training step takes: forward, loss, backward, optimiser; images a second without the data.

    python benchmarks/training_step.py [--threads 1] [--precision bf16] [--crop 320] [--batch 16] [--compile]

Random crops with three boxes each; median of ten steps after two. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import torch

from cgdet_core.config import LossConfig, ModelConfig
from cgdet_core.tasks.detection.head import Detector
from cgdet_core.tasks.detection.loss import detection_loss
from cgdet_core.tasks.detection.targets import DetectionTargets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--crop", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    detector = Detector(ModelConfig()).to(memory_format=torch.channels_last).train()
    network = torch.compile(detector) if arguments.compile else detector
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-4)
    images = torch.rand(arguments.batch, 1, arguments.crop, arguments.crop).to(memory_format=torch.channels_last)
    boxes = torch.tensor([[20.0, 20, 60, 90], [100, 100, 130, 180], [200, 50, 260, 90]]).repeat(arguments.batch, 1, 1)
    present = torch.ones(arguments.batch, 3, dtype=torch.bool)
    targets = DetectionTargets(boxes, torch.tensor([[0, 1, 2]] * arguments.batch), present, ~present, present)
    stages_ms: list[list[float]] = []
    for _ in range(12):
        moments = [time.perf_counter()]
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bf16"):
            output = network(images)
        moments.append(time.perf_counter())
        loss = detection_loss(output, targets, LossConfig()).total
        moments.append(time.perf_counter())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        moments.append(time.perf_counter())
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
        moments.append(time.perf_counter())
        stages_ms.append([(end - start) * 1e3 for start, end in itertools.pairwise(moments)])
    steps_ms = stages_ms[2:]
    for name, values in zip(("forward", "loss", "backward", "optimiser"), zip(*steps_ms, strict=True), strict=True):
        print(f"{name:10s} {statistics.median(values):6.1f} ms")
    total = statistics.median(sum(values) for values in steps_ms)
    print(f"{'total':10s} {total:6.1f} ms: {arguments.batch / total * 1e3:.1f} images/s")


if __name__ == "__main__":
    main()
