"""A bag as a training source: its labelled frames, streamed once, and their registered RGB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cgdet_core.config import SourceConfig
from cgdet_core.data.bags.labels import StampedLabels, is_json
from cgdet_core.data.bags.truth import FrameInfo
from cgdet_core.data.convert.bag import frame_name, labels_of_paired
from cgdet_core.data.registration.homography import load_registration
from cgdet_core.data.registration.pairs import PairedBag, open_paired
from cgdet_core.data.sets.coco import CocoRecord, CocoSet
from cgdet_core.data.sets.rgb_partner import RgbPartner
from cgdet_core.errors import InputError


@dataclass(frozen=True)
class BagSource:
    """A bag, looked through; its frames are numbered and named as `cgdet bag extract` would name their files."""

    bag: PairedBag
    labels: StampedLabels

    def records(self, class_names: tuple[str, ...]) -> CocoSet:
        """The labelled frames, without their pixels (height_width_px (0, 0)). InputError where there is none."""
        bag, records = self.bag, []
        paired = set() if bag.pairs is None else set(bag.pairs.thermal_index)
        for place, number in enumerate(range(0, len(bag) * bag.every, bag.every)):
            stamp_ns = bag.thermal_stamps_ns[number]
            truth = self.labels.truth.get(stamp_ns)
            if truth is None or (truth.labelled is not None and not truth.labelled.any()):
                continue
            info = self.labels.infos.get(stamp_ns, FrameInfo())
            name = f"thermal/{frame_name(place)}.png"
            rgb_path = bag.path / f"rgb@{stamp_ns}" if number in paired else None
            records.append(CocoRecord(place, name, bag.path, (0, 0), truth, rgb_path, info.light, info.scene))
        if not records:
            raise InputError(
                f"{bag.path}: none of its {len(bag)} frames of {bag.thermal_topic} is labelled: label them with "
                "`cgdet bag label` and name its file under the source's labels"
            )
        return CocoSet(bag.path, class_names, tuple(records))

    def stream(self, chosen: dict[int, CocoRecord], with_rgb: bool) -> Iterator[tuple[CocoRecord, RgbPartner | None]]:
        """The chosen frames (place -> record) with their pixels, in order; InputError for one that cannot be read."""
        for place, frame in enumerate(self.bag.frames()):
            if place not in chosen:
                continue
            thermal = self.bag.thermal_frame(frame)
            size = thermal.height_width_px
            self.labels.of_frame(frame.stamp_ns, size)
            rgb = self.bag.registered_rgb(frame) if with_rgb else None
            partner = None
            if rgb is not None:
                partner = RgbPartner(
                    rgb.encoded, Path(f"{self.bag.path}: {frame.stamp_ns}{rgb.suffix}"), size, self.bag.valid
                )
            yield replace(chosen[place], height_width_px=size, pixels=thermal.image), partner


def open_bag_source(config: SourceConfig, folder: Path, class_names: tuple[str, ...], with_rgb: bool) -> BagSource:
    """Look through the bag that a source names; relative paths are taken from `folder`.

    InputError for anything wrong with bag, topics, labels and registration.
    """
    labels = config.labels
    if labels is not None and is_json(labels):
        labels = str(folder / labels)
    registration = None if config.registration is None else load_registration(folder / config.registration)
    bag = open_paired(
        folder / config.path,
        config.image_topic,
        config.rgb_topic,
        registration if with_rgb else None,
        with_rgb,
        config.every,
    )
    return BagSource(bag, labels_of_paired(bag, labels, class_names, config.class_map))
