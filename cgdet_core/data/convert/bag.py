"""A bag's frames as a COCO set: lossless thermal pictures, registered RGB beside them, labels.

`set.json` lists the labelled frames alone as `images`; the others, which are not empty but unknown, stand under
`unlabelled_images`. Frames are numbered in their order, so that blocks of 50 numbers are stretches of time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from cgdet_core import __version__
from cgdet_core.config import SourceConfig
from cgdet_core.data.bags.frames import UNLABELLED, bag_labels, is_json, label_classes
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.truth import FrameInfo
from cgdet_core.data.registration.homography import load_registration
from cgdet_core.data.registration.pairs import PairedBag, PairedFrame, open_paired
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.errors import InputError
from cgdet_core.files import make_folder, replacing_folder, sha256_of
from cgdet_core.images import encode_png

SET_NAME = "set.json"
_VALID_NAME = "rgb_valid.png"
_OF_EXTRACTION = {"image_topic", "rgb_topic", "labels", "registration", "every", "by", "class_map"}


class Extracted(NamedTuple):
    """How many frames were written: all, labelled ones, those with RGB; objects: of all labels."""

    frames: int
    labelled: int
    with_rgb: int
    objects: int


def extract_bag(
    bag: PairedBag,
    out: Path,
    labels: str | None = None,
    class_names: tuple[str, ...] | None = None,
    class_map: Mapping[str, str] | None = None,
    overwrite: bool = False,
    need_labels: bool = False,
) -> Extracted:
    """Write the frames that `bag` gives to the folder `out`, whole or not at all.

    labels: a topic, or a COCO JSON keyed by stamp; None: the bag's own topic of labels, if it has any. class_names: the
    set's categories; None: those of the labels. InputError for anything wrong with bag, labels and the place, labels
    that fit none of the frames, and, with need_labels, a bag without any.
    """
    with BagReader(bag.path, bag.by) as reader:
        class_names = class_names or label_classes(reader, labels, class_map or {})
        stamped = bag_labels(reader, labels, class_names, class_map)
    stamped.check_stamps(bag.thermal_stamps_ns, bag.thermal_topic)
    if need_labels and not any(stamp in stamped.truth for stamp in bag.stamps_ns):
        raise InputError(
            f"{bag.path}: none of the {len(bag)} frames of {bag.thermal_topic} has labels: run `cgdet bag label` and "
            "name its file as the labels"
        )
    draft = CocoDraft(class_names)
    unlabelled: list[dict[str, Any]] = []
    with replacing_folder(out, SET_NAME, overwrite) as folder:
        (folder / "thermal").mkdir()
        if bag.rgb_topic is not None:
            (folder / "rgb").mkdir()
        if bag.valid is not None:
            (folder / _VALID_NAME).write_bytes(encode_png(bag.valid.astype(np.uint8) * 255))
        frames = tqdm(bag.frames(), "extracting", len(bag), unit="frame", disable=None)
        for place, frame in enumerate(frames):
            info = stamped.infos.get(frame.stamp_ns, FrameInfo())
            image = _write_pictures(bag, frame, folder, f"{place:06d}", info)
            truth = stamped.of_frame(frame.stamp_ns, (image["height"], image["width"]))
            if truth is not None and truth.labelled is not None:
                image["labelled"] = np.array(class_names)[truth.labelled].tolist()
            if truth is None:
                unlabelled.append(image)
                continue
            draft.add_image(image)
            draft.add_truth(truth)
        (folder / SET_NAME).write_text(draft.to_json(**{UNLABELLED: unlabelled}), encoding="utf-8")
    objects = sum(not box["iscrowd"] for box in draft.annotations)
    with_rgb = sum("rgb_file_name" in image for image in [*draft.images, *unlabelled])
    return Extracted(len(bag), len(draft.images), with_rgb, objects)


def _write_pictures(bag: PairedBag, frame: PairedFrame, folder: Path, name: str, info: FrameInfo) -> dict[str, Any]:
    """The files of one frame; its entry in the set."""
    thermal = bag.thermal_frame(frame)
    file_name = f"thermal/{name}.png"
    (folder / file_name).write_bytes(encode_png(thermal.image))
    stated = {"stamp_ns": frame.stamp_ns, "light": info.light, "scene": info.scene}
    image = image_entry(file_name, thermal.height_width_px, **stated)
    rgb = bag.registered_rgb(frame)
    if rgb is not None:
        suffix, encoded = rgb
        image["rgb_file_name"] = f"rgb/{name}{suffix}"
        (folder / image["rgb_file_name"]).write_bytes(encoded)
        if bag.valid is not None:
            image["rgb_valid_file_name"] = _VALID_NAME
    return image


def extracted_once(
    config: SourceConfig, folder: Path, class_names: tuple[str, ...], with_rgb: bool, cache: Path
) -> Path:
    """The set.json of a recipe's bag, extracted into a folder of `cache` unless it lies there already.

    Its name is of all that the set depends on. Relative paths are taken from `folder`. Processes that ask for the same
    set at once wait for the first. InputError as `open_paired` and `extract_bag`, and for a bag without labels.
    """
    bag = folder / config.path
    labels = str(folder / config.labels) if config.labels is not None and is_json(config.labels) else config.labels
    registration = None if config.registration is None else folder / config.registration
    files = [Path(path) for path in (registration, labels if is_json(labels) else None) if path is not None]
    parts = [bag] if bag.is_file() else sorted(path for path in bag.iterdir() if path.is_file())
    identity = {
        "cgdet": __version__,
        "bag": [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in parts],
        "source": config.model_dump(mode="json", include=_OF_EXTRACTION),
        "files": [sha256_of(path) for path in files if path.is_file()],
        "classes": class_names,
        "rgb": with_rgb,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    extracted = cache / f"{bag.stem}-{key}"
    make_folder(cache)
    with (cache / f".{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (extracted / SET_NAME).is_file():
            found = load_registration(registration) if registration is not None and with_rgb else None
            paired = open_paired(bag, config.image_topic, config.rgb_topic, found, with_rgb, config.every, config.by)
            extract_bag(paired, extracted, labels, class_names, config.class_map, need_labels=True)
    return extracted / SET_NAME
