"""A bag's frames as a COCO set: lossless thermal pictures, registered RGB beside them, labels.

`set.json` lists the labelled frames alone as `images`; the others, which are not empty but unknown, stand under
`unlabelled_images`. Frames are numbered in their order, so that blocks of 50 numbers are stretches of time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import warnings
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from cgdet_core.config import SourceConfig
from cgdet_core.data.bags.damage import BagWarning
from cgdet_core.data.bags.fleet import Bag, bags_in, each_bag, key_of
from cgdet_core.data.bags.frames import UNLABELLED, bag_labels, is_json, label_classes
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.remote import files_below, is_url, local, place_in
from cgdet_core.data.bags.truth import FrameInfo
from cgdet_core.data.registration.pairs import PairedBag, PairedFrame, open_paired
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.errors import InputError
from cgdet_core.files import make_folder, replacing_folder
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
        sizes: dict[int, tuple[int, int]] = {}
        frames = tqdm(bag.frames(), "extracting", len(bag), unit="frame", disable=None)
        for place, frame in enumerate(frames):
            info = stamped.infos.get(frame.stamp_ns, FrameInfo())
            image = _write_pictures(bag, frame, folder, f"{place:06d}", info)
            sizes[frame.stamp_ns] = image["height"], image["width"]
            truth = stamped.of_frame(frame.stamp_ns, sizes[frame.stamp_ns])
            if truth is not None and truth.labelled is not None:
                image["labelled"] = np.array(class_names)[truth.labelled].tolist()
            if truth is None:
                unlabelled.append(image)
                continue
            draft.add_image(image)
            draft.add_truth(truth)
        stamped.check_boxes(sizes)
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


def extracted_sets(
    config: SourceConfig, folder: Path, class_names: tuple[str, ...], with_rgb: bool, cache: Path
) -> list[Path]:
    """The set.json of each of a recipe's bags, extracted into a folder of `cache` unless it lies there already.

    Relative paths are taken from `folder`. Of several bags, one that fails is told as a warning. InputError as
    `open_paired` and `extract_bag`, and where no bag is left.
    """
    make_folder(cache)
    bags = bags_in([place_in(folder, config.path)])
    given = {key: getattr(config, key) for key in _OF_EXTRACTION}
    if config.registration is not None:
        given["registration"] = place_in(folder, config.registration)
    labels = place_in(folder, config.labels or "")
    if config.labels and (is_json(labels) or is_url(labels) or Path(labels).is_dir()):
        given["labels"] = labels  # else a topic
    settings = Namespace(**given, class_names=class_names, with_rgb=with_rgb, cache=cache)
    outcomes = dict(tqdm(each_bag(_extracted_once, settings, bags), "bags", len(bags), disable=len(bags) == 1 or None))
    errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
    if len(errors) == len(bags):
        raise errors[0]
    for error in errors:
        warnings.warn(f"left out: {error}", BagWarning, stacklevel=2)
    return [outcomes[bag].result for bag in bags if outcomes[bag].error is None]


def _extracted_once(settings: Namespace, path: Path, bag: Bag) -> tuple[str, Path]:
    """The folder's name is of all that the set depends on. Processes that ask for it at once wait for the first."""
    key = key_of(settings, bag)[:16]
    extracted = settings.cache / f"{path.stem}-{key}"
    with (settings.cache / f".{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (extracted / SET_NAME).is_file():
            labels = settings.labels and bag.own(settings.labels)
            how = settings.image_topic, settings.rgb_topic, settings.registration, settings.with_rgb
            paired = open_paired(path, *how, settings.every, settings.by)
            extract_bag(paired, extracted, labels, settings.class_names, settings.class_map, need_labels=True)
    return "", extracted / SET_NAME


def copied_set(place: str, cache: Path | None) -> Path:
    """The JSON of a set; one in object storage is copied with its folder, once, into a folder of `cache`."""
    if cache is None or not is_url(place):
        return Path(place)
    folder, _, name = place.rpartition("/")
    key = hashlib.sha256(json.dumps(sorted(files_below(folder).items())).encode()).hexdigest()[:16]
    make_folder(cache)
    with (cache / f".{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / key / name).is_file():
            with local(folder) as copied, replacing_folder(cache / key, name) as out:
                shutil.copytree(copied, out, dirs_exist_ok=True)
    return cache / key / name
