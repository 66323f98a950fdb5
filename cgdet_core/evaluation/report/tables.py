"""The tables of the report: figures as the words that stand on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from cgdet_core.drawing import class_colour_hex
from cgdet_core.evaluation.metrics.metrics import Metrics

NONE = "–"
_STEP_WORDS = {
    "offline": "offline, every frame",
    "thresholds": "below the node's thresholds",
    "drops": "dropped frames",
    "live": "other answers",
}


def fraction(value: float | None) -> str:
    """A fraction with three digits; a dash where it is undefined."""
    return NONE if value is None else f"{value:.3f}"


def accuracy_tables(metrics: Metrics) -> dict[str, Any]:
    classes = []
    for class_id, (name, figures) in enumerate(metrics.per_class.items()):
        point = metrics.operating_point[name]
        alarms = point["false_alarms_per_image"]
        classes.append(
            {
                "name": name,
                "colour": class_colour_hex(class_id),
                "truths": figures["truths"],
                **{key: fraction(figures[key]) for key in ("map50", "map75", "map")},
                "threshold": f"{point['threshold']:.2f}",
                "precision": fraction(point["precision"]),
                "recall": fraction(point["recall"]),
                "false_alarms_per_image": NONE if alarms is None else f"{alarms:.2f}",
                "duplicates": fraction(metrics.duplicates_per_object[name]),
                "log_average_miss_rate": fraction(metrics.log_average_miss_rate[name]),
                "calibration": fraction(metrics.calibration[name]["error"]),
            }
        )
    sizes = {"small": "small (below 32² px)", "medium": "medium", "large": "large (above 96² px)"}
    parts = [
        {"name": sizes[size], "images": NONE, "truths": figures["truths"], **_two(figures)}
        for size, figures in metrics.by_size.items()
    ] + [
        {"name": light, "images": figures["images"], "truths": figures["truths"], **_two(figures)}
        for light, figures in metrics.by_light.items()
    ]
    return {
        "map": fraction(metrics.map),
        "map50": fraction(metrics.map50),
        "map75": fraction(metrics.map75),
        "images": metrics.images,
        "truths": metrics.truths,
        "duplicates": fraction(metrics.duplicates_per_object["all"]),
        "classes": classes,
        "parts": parts,
        "confusion": _confusion_rows(metrics),
        "confusion_names": metrics.confusion["names"],
        "confusion_score": f"{metrics.confusion['score']:g}",
    }


def _two(figures: Mapping[str, Any]) -> dict[str, str]:
    return {"map50": fraction(figures["map50"]), "map": fraction(figures["map"])}


def _confusion_rows(metrics: Metrics) -> list[dict[str, Any]]:
    """Rows of the matrix; the share of the row's objects shades a cell. Nothing found in nothing is no cell."""
    names, matrix = metrics.confusion["names"], metrics.confusion["matrix"]
    last = len(names) - 1
    rows = []
    for i, counts in enumerate(matrix):
        total = max(1, sum(counts))
        cells = [
            {
                "count": NONE if i == last and j == last else count,
                "shade": f"{count / total / 2:.2f}",
                "right": i == j and i != last,
            }
            for j, count in enumerate(counts)
        ]
        rows.append({"name": names[i], "cells": cells})
    return rows


def step_table(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """From the JSON of `live_steps`: names of the columns, and for mAP50, mAP, each class and light the first value,
    what each further step changes, and the last value."""
    if not steps:
        return None
    rows = [_step_row(name, [step[key] for step in steps]) for name, key in (("mAP50", "map50"), ("mAP", "map"))]
    for group in ("per_class", "by_light"):
        for name in steps[0][group]:
            rows.append(_step_row(f"{name} AP50", [step[group][name]["map50"] for step in steps]))
    return {
        "columns": [_STEP_WORDS[step["step"]] for step in steps],
        "rows": [row for row in rows if row is not None],
    }


def _step_row(name: str, values: Sequence[float | None]) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    changes = [after - before for before, after in pairwise(known)]
    return {
        "name": name,
        "values": known,
        "first": fraction(known[0]),
        "changes": [signed(change) for change in changes],
        "last": fraction(known[-1]),
    }


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign; 0 without one."""
    if value is None:
        return NONE
    text = f"{value:+.{digits}f}"
    return "0" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def comparison_rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From the JSON of a comparison: a row for each figure that is defined, with difference, interval and verdict."""
    words = {"map": "mAP", "map50": "mAP50", "duplicates_per_object": "duplicates per object"}
    named = [(words[figure], value) for figure, value in comparison["overall"].items()]
    for group in ("per_class", "by_light"):
        for name, of_part in comparison[group].items():
            for figure, value in of_part.items():
                word = words[figure].replace("mAP", "AP") if group == "per_class" else words[figure]
                named.append((f"{name} {word}", value))
    return [
        {
            "name": name,
            **{key: value[key] for key in ("difference", "low", "high", "verdict")},
            "a": fraction(value["a"]),
            "b": fraction(value["b"]),
            "change": signed(value["difference"], 4),
            "interval": NONE if value["low"] is None else f"{signed(value['low'], 4)} to {signed(value['high'], 4)}",
            "said": "" if value["verdict"] == "no difference shown" else value["verdict"],
            "less_is_better": "duplicates" in name,
        }
        for name, value in named
        if value["difference"] is not None
    ]
