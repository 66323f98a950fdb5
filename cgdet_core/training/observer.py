"""What a person sees of a run: bar, log, curves, pictures. None of it changes a weight, and only the log can end it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cgdet_core.config import Recipe
from cgdet_core.data.feed.dataset import TrainingBatch, TrainingBatches
from cgdet_core.data.feed.sources import Source, progress_interval_s
from cgdet_core.data.sets.coco import CocoSet
from cgdet_core.distill.teachers.figures import TeacherSees
from cgdet_core.errors import InputError
from cgdet_core.files import write_text
from cgdet_core.training.data_check import DataFacts
from cgdet_core.training.run_log import RunLog
from cgdet_core.training.run_plot import write_run_plot
from cgdet_core.training.samples import SAMPLES, write_samples
from cgdet_core.training.speed import SpeedMeter, speed_line
from cgdet_core.training.step_figures import StepFigures
from cgdet_core.training.stopping import StopRequest
from cgdet_core.training.tensorboard_file import ScalarFile
from cgdet_core.training.validation import Validation

LOG_EVERY_BATCHES = 20
PLOT_EVERY_S = 60.0


class RunObserver:
    """Around the loop of a run in folder `out` that goes on after `batches_done` of `total` batches.

    held_out: frames to validate on, if any; progress: whether lines and a bar are shown, on standard
    error; warnings always are.
    """

    def __init__(
        self, recipe: Recipe, out: Path, batches_done: int, total: int, held_out: CocoSet | None, progress: bool
    ) -> None:
        self._recipe = recipe
        self._out = out
        self._total = total
        self._progress = progress
        self._log = RunLog(out / "log.jsonl", batches_done)
        self._speed = SpeedMeter()
        self._scalars = ScalarFile(out, batches_done) if recipe.train.tensorboard else None
        validation = Validation(held_out, recipe.train) if held_out is not None else None
        self._validation = validation if validation is not None and validation.wanted else None
        self._without_validation = "no frames held out" if held_out is None else "not validated during the run"
        self._seconds = {"validation": 0.0}
        self._given_up: set[str] = set()
        self._drawn_lines = len(self._log.lines)
        self._drawn_at = time.monotonic()
        self._shown: dict[str, str] = {}
        self._live = sys.stderr.isatty()  # every drawing stays in a file that standard error goes into
        self._batches_done = batches_done
        self._bar = tqdm(disable=True)  # drawn once there are batches, after the lines that come first

    def __enter__(self) -> RunObserver:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def before_the_first_step(self, facts: DataFacts, sources: Sequence[Source]) -> None:
        """data.json and samples.jpg, and what they tell, in short lines."""
        for source in facts.sources:
            self._say(source.line())
        for warning in facts.warnings:
            self._warn(warning)
        self._attempt(lambda: write_text(self._out / "data.json", json.dumps(facts.to_json(), indent=2) + "\n"))
        path = self._out / "samples.jpg"
        data = TrainingBatches(sources, self._recipe)
        batches = (data[number] for number in range(min(len(data), SAMPLES)))
        if self._attempt(lambda: write_samples(path, batches, self._recipe.model.class_names)):
            self._say(f"samples with their boxes: {path}")

    def say_of_teacher(self, sees: TeacherSees) -> None:
        """Before the first step of a run with an RGB teacher."""
        if sees.warning is None:
            self._say(sees.line())
        else:
            self._warn(sees.warning)

    def over(self, batches: Iterator[TrainingBatch]) -> Iterator[TrainingBatch]:
        """The batches, with the time that each is waited for and a bar."""
        size = self._recipe.train.batch_size
        self._bar = tqdm(
            total=self._total * size,
            initial=self._batches_done * size,
            unit="img",
            disable=not self._progress,
            smoothing=0.05,
            mininterval=progress_interval_s(),
        )
        return self._speed.over(batches)

    def stepped(self, batches_done: int, figures: StepFigures) -> None:
        """After each step; every LOG_EVERY_BATCHES, and after the last, it is written down."""
        self._speed.step_done()
        size = self._recipe.train.batch_size
        self._bar.update(size)
        if batches_done % LOG_EVERY_BATCHES and batches_done != self._total:
            return
        terms, rate, norm = figures.terms, figures.rate, figures.gradient_norm
        of_terms = {f"gradient_{name}": value for name, value in figures.term_gradient_norms.items()}
        pace = self._speed.lap().figures(size)
        self._log.append(
            {"batch": batches_done, "learning_rate": rate, **terms, "gradient_norm": norm, **of_terms, **pace}
        )
        scalars = {f"loss/{name}": value for name, value in terms.items()}
        scalars |= {"learning_rate": rate, "gradient_norm": norm}
        scalars |= {f"backbone/{name}": value for name, value in of_terms.items()}
        self._curves(scalars | {f"speed/{name}": value for name, value in pace.items()}, batches_done)
        self._show({name: f"{value:.3f}" for name, value in terms.items()})

    def saved(self) -> None:
        """After a checkpoint: the plot, where the last one is old."""
        if time.monotonic() - self._drawn_at > PLOT_EVERY_S:
            self._plot()

    def validation_due(self, batches_done: int) -> bool:
        """Whether the averaged weights are to be measured after this batch, and were not yet."""
        due = self._validation is not None and self._validation.due(batches_done)
        return due and not self._log.validated_at(batches_done)

    def validate(self, batches_done: int, model: Path, stop: StopRequest) -> None:
        """Measure the model file, which holds the average after this batch; nothing where `stop` is asked."""
        assert self._validation is not None
        started = time.monotonic()
        self._bar.set_description("validating", refresh=self._live)
        try:
            figures = self._validation.measure(model, stop)
        except InputError as error:
            figures = None
            self._warn(f"not validated after batch {batches_done}: {error}")
        self._bar.set_description("", refresh=False)
        self._seconds["validation"] += time.monotonic() - started
        if figures is None:
            return
        self._log.append({"validation": figures, "batch": batches_done})
        scalars = {f"validation/{name}": figures[name] for name in ("map50", "map")}
        scalars |= {f"validation/AP50_{name}": of_class["map50"] for name, of_class in figures["per_class"].items()}
        self._curves({name: value for name, value in scalars.items() if value is not None}, batches_done)
        self._show({"mAP50": f"{figures['map50']:.3f}"} if figures["map50"] is not None else {})
        self._plot()

    def finish(self) -> None:
        """After the last batch: the plot, and the speed in summary.json and in a line."""
        self._bar.close()
        self._plot()
        if not self._speed.total.batches:
            return  # nothing was left to do
        config = self._recipe.train
        figures = self._speed.total.figures(config.batch_size)
        seconds = {"waiting_for_data": self._speed.total.wait_s, "steps": self._speed.total.step_s, **self._seconds}
        summary = {"images": self._total * config.batch_size, **figures, "seconds": seconds}
        self._attempt(lambda: write_text(self._out / "summary.json", json.dumps(summary, indent=2) + "\n"))
        self._say(speed_line(figures, config.workers))

    def _show(self, words: dict[str, str]) -> None:
        self._shown |= words
        self._bar.set_postfix(self._shown, refresh=self._live)

    def _curves(self, values: dict[str, float], batches_done: int) -> None:
        scalars = self._scalars
        if scalars is not None and not self._attempt(lambda: scalars.add(values, batches_done)):
            self._scalars = None

    def _plot(self) -> None:
        self._drawn_at = time.monotonic()
        path = self._out / "run.png"
        if len(self._log.lines) == self._drawn_lines and path.exists():
            return
        self._drawn_lines = len(self._log.lines)
        config = self._recipe.train
        names = self._recipe.model.class_names
        images = self._total * config.batch_size
        without = "not validated yet" if self._validation is not None else self._without_validation
        self._attempt(lambda: write_run_plot(path, self._log.lines, names, config.batch_size, images, without))

    def _attempt(self, write: Callable[[], Any]) -> bool:
        """Whether it was written; a disk that refuses is told, once for each reason, and the run goes on."""
        try:
            write()
        except (InputError, OSError) as error:
            reason = str(error)
            if reason not in self._given_up:
                self._given_up.add(reason)
                self._warn(f"{reason}; the training goes on without it")
            return False
        return True

    def _say(self, line: str) -> None:
        if self._progress:
            tqdm.write(line, file=sys.stderr)

    def _warn(self, line: str) -> None:
        tqdm.write(f"cgdet: warning: {line}", file=sys.stderr)
