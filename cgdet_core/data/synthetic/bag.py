"""Bags with labels: of the synthetic street, and of a COCO set."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.bags.truth import FrameInfo
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.data.sets.coco import load_coco
from cgdet_core.data.sets.coco_file import own_classes, read_coco
from cgdet_core.data.synthetic.street import SyntheticStreet
from cgdet_core.errors import InputError
from cgdet_core.images import encode_jpeg
from cgdet_core.thermal import to_grey
from cgdet_core.types import CLASS_NAMES, NANOSECONDS, Sample

THERMAL_TOPIC, THERMAL_FRAME_ID = "/thermal/image_raw", "thermal_camera"
RGB_TOPIC, RGB_FRAME_ID = "/rgb/image_raw", "rgb_camera"
TRUTH_TOPIC = "/ground_truth"
START_STAMP_NS = 1_700_000_000_000_000_000
JPEG_QUALITY = 90
_SEED_BLOCK = 1000
_STREET = SyntheticConfig()
COCO_FRAMES_PER_SECOND = 5.0
_PICTURE_FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}


def make_synthetic_bag(
    out: Path | str, config: SyntheticConfig = _STREET, *, seed: int = 0, overwrite: bool = False
) -> int:
    """A paired RGB/thermal bag of the synthetic street with its ground truth; the number of frames.

    Longer than config.seconds_per_scene it goes on in another street, of the next seed within the seed's block of 1000;
    light "mixed" is night and day in turns then. InputError as of BagWriter.
    """
    rate = config.frames_per_second
    if seed < 0:
        raise InputError(f"seed {seed} is negative: give 0 or more")
    frames, per_scene = max(1, round(config.seconds * rate)), max(1, round(config.seconds_per_scene * rate))

    with BagWriter(out, overwrite) as bag:
        for index, stamp_ns in enumerate(_stamps(frames, rate)):
            scene, frame = divmod(index, per_scene)
            if frame == 0:
                light = ("night", "day")[scene % 2] if config.light == "mixed" and frames > per_scene else config.light
                scene_seed = seed - seed % _SEED_BLOCK + (seed + scene) % _SEED_BLOCK
                rendered = SyntheticStreet(scene_seed, config.model_copy(update={"light": light}))
            sample = rendered.sample(frame)
            write_sample(bag, sample, stamp_ns, CLASS_NAMES, config.with_rgb)
            size, focal_px = sample.frame.height_width_px, rendered.camera(0.0).focal_px
            bag.camera_info("/thermal/camera_info", focal_px, size, stamp_ns, THERMAL_FRAME_ID)
            if config.with_rgb:
                bag.camera_info("/rgb/camera_info", focal_px, size, stamp_ns, RGB_FRAME_ID)
    return frames


def make_coco_bag(
    out: Path | str,
    coco_json: Path | str,
    *,
    frames_per_second: float = COCO_FRAMES_PER_SECOND,
    class_map: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> int:
    """A bag of a COCO set, in the set's order; the number of frames. Classes are kept by their names; pictures as mono8
    or mono16, an RGB partner as the very file where it is a JPEG or PNG. InputError as of load_coco and BagWriter."""
    with BagWriter(out, overwrite) as bag:
        names = [category.name for category in read_coco(Path(coco_json)).categories]
        coco = load_coco(Path(coco_json), own_classes(names, class_map or {}, str(coco_json)), class_map)
        for line in coco.warnings:
            warnings.warn(line, stacklevel=2)
        for index, stamp_ns in enumerate(_stamps(len(coco), frames_per_second)):
            picture, sample = coco.records[index].rgb_path, coco.sample(index, with_rgb=True)
            form = None if picture is None else _PICTURE_FORMATS.get(picture.suffix.lower())
            write_sample(bag, sample, stamp_ns, coco.class_names, with_rgb=form is None)
            if picture is not None and form is not None:
                topic = f"{RGB_TOPIC}/compressed"
                bag.compressed_image(topic, picture.read_bytes(), form, stamp_ns, RGB_FRAME_ID)
    return len(coco)


def _stamps(frames: int, rate_hz: float) -> Iterator[int]:
    for index in tqdm(range(frames), unit="frame", disable=None):
        yield START_STAMP_NS + round(index * NANOSECONDS / rate_hz)


def write_sample(bag: BagWriter, sample: Sample, stamp_ns: int, class_names: tuple[str, ...], with_rgb: bool) -> None:
    """The thermal image, its labels and, with_rgb, its partner as a JPEG; all of one stamp."""
    bag.image(THERMAL_TOPIC, to_grey(sample.frame.image), stamp_ns, THERMAL_FRAME_ID)
    if sample.rgb is not None and with_rgb:
        data = encode_jpeg(sample.rgb, JPEG_QUALITY)
        bag.compressed_image(f"{RGB_TOPIC}/compressed", data, "jpeg", stamp_ns, RGB_FRAME_ID)
    if sample.truth is not None:
        known = sample.truth.labelled
        names = None if known is None else tuple(np.array(class_names)[known].tolist())
        if class_names != CLASS_NAMES and names is None:
            names = class_names  # the bag alone says which there are, and their order
        info = FrameInfo(sample.name, sample.light, sample.scene, names)
        bag.truth(TRUTH_TOPIC, sample.truth, class_names, stamp_ns, THERMAL_FRAME_ID, info)
