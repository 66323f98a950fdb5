"""Which topic of a bag holds the thermal images, and which the labels."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from cgdet_core.data.bags.messages import DETECTIONS, IMAGE, IMAGE_TYPES
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.errors import InputError
from cgdet_core.thermal import ENCODINGS

_THERMAL_WORD = re.compile(r"(thermal|lwir|mwir|flir|infrared|boson|lepton)\w*|ir\d*")
_COLOUR_WORD = re.compile(r"(rgb|colou?r|visible)\w*")
_DRAWN_WORD = re.compile(r"(overlay|annotated|debug|preview)\w*")
_TRUTH_WORD = re.compile(r"truth\w*|groundtruth|gt|labels?|labelled|annotations?")
_DETECTED_WORD = re.compile(r"(detect|predict|result|inference)\w*")
_LISTED_CHARACTERS = 40


def camera_info_topic(image_topic: str) -> str:
    """Where a driver publishes the CameraInfo of an image topic: beside it, as image_transport's parts are."""
    words = image_topic.split("/")
    return "/".join([*words[: -2 if words[-1] in ("compressed", "compressedDepth") else -1], "camera_info"])


def choose_image_topic(bag: BagReader, topic: str | None = None) -> str:
    """The image topic to detect on: `topic`, or the only or the best thermal candidate.

    A name with a word such as thermal, lwir, ir or flir goes before one without and that before one
    with rgb or colour; 16-bit grey before 8-bit grey before colour; Image before CompressedImage. InputError where
    `topic` is no image topic, and where none or several are the best.
    """
    names = _image_topics(bag)
    if topic is not None:
        if not bag.topic(topic, "image topic", IMAGE_TYPES).count:
            raise InputError(f"{bag.path}: topic '{topic}' holds no message: give one of {bag.listing(names)}")
        return topic
    pixels = {name: _pixels(bag, name) for name in names}
    passed_over = [f"{name} ({why})" for name, why in pixels.items() if isinstance(why, str)]
    ranked = {
        name: (_thermal_rank(name), sum(found), bag.topics[name].type == IMAGE)
        for name, found in pixels.items()
        if not isinstance(found, str)
    }
    if passed_over and not ranked:
        raise InputError(
            f"{bag.path}: no image topic can be read: {', '.join(passed_over)}: record {', '.join(ENCODINGS)}, JPEG "
            "or PNG"
        )
    best = _best(bag, ranked, "thermal")
    if best is None:
        raise InputError(f"{bag.path}: has no image topic, only {bag.listing()}: give a bag with {IMAGE}")
    return best


def _pixels(bag: BagReader, name: str) -> tuple[bool, bool] | str:
    """Whether the topic's first image is grey, and of 16 bits; or why its images cannot be read."""
    if not bag.topics[name].count:
        return "0 messages"
    image = bag.first_image(name)
    if image.compressed_format is None:
        if image.encoding not in ENCODINGS:
            return f"encoding {image.encoding[:_LISTED_CHARACTERS]!r}"
        kind, channels = ENCODINGS[image.encoding]
        return channels == 1, kind == "u2"
    try:
        pixels = image.decode()
    except InputError:  # a format that cgdet does not read is no candidate, as an encoding is none
        return f"compressed as {image.compressed_format[:_LISTED_CHARACTERS]!r}, cannot be decoded"
    return pixels.ndim == 2, pixels.dtype == np.uint16


def _image_topics(bag: BagReader) -> list[str]:
    return [topic.name for topic in bag.topics.values() if topic.type in IMAGE_TYPES]


def _thermal_rank(name: str) -> int:
    ranks = ((_DRAWN_WORD, 0), (_THERMAL_WORD, 3), (_COLOUR_WORD, 1))
    return next((rank for pattern, rank in ranks if _named(pattern, name)), 2)


def _best(bag: BagReader, ranked: Mapping[str, tuple[int, ...]], what: str) -> str | None:
    """The topic of the highest rank, None without any; InputError where several have it."""
    best = [name for name, rank in ranked.items() if rank == max(ranked.values())]
    if len(best) > 1:
        raise InputError(f"{bag.path}: has several {what} image topics: name one of {bag.listing(best)}")
    return best[0] if best else None


def _named(pattern: re.Pattern[str], name: str) -> bool:
    """Whether a word of the topic's name is of the pattern."""
    words = re.split("[-/_]", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower())
    return any(map(pattern.fullmatch, words))


def choose_rgb_topic(bag: BagReader, thermal_topic: str, topic: str | None = None) -> str | None:
    """The RGB camera's image topic beside the thermal one: `topic`, or the best candidate; None without one.

    Only topics in colour that are not named as drawn on (overlay, debug) are candidates; a name with rgb, colour or
    visible goes before one without, Image before CompressedImage. InputError where `topic` is no image topic, is the
    thermal one or holds no message, or several are the best.
    """
    if topic is not None:
        if topic == thermal_topic:
            raise InputError(f"{bag.path}: '{topic}' is the thermal topic: give another one as RGB")
        return choose_image_topic(bag, topic)
    names = [name for name in _image_topics(bag) if name != thermal_topic and not _named(_DRAWN_WORD, name)]
    colour = [name for name in names if not isinstance(pixels := _pixels(bag, name), str) and not pixels[0]]
    ranked = {name: (_named(_COLOUR_WORD, name), bag.topics[name].type == IMAGE) for name in colour}
    return _best(bag, ranked, "RGB")


def choose_truth_topic(bag: BagReader, topic: str | None = None) -> str | None:
    """The topic with the labels: `topic`, or the one Detection2DArray topic named as labels are; None without one.

    A topic named like a detector's output (detections, predictions) is never taken for labels unless `topic` names it.
    InputError where several may be, or `topic` is of another type.
    """
    if topic is not None:
        return bag.topic(topic, "topic of labels", (DETECTIONS,)).name
    names = [found.name for found in bag.topics.values() if found.type == DETECTIONS]
    named = [name for name in names if named_as_labels(name)]
    candidates = named or [name for name in names if not _named(_DETECTED_WORD, name)]
    if len(candidates) > 1:
        raise InputError(f"{bag.path}: has several topics of labels: name one of {', '.join(candidates)}")
    return candidates[0] if candidates else None


def named_as_labels(topic: str) -> bool:
    """Whether the name says labels, which nobody detected."""
    return _named(_TRUTH_WORD, topic)
