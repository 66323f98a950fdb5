"""How long a teacher looks at a batch, beside the training step that it adds to.

    python benchmarks/teacher_look.py path=yolox_nano.safetensors [kind=... ...] [--threads 1] [--crop 320] [--batch 16]

key=value are settings of the teacher. Random crops with three boxes each; the baseline's step (forward, loss,
backward in bf16) and the teacher's look and `seen_scores` in fp32 and bf16 take turns; medians, and ratios to the step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from cgdet_core.config import LossConfig, ModelConfig, TeacherConfig, TermConfig, settings_from_words
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.distill.taps import regions_of
from cgdet_core.distill.teachers import load_teacher
from cgdet_core.distill.teachers.base import seen_scores
from cgdet_core.model.detector import Detector
from cgdet_core.tasks.detection.loss import detection_loss
from cgdet_core.types import CLASS_NAMES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="+", metavar="key=value")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--crop", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device, count = arguments.device, arguments.batch
    detector = Detector(ModelConfig()).to(device, memory_format=torch.channels_last).train()
    images = torch.rand(count, 1, arguments.crop, arguments.crop).to(memory_format=torch.channels_last)
    boxes = torch.tensor([[20.0, 20, 60, 90], [100, 100, 130, 180], [200, 50, 260, 90]]).repeat(count, 1, 1)
    present = torch.ones(count, 3, dtype=torch.bool)
    batch = TrainingBatch(images, boxes, torch.tensor([[0, 1, 2]] * count), present, ~present, present).to(device)
    rgb = torch.randint(0, 256, (count, 3, arguments.crop, arguments.crop), dtype=torch.uint8).to(device)
    regions = regions_of(batch, TermConfig())
    config = settings_from_words(TeacherConfig, arguments.settings, "teacher_look.py")

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            output = detector(batch.images)
        detection_loss(output, batch, LossConfig()).total.backward()
        detector.zero_grad(set_to_none=True)

    def look_in(dtype: torch.dtype) -> Callable[[], None]:
        teacher = load_teacher(config, CLASS_NAMES, Path()).to(device, dtype)
        return lambda: (seen_scores(teacher.look(rgb), regions), None)[1]

    stages = {"step": step, "look fp32": look_in(torch.float32), "look bf16": look_in(torch.bfloat16)}
    times_ms: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(arguments.rounds + 2):
        for name, stage in stages.items():
            start = time.perf_counter()
            stage()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times_ms[name].append((time.perf_counter() - start) * 1e3)
    baseline = statistics.median(times_ms["step"][2:])
    for name, values in times_ms.items():
        median = statistics.median(values[2:])
        print(f"{name:10s} {median:7.1f} ms, {median / baseline:.2f} of the step")


if __name__ == "__main__":
    main()
