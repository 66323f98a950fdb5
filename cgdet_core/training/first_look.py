"""What a run really learns from, before its first step: the data in numbers, and a picture of the first crops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cgdet_core.data.feed.sources import Source
from cgdet_core.drawing import Colour, RgbArray
from cgdet_core.files import write_bytes
from cgdet_core.images import encode_jpeg
from cgdet_core.tasks.task import TrainingBatch

if TYPE_CHECKING:
    from cgdet_core.tasks import Task

SAMPLES = 24
_COLUMNS = 6  # tiles in a row; a crop and its RGB are two
_TILE_PX = 320  # larger crops are shrunk to this side, smaller ones drawn as they are
_GAP_PX = 4
_LEGEND_PX = 28
_NO_RGB_COLOUR: Colour = (190, 40, 120)  # of no class, and rare in a street


@dataclass(frozen=True)
class DataFacts:
    """sources: of each set, as JSON, its name, share of the samples, frames, frames_with_rgb (0 where none is used) and
    what its task counts of the labels; lines: the same for a person; oddities: what is odd, a line each."""

    sources: list[dict[str, Any]]
    lines: list[str]
    oddities: list[str]


def check_data(sources: Sequence[Source], task: Task) -> DataFacts:
    """The sets in numbers; InputError where nothing can be learned from them."""
    weight = sum(source.weight for source in sources)
    facts, lines = [], []
    for source in sources:
        labels = task.count([frame.truth for frame in source.frames])
        share, frames = source.weight / weight, len(source.frames)
        with_rgb = sum(frame.rgb is not None for frame in source.frames)
        facts.append({"name": source.name, "share": share, "frames": frames, "frames_with_rgb": with_rgb, **labels})
        rgb = f"; {with_rgb} frames with RGB" if with_rgb else ""
        lines.append(f"{source.name}: {share:.0%} of the samples, {frames} frames {task.describe(labels)}{rgb}")
    warnings = [warning for source in sources for warning in source.warnings]
    return DataFacts(facts, lines, [*warnings, *task.not_learned(facts)])


def write_samples(path: Path, batches: Iterable[TrainingBatch], legend: Sequence[tuple[str, Colour]]) -> None:
    """Write the contact sheet as a JPEG; InputError where the disk refuses."""
    write_bytes(path, encode_jpeg(contact_sheet(batches, legend), 90))


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
