"""A run of a tiny network over four small frames, that takes a second: to be watched, ended early and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cgdet_core import thermal
from cgdet_core.config import AugmentConfig, ModelConfig, Recipe, ThermalConfig, TrainConfig
from cgdet_core.data.feed.sources import CachedFrame, Source
from cgdet_core.errors import CgdetError, InputError
from cgdet_core.training.first_look import SAMPLES
from cgdet_core.training.trainer import train
from cgdet_core.types import GroundTruth

torch.set_num_threads(1)

RECIPE = Recipe(
    model=ModelConfig(
        widths=(8, 8, 8, 8, 8), depths=(1, 0, 0, 0), neck_depth=0, head_width=8, bins=4, input_height_width_px=(32, 64)
    ),
    # one frame to a picture: the frames are counted
    augment=AugmentConfig(crop_px=32, mosaic_probability=0),
    train=TrainConfig(
        images=54,
        batch_size=2,
        workers=0,
        device="cpu",
        warmup_images=10,
        checkpoint_seconds=1000,
        seed=1,
        weight_decay=2.0,
        gradient_clip=2.0,
    ),
)


SAVES_EACH_BATCH = {"checkpoint_seconds": 1e-6}


def changed(**settings: Any) -> Recipe:
    return RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update=settings)})


class ActingFrames(tuple):
    """Frames of a source; `action` is called when draw `at` is made, those of the sheet of samples included."""

    at: int
    action: Callable[[], object]

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        self.at -= 1
        if self.at == -1:
            self.action()
        return super().__getitem__(index)


def sources() -> list[Source]:
    frames = []
    for number in range(4):
        rng = np.random.default_rng(number)
        grey = rng.integers(80, 120, (48, 64), dtype=np.uint8)
        left, top = rng.integers(0, 40), rng.integers(0, 20)
        grey[top : top + 24, left : left + 16] += 100
        truth = GroundTruth(np.array([[left, top, left + 16, top + 24]]), np.array([number % 3]), np.zeros(1, bool))
        frames.append(CachedFrame(grey, thermal.tone_limits(grey, ThermalConfig()), truth))
    return [Source("squares", 1.0, tuple(frames), polarity_free=False)]


def acting_sources(batch: int, action: Callable[[], object]) -> list[Source]:
    """`action` is called when the first crop of this batch, counted from 0, is drawn."""
    (source,) = sources()
    frames = ActingFrames(source.frames)
    frames.at, frames.action = SAMPLES + 2 * batch, action
    return [replace(source, frames=frames)]


def interrupt() -> None:
    raise KeyboardInterrupt


def refusal(*arguments: Any, kind: type[CgdetError] = InputError, **more: Any) -> str:
    """The one line with which `train` refuses."""
    with pytest.raises(kind) as caught:
        train(*arguments, progress=False, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def log_of(out: Path) -> list[dict[str, Any]]:
    """The log without what differs from run to run: how fast it was."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    timed = ("images_per_second", "data_wait_share")
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]


def check_same_run(out: Path, reference: Path) -> None:
    """Both runs learned the same, bit for bit; `reference` was not validated."""
    for name in ("checkpoint.safetensors", "model.safetensors"):
        whole, other = load_file(reference / name), load_file(out / name)
        assert whole.keys() == other.keys()
        for key, tensor in whole.items():
            assert torch.equal(tensor, other[key]), key
    steps = [line for line in log_of(out) if "loss" in line]
    assert steps == log_of(reference)
