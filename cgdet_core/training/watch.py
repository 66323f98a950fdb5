"""What a person sees of a run: bar, log, curves, pictures, validation. Only the log can end it."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from cgdet_core.config import Recipe, TrainConfig
from cgdet_core.data.feed.sources import progress_interval_s
from cgdet_core.data.sets.coco import CocoSet
from cgdet_core.drawing import Colour
from cgdet_core.errors import CgdetError, RunError
from cgdet_core.files import write_text
from cgdet_core.subsample import subsample
from cgdet_core.tasks.task import TrainingBatch
from cgdet_core.training.first_look import DataFacts, write_samples

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from cgdet_core.distill.terms import TrainingTerms
    from cgdet_core.model.network import Network

LOG_EVERY_BATCHES = 20
WARM_UP_BATCHES = 5  # wait for processes to start and arithmetic to be compiled: they say nothing of the speed
PICTURED = 8  # crops of a batch whose maps and regions are shown
WAITING_SHARE = 0.05  # of the time; a network that waits longer than this is held up by its data


class RunWatch:
    """Around the loop of a run in folder `out` that goes on after `batches_done` of `total` batches.

    held_out: frames to validate on, if any; progress: whether lines and a bar are drawn; warnings always are.
    """

    def __init__(
        self, recipe: Recipe, out: Path, batches_done: int, total: int, held_out: CocoSet | None, progress: bool
    ) -> None:
        self._recipe = recipe
        self._out = out
        self._first = batches_done
        self._total = total
        self._progress = progress
        self._log_path = out / "log.jsonl"
        # of a run that is gone on with, batches after its checkpoint are done, and logged, again
        log = [line for line in read_log(self._log_path) if line["batch"] <= batches_done] if batches_done else []
        write_text(self._log_path, "".join(json.dumps(line) + "\n" for line in log))
        self._curves: SummaryWriter | None = None
        if recipe.train.tensorboard:
            self._attempt(self._open_curves)
        self._frames = None
        if held_out is not None and recipe.train.validate_every_images != 0:
            places = subsample(len(held_out), recipe.train.validate_frames)
            records = tuple(held_out.records[place] for place in places)
            self._frames = CocoSet(held_out.path, held_out.class_names, records)
        self._seconds: list[tuple[float, float]] = []  # of each batch, waiting for it and learning from it
        self._logged = 0  # of these batches
        self._wait_s = self._handed_out = 0.0
        self._postfix: dict[str, str] = {}
        self._bar = tqdm(disable=True)  # drawn once there are batches, after the lines that come first

    def __enter__(self) -> RunWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._curves is not None:
            self._attempt(self._curves.close)

    def before_the_first_step(
        self, data: DataFacts, batches: Iterable[TrainingBatch], legend: Sequence[tuple[str, Colour]]
    ) -> None:
        """data.json and samples.jpg of the first batches, and what they say, in short lines."""
        for line in data.lines:
            self.say(line)
        for oddity in data.oddities:
            self.warn(oddity)
        self._write_json("data.json", {"sources": data.sources, "warnings": data.oddities})
        path = self._out / "samples.jpg"
        if self._attempt(lambda: write_samples(path, batches, legend)):
            self.say(f"samples with their labels: {path}")

    def over(self, batches: Iterator[TrainingBatch]) -> Iterator[TrainingBatch]:
        """The batches, with a bar. How long each is waited for and worked on is measured; what else happens between two
        batches (saving, validation) is not."""
        size = self._recipe.train.batch_size
        self._bar = tqdm(
            total=self._total * size,
            initial=self._first * size,
            unit="img",
            disable=not self._progress,
            smoothing=0.05,
            mininterval=progress_interval_s(),
        )
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            self._handed_out = time.perf_counter()
            self._wait_s = self._handed_out - asked
            yield batch

    def stepped(self, batches_done: int, figures: Mapping[str, float]) -> None:
        """After each step; every LOG_EVERY_BATCHES, and after the last, its figures are written down."""
        self._seconds.append((self._wait_s, time.perf_counter() - self._handed_out))
        size = self._recipe.train.batch_size
        self._bar.update(size)
        if batches_done % LOG_EVERY_BATCHES and batches_done != self._total:
            return
        line = {**figures, **speed(self._seconds[self._logged :], size)}
        self._logged = len(self._seconds)
        self._write_down({"batch": batches_done, **line})
        self._draw("train", line, batches_done)
        self._show({name: value for name, value in figures.items() if name not in ("learning_rate", "gradient_norm")})

    def validation_due(self, batches_done: int) -> bool:
        """Whether the averaged weights are to be measured after this batch."""
        return self._frames is not None and validates_after(batches_done, self._recipe.train)

    def validate(self, batches_done: int, model: Path) -> None:
        """Measure the model file, which holds the average after this batch."""
        assert self._frames is not None
        self._bar.set_description("validating", refresh=sys.stderr.isatty())
        try:
            figures = measure(model, self._frames, self._recipe.train.device)
        except CgdetError as error:
            self.warn(f"not validated after batch {batches_done}: {error}")
            return
        finally:
            self._bar.set_description("", refresh=False)
        self._write_down({"validation": figures, "frames": len(self._frames), "batch": batches_done})
        self._draw("validation", figures, batches_done)
        self._show(dict(list(figures.items())[:1]))

    def picture_terms(self, batches_done: int, terms: TrainingTerms, network: Network, batch: TrainingBatch) -> None:
        """For TensorBoard: maps of student and teacher beside the first crops, and the projected embeddings of RCS."""
        if self._curves is None or not terms.terms:
            return
        curves, device = self._curves, next(network.parameters()).device
        batch = batch.map(lambda rows: rows[:PICTURED].to(device))
        pictures, embedded = terms.views(batch, network)
        for name, maps in {"crops": batch.images, **pictures}.items() if pictures else ():
            curves.add_images(f"maps/{name}", maps, batches_done)
        if embedded is not None:
            z, names = embedded[0], [self._recipe.model.class_names[number] for number in embedded[1].tolist()]
            self._attempt(lambda: curves.add_embedding(z, names, global_step=batches_done, tag="rcs"))

    def finish(self) -> None:
        """After the last batch: the speed in summary.json and in a line."""
        self._bar.close()
        timed = self._seconds[WARM_UP_BATCHES:] or self._seconds
        if not timed:
            return  # nothing was left to do
        config = self._recipe.train
        pace = speed(timed, config.batch_size)
        self._write_json("summary.json", {"images": self._total * config.batch_size, **pace})
        share = pace["data_wait_share"]
        more = f": more processes may help (train.workers={config.workers + 1})" if share > WAITING_SHARE else ""
        self.say(f"{pace['images_per_second']:.1f} images/s; the network waited {share:.0%} of the time for data{more}")

    def say(self, line: str) -> None:
        if self._progress:
            tqdm.write(line, file=sys.stderr)

    def warn(self, line: str) -> None:
        tqdm.write(f"cgdet: warning: {line}", file=sys.stderr)

    def _show(self, values: Mapping[str, float]) -> None:
        self._postfix |= {name: f"{value:.3f}" for name, value in values.items()}
        self._bar.set_postfix(self._postfix, refresh=sys.stderr.isatty())

    def _write_down(self, line: dict[str, Any]) -> None:
        """A line of the log, at once; RunError where the disk refuses."""
        try:
            with self._log_path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(line) + "\n")
        except OSError as error:
            raise RunError(
                f"{self._log_path}: cannot be written ({error.strerror}): free the disk and --resume"
            ) from None

    def _open_curves(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # points that an earlier process drew after its checkpoint are dropped
        self._curves = SummaryWriter(str(self._out), purge_step=self._first + 1)

    def _draw(self, kind: str, values: Mapping[str, float], batches_done: int) -> None:
        """Points for TensorBoard."""
        if self._curves is not None:
            for name, value in values.items():
                self._curves.add_scalar(f"{kind}/{name}", value, batches_done)
            self._attempt(self._curves.flush)

    def _write_json(self, name: str, document: Mapping[str, Any]) -> None:
        self._attempt(lambda: write_text(self._out / name, json.dumps(document, indent=2) + "\n"))

    def _attempt(self, write: Callable[[], Any]) -> bool:
        """Whether it was written; a disk that refuses or a library that is not there is a warning."""
        try:
            write()
        except (CgdetError, OSError, ImportError) as error:
            self.warn(f"{error}; the training goes on without it")
            return False
        return True


def read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; none where there is no file."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    # a run that was killed while it wrote leaves a last line without its end
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def speed(seconds: Sequence[tuple[float, float]], batch_size: int) -> dict[str, float]:
    """Of batches' seconds of waiting and of learning: images_per_second, and data_wait_share, of the time."""
    waiting, learning = (sum(column) for column in zip(*seconds, strict=True))
    whole = max(waiting + learning, 1e-9)
    return {"images_per_second": len(seconds) * batch_size / whole, "data_wait_share": waiting / whole}


def validates_after(batches_done: int, config: TrainConfig) -> bool:
    """Whether this batch was the one that completed another `validate_every_images`, or the run."""
    size = config.batch_size
    every = -(-config.images // 10) if config.validate_every_images is None else config.validate_every_images
    complete = batches_done * size // every > (batches_done - 1) * size // every
    return batches_done > 0 and (complete or batches_done == -(-config.images // size))


def measure(model: Path, frames: CocoSet, device: str) -> dict[str, float]:
    """The figures of a model file by name (FigureVector), the headline first, with its parts, but what has no value.

    InputError where a frame cannot be read or the network gives no numbers.
    """
    from cgdet_core.evaluation.task import run_model

    # making a network draws its first weights: the run's own random numbers stay where they are
    with torch.random.fork_rng(devices=()):
        # nothing is compiled for a model of a moment, and every machine measures alike
        task, loaded, run = run_model(model, frames, device, progress=False)
    vector = task.vector(run.frames, loaded.info.class_names)
    values = vector.of(np.ones(len(run.frames), np.int64)).tolist()
    first = vector.keys[0].path  # of the others' parts, such as classes, there are too many
    told = [
        (key, value)
        for key, value in zip(vector.keys, values, strict=True)
        if key.path[0] == first[0] or key.path[-1] == first[-1]
    ]
    return {key.name: value for key, value in told if math.isfinite(value)}
