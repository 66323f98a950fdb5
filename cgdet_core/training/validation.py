"""The averaged weights against held-out frames while a run goes on; nothing of the run is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cgdet_core.config import TrainConfig
from cgdet_core.data.sets.coco import CocoSet
from cgdet_core.evenly import evenly_spread
from cgdet_core.training.stopping import StopRequest
from cgdet_core.types import Sample


class _Interrupted(Exception):
    pass


class Validation:
    """When and on which frames: a part of `held_out`, spread evenly, the same each time."""

    def __init__(self, held_out: CocoSet, config: TrainConfig) -> None:
        chosen = evenly_spread(len(held_out), config.validate_frames)
        self.frames = CocoSet(held_out.path, held_out.class_names, tuple(held_out.records[i] for i in chosen))
        every = config.validate_every_images
        self._every_images = -(-config.images // 10) if every is None else every
        self._config = config

    @property
    def wanted(self) -> bool:
        """Whether anything is to be measured, and there is anything to be found."""
        objects = any((~record.truth.ignore).any() for record in self.frames.records)
        return self._every_images > 0 and objects

    def due(self, batches_done: int) -> bool:
        """Whether this batch was the one that completed another `validate_every_images`, or the run."""
        size, images = self._config.batch_size, self._config.images
        if not batches_done:
            return False
        complete = batches_done * size // self._every_images > (batches_done - 1) * size // self._every_images
        return complete or batches_done == -(-images // size)

    def measure(self, model: Path, stop: StopRequest) -> dict[str, Any] | None:
        """map50, map, images, and map50, map and truths of each class; None where `stop` was asked meanwhile.

        model: the model file with the averaged weights. InputError where a frame cannot be read or the
        network gives no numbers.
        """
        from cgdet_core.evaluation.metrics.metrics import evaluate
        from cgdet_core.evaluation.offline import run_offline
        from cgdet_core.runtime.predictor import Predictor

        def samples() -> Iterator[Sample]:
            for sample in self.frames:
                if stop.asked:
                    raise _Interrupted
                yield sample

        try:
            # making a network draws its first weights: the run's own random numbers stay where they are
            with torch.random.fork_rng(devices=()):
                # nothing is compiled for a model of a moment, and every machine measures alike
                predictor = Predictor(model, self._config.device, "fp32", backend="torch")
                run = run_offline(predictor, samples(), len(self.frames), progress=False)
        except _Interrupted:
            return None
        metrics = evaluate(run.frames, self.frames.class_names)
        per_class = {
            name: {key: figures[key] for key in ("map50", "map", "truths")}
            for name, figures in metrics.per_class.items()
        }
        return {"map50": metrics.map50, "map": metrics.map, "images": metrics.images, "per_class": per_class}
