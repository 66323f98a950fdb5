"""What a task gives to be measured: `cgdet evaluate`, `compare`, `bench` and `thresholds` know this of it alone.

`task_of` is the one place where the task that a model file states becomes what these commands do. A second task needs
its line there and a class of its own beside evaluation/detection.py; nothing of detection is touched. Shared, and free
of any task: which frames, and these through models by turns (offline.py), the paired bootstrap (compare.py), times
(benchmark.py), the page (report/page.py).

A *record* is what the task keeps of one labelled frame: what was found in it beside its labels. It never leaves the
task; the shared parts pass lists of them on, all of one set and in one order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.sets.coco import CocoSet
from cgdet_core.evaluation.offline import Look, OfflineRun, run_in_turns
from cgdet_core.runtime.landmarks import LandmarkPredictor
from cgdet_core.runtime.model_file import ModelInfo, load_model, read_info, save_model
from cgdet_core.runtime.predictor import LoadedModel, Predictor
from cgdet_core.types import FloatArray, IntArray, Sample


@dataclass(frozen=True)
class FigureKey:
    """A compared figure. path: its place in the JSON, such as ("per_class", "car", "map50"); name: for a person."""

    path: tuple[str, ...]
    name: str
    less_is_better: bool = False


class FigureVector(Protocol):
    """The figures of one model over its records, of which any may count several times or not at all.

    keys: names the entries; the first one decides the verdict. groups: the first parts of their paths, which stand in
    the JSON even where a set has no figure of them.
    """

    keys: list[FigureKey]
    groups: tuple[str, ...]

    def of(self, weights: IntArray) -> NDArray[np.float64]:
        """float64 [keys] where record i counts weights[i] >= 0 times; NaN where nothing is to be found."""


class Figures(Protocol):
    """All the figures of a model over its records."""

    def to_json(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON of `cgdet evaluate` (DESIGN 5), `extra` added to it."""


class MeasuredTask(Protocol):
    """Base of what each task gives. name: in model files; predictor: its LoadedModel; record: of a frame; unit: of what
    is timed, `ms_per_<unit>` in the JSON; headline: the keys of Figures' JSON that a comparison repeats of each model;
    page_part, page_parts_of_two: what its pages show (report/model_report.py); int8_may_lose: of the first figure of
    `vector`, on held-out frames. `names`: the classes or points by which labels are read and figures made.
    """

    name: str
    predictor: type[Predictor] | type[LandmarkPredictor]
    record: type
    unit: str
    headline: tuple[str, ...]
    page_part: Callable[..., dict[str, Any]]
    page_parts_of_two: Callable[..., tuple[list[dict[str, Any]], dict[str, Any]]]
    int8_may_lose: float

    def load(self, path: Path, *how: Any) -> LoadedModel:
        """The model file, warmed up; how: as of LoadedModel. Raises InputError for what cannot be had."""
        model = self.predictor(path, *how)
        model.warm_up()
        return model

    def names_of(self, models: Sequence[LoadedModel]) -> tuple[str, ...]:
        """What all of these models know, in the first one's order; InputError where they have nothing in common."""

    def look_with(self, model: Any, names: Sequence[str], telemetry_rows: int) -> Look[Any]:
        """What makes the record of a frame; of what else than `names` the model finds nothing is kept."""

    def measure(self, records: Sequence[Any], names: Sequence[str], postprocess: Any = None) -> Figures:
        """The figures, at the thresholds of a model's settings. Raises InputError where nothing is labelled."""

    def rows(self, figures: Mapping[str, Any]) -> list[tuple[object, ...]]:
        """A table for the terminal of what `to_json` gave, its head first."""

    def vector(self, records: Sequence[Any], names: Sequence[str]) -> FigureVector:
        """See FigureVector."""

    def choose_thresholds(
        self, records: Sequence[Any], names: Sequence[str]
    ) -> tuple[dict[str, float], Figures, list[str]]:
        """Of each name the best threshold on held-out frames; the figures with these, whose JSON says under
        `operating_point` what each does; and warnings."""

    def threshold_settings(self, thresholds: Mapping[str, float]) -> dict[str, Any]:
        """The post-processing settings that hold these thresholds."""

    def timed_inputs(self, info: ModelInfo) -> Sequence[tuple[Any, ...]]:
        """What `predict` of a model takes, a few times over, for `cgdet bench`."""

    def canvases(self, info: ModelInfo, samples: Iterable[Sample] | None = None) -> list[FloatArray]:
        """Inputs of the network, float32 [H, W], by which an export is checked: of these frames, or of drawn ones."""


def task_of(info: ModelInfo) -> MeasuredTask:
    """The task that a model file states."""
    from cgdet_core.evaluation.detection import DETECTION
    from cgdet_core.evaluation.landmarks import LANDMARKS

    tasks: dict[str, MeasuredTask] = {"detection": DETECTION, "landmarks": LANDMARKS}
    return tasks[info.task]


def run_model(
    path: Path, frames: CocoSet, device: str, precision: str = "fp32", backend: str = "torch", progress: bool = True
) -> tuple[MeasuredTask, LoadedModel, OfflineRun[Any]]:
    """A model file over all labelled frames of a set: its task, the model, and what it found. Raises InputError for a
    frame that cannot be read, and a network that gives no numbers."""
    task = task_of(read_info(path))
    model = task.load(path, device, precision, 0, backend)
    look = task.look_with(model, task.names_of([model]), 0)
    (run,) = run_in_turns([look], frames, len(frames), progress=progress)
    return task, model, run


def write_thresholds(
    path: Path, model: Path, task: MeasuredTask, thresholds: Mapping[str, float], facts: Mapping[str, Any]
) -> None:
    """A copy of `model` at `path` (which may be `model`) with these thresholds; facts: on what they were chosen."""
    network, info = load_model(model)
    postprocess = info.postprocess.model_copy(update=task.threshold_settings(thresholds))
    training = {**info.training, "operating_point": dict(facts)}
    save_model(path, network, info.model_copy(update={"postprocess": postprocess, "training": training}))
