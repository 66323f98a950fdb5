"""Two pictures of a run: what it really learns from, and how it went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cgdet_core.drawing import Colour, RgbArray
from cgdet_core.evaluation.report.plots import PLOT_STYLE
from cgdet_core.files import replacing
from cgdet_core.images import encode_jpeg
from cgdet_core.tasks.task import TrainingBatch

SAMPLES = 24
_COLUMNS = 6  # tiles in a row; a crop and its RGB are two
_TILE_PX = 320  # larger crops are shrunk to this side, smaller ones drawn as they are
_GAP_PX = 4
_LEGEND_PX = 28
_NO_RGB_COLOUR: Colour = (190, 40, 120)  # of no class, and rare in a street


def write_samples(path: Path, batches: Iterable[TrainingBatch], legend: Sequence[tuple[str, Colour]]) -> None:
    """Write the contact sheet as a JPEG; InputError where the disk refuses."""
    with replacing(path) as partial:
        partial.write_bytes(encode_jpeg(contact_sheet(batches, legend), 90))


def contact_sheet(batches: Iterable[TrainingBatch], legend: Sequence[tuple[str, Colour]]) -> RgbArray:
    """uint8 [H, W, 3], RGB: crops in rows under a legend, with their labels as the task draws them.

    Where the batches have RGB, each crop's stands at its right with the same labels, in `_NO_RGB_COLOUR` where it is
    not valid. A pixel that is no number is drawn black.
    """
    tiles = list(islice((tile for batch in batches for tile in _tiles(batch)), SAMPLES))
    height, width = tiles[0].shape[:2]
    columns = min(_COLUMNS * height // width, len(tiles))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[at : at + columns], axis=1) for at in range(0, len(tiles), columns)]
    head = np.zeros((_LEGEND_PX, rows[0].shape[1], 3), np.uint8)
    left = 8
    for name, colour in [*legend, *([("no RGB", _NO_RGB_COLOUR)] if width > height else [])]:
        cv2.putText(head, name, (left, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
        left += 20 + cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0]
    return np.concatenate([head, *rows])


def _tiles(batch: TrainingBatch) -> Iterator[RgbArray]:
    for row, image in enumerate(batch.images.cpu().float().numpy()[:, 0]):
        side = min(len(image), _TILE_PX)
        grey = np.rint(np.nan_to_num(image, posinf=0, neginf=0).clip(0, 1) * 255).astype(np.uint8)
        pictures = [np.repeat(grey[..., None], 3, axis=2)]
        if batch.rgb is not None and batch.rgb_valid is not None:
            rgb = batch.rgb[row].cpu().numpy().transpose(1, 2, 0).copy()
            rgb[~batch.rgb_valid[row].cpu().numpy()] = _NO_RGB_COLOUR
            pictures.append(rgb)
        tiles = [cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) for picture in pictures]
        for tile in tiles:
            batch.targets.draw(row, tile, side / len(image))
        yield np.pad(np.concatenate(tiles, axis=1), ((0, _GAP_PX), (0, _GAP_PX), (0, 0)))


def write_run_plot(path: Path, lines: Sequence[Mapping[str, Any]], batch_size: int, images: int) -> None:
    """The terms of the loss and the figures of the held-out frames over the crops learned from, as a PNG.

    lines: of log.jsonl; images: the length of the run. InputError where the disk refuses.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [line for line in lines if "loss" in line]
    validations = [line for line in lines if "validation" in line]
    with matplotlib.rc_context({**PLOT_STYLE, "font.size": 9}):
        figure = Figure(figsize=(11, 3.6), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        losses, accuracy = figure.subplots(1, 2, sharex=True)
        crops = [line["batch"] * batch_size for line in steps]
        for name in dict.fromkeys(name for line in steps for name in loss_terms(line)):
            losses.plot(crops, [line.get(name, np.nan) for line in steps], ".-", linewidth=1, label=name)
        crops = [line["batch"] * batch_size for line in validations]
        for number, name in enumerate(dict.fromkeys(name for line in validations for name in line["validation"])):
            values = np.array([line["validation"].get(name) for line in validations], np.float64)
            # the first is the headline
            accuracy.plot(crops, values, ".-", linewidth=1 if number else 2, label=name)
        for axes, label in ((losses, "loss"), (accuracy, "held-out frames")):
            axes.set(xlabel="crops learned from", ylabel=label, xlim=(0, images), ylim=(0, None))
            if axes.lines:
                axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderaxespad=0.2)
        with replacing(path) as partial:
            figure.savefig(partial, format="png", metadata={"Software": None})


def loss_terms(figures: Iterable[str]) -> list[str]:
    """Of the names that a step's figures have, those of the loss and its terms."""
    others = ("batch", "learning_rate", "gradient_norm", "images_per_second", "data_wait_share")
    return [name for name in figures if name not in others]
