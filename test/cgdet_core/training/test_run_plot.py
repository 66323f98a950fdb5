"""The picture of a run is drawn from whatever its log holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cgdet_core.training.run_plot import write_run_plot

NAMES = ("person", "a $dear$ class")
STEPS = [
    {"batch": n, "loss": 9.0 / n, "class": 3.0 / n, "box": 3.0 / n, "distribution": 3.0 / n, "learning_rate": 0.1 / n}
    for n in range(1, 60)
]


def drawn(path: Path, lines: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    write_run_plot(path, lines, NAMES, batch_size=2, images=120)
    picture = cv2.imread(str(path))
    assert picture is not None
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    return picture


def test_an_empty_log_an_old_one_and_a_class_without_figures_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "run.png"
    empty, old = drawn(path, []), drawn(path, STEPS)
    speed = {"gradient_norm": 1.0, "images_per_second": 30.0, "data_wait_share": 0.1}
    per_class = {"person": {"map50": 0.5}, NAMES[1]: {"map50": None}}
    validation = {"batch": 30, "validation": {"map50": 0.5, "per_class": per_class}}
    new = drawn(path, [*({**line, **speed} for line in STEPS), validation])
    assert empty.shape == old.shape == new.shape
    half = new.shape[1] // 2
    # losses are drawn left, figures of the held-out frames right
    assert (empty[:, :half] != old[:, :half]).any()
    assert (old[: new.shape[0] // 2, half:] != new[: new.shape[0] // 2, half:]).any()


def test_the_same_log_gives_the_same_file(tmp_path: Path) -> None:
    drawn(tmp_path / "run.png", STEPS)
    before = (tmp_path / "run.png").read_bytes()
    drawn(tmp_path / "run.png", STEPS)
    assert (tmp_path / "run.png").read_bytes() == before


def test_a_run_so_short_that_it_logged_once_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "run.png"
    empty, once = drawn(path, []), drawn(path, [{**STEPS[0], "batch": 20}])
    height, width = empty.shape[0] // 2, empty.shape[1]
    # the middle of the panels left, whose axes' numbers differ anyway
    middle = np.s_[20 : height - 60, width // 10 : width * 2 // 5]
    assert (empty[middle] != once[middle]).any()
