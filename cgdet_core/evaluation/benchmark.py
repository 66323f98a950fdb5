"""How long a model takes, stage by stage, warm, and on what; several take turns, so that other load meets all."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tqdm import tqdm

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic.street import SyntheticStreet
from cgdet_core.runtime.backends.base import cpu_facts, usable_cores
from cgdet_core.types import ImageArray

STREETS = 4  # of which the frames are, so that no two in a row are alike
WARM_UP_ROUNDS = 10


def street_frames(height_width_px: tuple[int, int]) -> list[ImageArray]:
    """Raw frames, uint16 [H, W], of synthetic streets; 512x640 where a street cannot be so small or large."""
    size = height_width_px if all(64 <= side <= 2048 for side in height_width_px) else (512, 640)
    streets = [SyntheticStreet(seed, SyntheticConfig(height_width_px=size)) for seed in range(1, STREETS + 1)]
    return [street.sample(index).frame.image for index in (0, 37) for street in streets]


def time_in_turns(
    models: Sequence[Any], inputs: Sequence[tuple[Any, ...]], rounds: int
) -> list[dict[str, list[float]]]:
    """`rounds` times an input through each model's `predict`, in an order that turns: of each, stage -> time of every
    frame in ms. The rounds to warm up are not kept."""
    times: list[dict[str, list[float]]] = [{} for _ in models]
    for number in tqdm(range(-WARM_UP_ROUNDS, rounds), "timing", unit="frame", disable=None):
        for place in range(len(models)):
            which = (place + number) % len(models)
            models[which].predict(*inputs[number % len(inputs)])
            for stage, latency_ms in models[which].last_stage_ms.items() if number >= 0 else ():
                times[which].setdefault(stage, []).append(latency_ms)
    return times


def machine_facts(device: str = "cpu") -> dict[str, Any]:
    """cpu: model name; cores: those that this process may use; versions of python and the installed libraries; gpu."""
    cpu = cpu_facts()
    # x86 gives a model name; on ARM boards "Model" names the board, if anything
    name = cpu.get("model name") or cpu.get("Model") or platform.machine()
    facts: dict[str, Any] = {"cpu": name, "cores": usable_cores(), "python": platform.python_version()}
    for name in ("torch", "openvino", "onnxruntime"):
        with suppress(PackageNotFoundError):
            facts[name] = version(name)
    if device.startswith("cuda"):
        import torch

        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts
