"""A bag's frames as a COCO set: lossless thermal pictures, registered RGB beside them, labels.

`set.json` lists the labelled frames alone as `images`; the others, which are not empty but unknown, stand under
`unlabelled_images`. Frames are numbered in the order in which they are taken, so that blocks of 50 numbers are
stretches of time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cgdet_core.data.bags.labels import UNLABELLED, StampedLabels, bag_labels
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.truth import FrameInfo
from cgdet_core.data.registration.pairs import PairedBag, PairedFrame, encode_png
from cgdet_core.data.sets.coco_write import CocoDraft, image_entry
from cgdet_core.files import replacing_folder
from cgdet_core.types import CLASS_NAMES, GroundTruth

SET_NAME = "set.json"
_VALID_NAME = "rgb_valid.png"


@dataclass
class Extracted:
    """How many frames were written: all, labelled ones, those with RGB; objects: of all labels."""

    frames: int = 0
    labelled: int = 0
    with_rgb: int = 0
    objects: int = 0


def frame_name(place: int) -> str:
    """Of the so-many-th frame taken, from 0; its number is what blocks are held out by."""
    return f"{place:06d}"


def labels_of_paired(
    bag: PairedBag, labels: str | None, class_names: tuple[str, ...], class_map: Mapping[str, str]
) -> StampedLabels:
    """The labels of the bag's thermal frames; InputError as `bag_labels`, and where they fit none of the frames."""
    with BagReader(bag.path) as reader:
        stamped = bag_labels(reader, labels, class_names, class_map)
    stamped.check_any(sum(stamp in stamped.truth for stamp in bag.thermal_stamps_ns), bag.thermal_topic)
    return stamped


def extract_bag(
    bag: PairedBag,
    out: Path,
    labels: str | None = None,
    class_names: tuple[str, ...] = CLASS_NAMES,
    class_map: Mapping[str, str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Extracted:
    """Write the frames that `bag` gives to the folder `out`, whole or not at all.

    labels: a topic, or a COCO JSON keyed by stamp; None: the bag's own topic of labels, if it has any. Thermal
    pictures are PNG of 8 or 16 bits, RGB ones as PairedBag.registered_rgb gives them. InputError for anything wrong
    with bag, labels and the place.
    """
    stamped = labels_of_paired(bag, labels, class_names, dict(class_map or {}))
    counts = Extracted()
    draft = CocoDraft(class_names)
    unlabelled: list[dict[str, Any]] = []
    with replacing_folder(out, SET_NAME, overwrite) as folder:
        (folder / "thermal").mkdir()
        if bag.rgb_topic is not None:
            (folder / "rgb").mkdir()
        if bag.valid is not None:
            (folder / _VALID_NAME).write_bytes(encode_png(bag.valid.astype(np.uint8) * 255).tobytes())
        shown = tqdm(bag.frames(), "extracting", len(bag), unit="frame", disable=None if progress else True)
        for place, frame in enumerate(shown):
            image, (height, width) = _write_pictures(bag, frame, folder, frame_name(place))
            truth = stamped.of_frame(frame.stamp_ns, (height, width))
            image |= _known(stamped.infos.get(frame.stamp_ns, FrameInfo()), truth, class_names)
            counts.frames += 1
            counts.with_rgb += "rgb_file_name" in image
            if truth is None:
                unlabelled.append(image)
                continue
            counts.labelled += 1
            counts.objects += int((~truth.ignore).sum())
            draft.add_image(image)
            draft.add_truth(truth)
        (folder / SET_NAME).write_text(draft.to_json(**{UNLABELLED: unlabelled}), encoding="utf-8")
    return counts


def _write_pictures(
    bag: PairedBag, frame: PairedFrame, folder: Path, name: str
) -> tuple[dict[str, Any], tuple[int, int]]:
    """The files of one frame; its entry in the set, and its height and width."""
    thermal = bag.thermal_frame(frame)
    height, width = thermal.height_width_px
    file_name = f"thermal/{name}.png"
    (folder / file_name).write_bytes(encode_png(thermal.image).tobytes())
    image = image_entry(file_name, (height, width), stamp_ns=frame.stamp_ns)
    rgb = bag.registered_rgb(frame)
    if rgb is not None:
        image["rgb_file_name"] = f"rgb/{name}{rgb.suffix}"
        (folder / image["rgb_file_name"]).write_bytes(rgb.encoded.tobytes())
        if bag.valid is not None:
            image["rgb_valid_file_name"] = _VALID_NAME
    return image, (height, width)


def _known(info: FrameInfo, truth: GroundTruth | None, class_names: tuple[str, ...]) -> dict[str, Any]:
    """What else is known of a frame, as the set states it."""
    known: dict[str, Any] = {key: value for key in ("light", "scene") if (value := getattr(info, key)) is not None}
    if truth is not None and truth.labelled is not None:
        known["labelled"] = [name for name, there in zip(class_names, truth.labelled, strict=True) if there]
    return known
