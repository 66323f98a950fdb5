"""The report of a replay, an evaluation or a comparison: one HTML file that needs nothing else.

Whoever measures fills a `Report` with what there is; every part is optional, and the page says
nothing of what it was not given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.drawing import RgbArray
from cgdet_core.evaluation.metrics.metrics import Metrics
from cgdet_core.evaluation.report.tables import fraction
from cgdet_core.files import write_text
from cgdet_core.types import FloatArray

NOT_LABELLED = "The recording holds no labels: this report says nothing about accuracy."
SAMPLES_NOTE = (
    "Coloured boxes: detections with class and score. White dashes: what is labelled; dots: regions to ignore."
)
WORST_TITLES = {
    "missed": "Frames with the most misses",
    "false_alarms": "Frames with the most false alarms",
    "duplicates": "Frames with the most duplicates",
}


@dataclass(frozen=True)
class KeyFigure:
    """A figure at the head of the page: `KeyFigure("Latency p50", "12.4", "ms", "publish to receive")`."""

    label: str
    value: str
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class LatencyTrace:
    """When answers came.

    sent_s, latency_ms: float [N], for each frame that was answered its time, from the start, and how
        long its detections took; dropped_s: float [D], the times of unanswered frames.
    held_s, held_ms: float [K, 2] each, the age of the newest answer's picture from when the answer came to
        when the next one did: times of both ends, and ages at both ends.
    """

    sent_s: FloatArray
    latency_ms: FloatArray
    dropped_s: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    held_s: FloatArray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    held_ms: FloatArray = field(default_factory=lambda: np.zeros((0, 2), np.float32))

    def __post_init__(self) -> None:
        if len(self.sent_s) != len(self.latency_ms):
            raise ValueError(f"{len(self.sent_s)} times and {len(self.latency_ms)} latencies do not match")
        if self.held_s.shape != self.held_ms.shape:
            raise ValueError(f"held_s of shape {self.held_s.shape} and held_ms of {self.held_ms.shape} do not match")


@dataclass(frozen=True)
class StageTimes:
    """Where the time goes. table: stage -> columns, as text; columns: their heads.

    over_s [R], over_ms: stage -> float [R], milliseconds of each stage over time, for a plot.
    """

    columns: Sequence[str]
    table: Mapping[str, Sequence[str]]
    note: str = ""
    over_s: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    over_ms: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """An annotated frame, uint8 [H, W, 3] RGB (drawing.draw), and what is to be said of it."""

    image: RgbArray
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures under a heading of their own; `note` explains what is drawn."""

    title: str
    pictures: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True)
class Part:
    """What is told of one model. Several have a `name` each, which heads it.

    key_figures: tiles. video: file name of a video beside the report. counts: what, how many, and a
    word on it, one line each. steps, answers: the JSON of `live_steps`, and a sentence on the frame-by-
    frame check. metrics: the accuracy part, `metrics_note` what it is over; where it is None,
    `not_labelled` says why. facts: what ran on what (model, device, precision, bag, ...).
    """

    name: str = ""
    key_figures: Sequence[KeyFigure] = ()
    video: str | None = None
    counts: Sequence[tuple[str, str, str]] = ()
    latency: LatencyTrace | None = None
    latency_note: str = ""
    stages: StageTimes | None = None
    steps: Sequence[Mapping[str, Any]] = ()
    answers: str = ""
    metrics: Metrics | None = None
    metrics_note: str = ""
    not_labelled: str = NOT_LABELLED
    galleries: Sequence[Gallery] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ComparisonPart:
    """Two models beside each other. figures: the JSON of `compare`; table: further rows, name, A, B; names: of the two;
    metrics: of both, for the curves; galleries: frames where they differ."""

    figures: Mapping[str, Any] | None
    names: tuple[str, str]
    table: Sequence[tuple[str, str, str]] = ()
    metrics: tuple[Metrics, Metrics] | None = None
    note: str = ""
    galleries: Sequence[Gallery] = ()


@dataclass(frozen=True)
class Report:
    """The page, from top to bottom. warnings: one line each, shown first. commands: what reproduces the run."""

    title: str
    subtitle: str = ""
    warnings: Sequence[str] = ()
    comparison: ComparisonPart | None = None
    parts: Sequence[Part] = ()
    commands: Sequence[str] = ()


def accuracy_figures(metrics: Metrics) -> list[KeyFigure]:
    """The tiles of an evaluation: mAP50 and mAP."""
    objects = f"{metrics.truths} objects in {metrics.images} frames"
    return [
        KeyFigure("mAP50", fraction(metrics.map50), note=objects),
        KeyFigure("mAP", fraction(metrics.map), note="IoU 0.5 to 0.95"),
    ]


def write_report(path: Path, report: Report) -> None:
    """Write the page, whole or not at all, its folder too. Raises InputError where the disk refuses."""
    from cgdet_core.evaluation.report.page import render_report

    write_text(path, render_report(report))
