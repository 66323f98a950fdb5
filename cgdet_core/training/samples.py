"""A sheet of training crops with their labels, for a look at what is really learned from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.drawing import Colour, RgbArray, class_colour
from cgdet_core.files import replacing
from cgdet_core.types import FloatArray

SAMPLES = 24
_COLUMNS = 6  # tiles in a row; a crop and its RGB are two
_TILE_PX = 320  # larger crops are shrunk to this side, smaller ones shown as they are
_GAP_PX = 4
_LEGEND_PX = 28
_IGNORED_COLOUR: Colour = (160, 160, 160)
_GROUND = 64  # a grey that sets the crops' own black edges apart
_INK: Colour = (230, 230, 230)
_NO_RGB_COLOUR: Colour = (190, 40, 120)  # of no class, and rare in a street


def write_samples(
    path: Path, batches: Iterable[TrainingBatch], class_names: Sequence[str], most: int = SAMPLES
) -> None:
    """Write the first crops of `batches`, at most so many, as a JPEG; InputError where the disk refuses."""
    sheet = contact_sheet(batches, class_names, most)
    _, data = cv2.imencode(".jpg", sheet[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    with replacing(path) as partial:
        partial.write_bytes(data.tobytes())


def contact_sheet(batches: Iterable[TrainingBatch], class_names: Sequence[str], most: int = SAMPLES) -> RgbArray:
    """uint8 [H, W, 3], RGB: crops in rows under a legend; objects in their class's colour, regions to ignore
    in grey dashes. A pixel that is no number is drawn black.

    Where the batches have RGB, each crop's stands at its right with the same boxes, striped where it is not valid.
    """
    tiles = list(islice((tile for batch in batches for tile in _tiles(batch)), most))
    height, width = tiles[0].shape[:2]
    columns = min(_COLUMNS * height // width, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet_size = (_LEGEND_PX + rows * (height + _GAP_PX), max(columns * (width + _GAP_PX), 480))
    sheet = np.full((*sheet_size, 3), _GROUND, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = _LEGEND_PX + number // columns * (height + _GAP_PX), number % columns * (width + _GAP_PX)
        sheet[top : top + height, left : left + width] = tile
    left = 8
    for class_id, name in enumerate(class_names):
        left = _write(sheet, left, name, class_colour(class_id))
    left = _write(sheet, left, "to ignore", _IGNORED_COLOUR)
    if width > height:
        _write(sheet, left, "no RGB", _NO_RGB_COLOUR)
    return sheet


def _tiles(batch: TrainingBatch) -> Iterable[RgbArray]:
    for row, image in enumerate(batch.images.cpu().float().numpy()[:, 0]):
        size = image.shape[0]
        side = min(size, _TILE_PX)
        grey = np.rint(np.nan_to_num(image, posinf=0, neginf=0).clip(0, 1) * 255).astype(np.uint8)
        if side != size:
            grey = np.asarray(cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
        pictures = [np.repeat(grey[..., None], 3, axis=2)]
        if batch.rgb is not None and batch.rgb_valid is not None:
            pictures.append(_rgb(batch.rgb[row], batch.rgb_valid[row], side))
        boxes = np.nan_to_num(batch.boxes_xyxy_px[row].cpu().numpy(), posinf=0, neginf=0) * (side / size)
        class_ids, objects = batch.class_ids[row].tolist(), batch.objects[row].tolist()
        for picture in pictures:
            for box in boxes[batch.ignored[row].cpu().numpy()]:
                _box(picture, box, _IGNORED_COLOUR, dashed=True)
            for box, class_id, is_object in zip(boxes, class_ids, objects, strict=True):
                if is_object:
                    _box(picture, box, class_colour(class_id), dashed=False)
        yield np.concatenate(pictures, axis=1)


def _rgb(rgb: Tensor, valid: Tensor, side: int) -> RgbArray:
    """uint8 [3, S, S] and bool [S, S] -> uint8 [side, side, 3], striped where not all is valid."""
    picture = np.ascontiguousarray(rgb.cpu().numpy().transpose(1, 2, 0))
    shown = valid.cpu().numpy().astype(np.uint8) * 255
    if side != len(picture):
        picture = np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
        shown = np.asarray(cv2.resize(shown, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    y, x = np.indices((side, side))
    picture[((x + y) % 12 < 2) & (shown < 255)] = _NO_RGB_COLOUR
    return picture


def _box(tile: RgbArray, box_xyxy: FloatArray, colour: Colour, dashed: bool) -> None:
    last = tile.shape[0] - 1
    left, top = (int(np.clip(round(float(value)), 0, last)) for value in box_xyxy[:2])
    # (0, 0) is the outer corner of the first pixel
    right, bottom = (int(np.clip(round(float(value)) - 1, 0, last)) for value in box_xyxy[2:])
    edge = np.zeros(tile.shape[:2], np.uint8)
    cv2.rectangle(edge, (left, top), (right, bottom), 1, 1)
    if dashed:
        y, x = np.indices(edge.shape)
        edge[(x + y) // 3 % 2 == 1] = 0
    tile[edge > 0] = colour


def _write(sheet: RgbArray, left: int, text: str, colour: Colour) -> int:
    """A patch of colour and its meaning; where the next one begins."""
    cv2.rectangle(sheet, (left, 8), (left + 12, 20), colour, -1)
    cv2.putText(sheet, text, (left + 18, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    return left + 18 + int(width) + 20
