"""What `cgdet-replay` is asked for, what of it the node is started with, and what is played."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cgdet_core.config import settings_from_words
from cgdet_core.data.bags.frames import NO_LABELS, StampedLabels, bag_labels, is_json
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import choose_image_topic, choose_truth_topic
from cgdet_core.data.sets.coco import parse_class_map
from cgdet_core.errors import InputError
from cgdet_core.evaluation.offline import check_data
from cgdet_core.thermal import ENCODINGS
from cgdet_ros.config import DetectorConfig
from cgdet_ros.node.parameters import OF_ROS

_NAMESPACE = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*/?", re.ASCII)
# faster than the node's own period: the replay waits for its word that it sees the images
_REPORT_PERIOD_S = 0.5
_GREATEST_RATE = 1000
_EPILOG = """examples:
  cgdet-replay --bag drive.mcap --topic /thermal/image_raw --out build/replay
  cgdet-replay --bag labelled/ --lockstep --param score_threshold:=0.001   # every frame, for accuracy
  cgdet-replay --bag labelled/ --model runs/mine/model.safetensors
  cgdet-replay --bag drive/ --write-bag drive_detections

Ctrl-C ends the playing, and what was measured is written; a second one ends at once, and nothing is.

exit codes: 0 results written; 1 no frame was answered, or the node died; 2 bad input, nothing written;
130 interrupted"""


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options, by their names; class_map is a mapping here. In addition settings: the node's parameters, a
    DetectorConfig; command: what asks for this. SystemExit, after a usage message, for words that are none; InputError
    for values that cannot be."""
    parser = argparse.ArgumentParser(
        prog="cgdet-replay",
        description="Play a bag through the node in real time, and judge it.\nIt needs a bag of thermal images, and "
        "writes report.html, annotated.webm, detections.json and metrics.json.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--bag", type=Path, required=True, metavar="PATH", help="rosbag2 folder, .mcap, .db3 or .bag file")
    add("--topic", help="image topic (default: the only or the most thermal-looking one)")
    add(
        "--truth-topic",
        help="labels: a Detection2DArray topic, a COCO JSON keyed by stamp, or none (default: the topic named as "
        "labels are)",
    )
    class_map = "map a class of the labels to a class of the model or ignore, such as truck=car rider=person"
    add("--class-map", nargs="+", action="extend", default=[], metavar="NAME=CLASS", help=class_map)
    add("--model", type=Path, metavar="M", help="model file (default: the shipped one)")
    add("--device", help="auto, cpu, cuda or cuda:N (default: auto)")
    add("--rate", type=float, default=1.0, help="speed; 1 is real time by the header stamps")
    by = "time of a frame: its header stamp (default), or its record time where no driver sets the stamps"
    add("--by", choices=("stamp", "record"), default="stamp", help=by)
    lockstep = "send each frame after the answer to the one before: none is dropped"
    add("--lockstep", action="store_true", help=lockstep)
    out = "folder of the results (default: %(default)s)"
    add("--out", type=Path, default=Path("build/replay"), metavar="DIR", help=out)
    add("--limit-frames", type=int, metavar="N", help="only the first N frames")
    parameter = "a parameter of the node; may be repeated"
    add("--param", dest="parameters", action="append", default=[], metavar="NAME:=VALUE", help=parameter)
    add("--namespace", metavar="NS", help="of the node and its topics (default: one of its own)")
    add("--detector", type=Path, metavar="FILE", help="the node's executable (default: this installation's)")
    write_bag = (
        "write the detections, as the node published them, to a bag of their own (mcap), which must not exist yet"
    )
    add("--write-bag", type=Path, metavar="BAG", help=write_bag)
    add("--no-video", dest="video", action="store_false", help="write no annotated video")
    add("--verbose", action="store_true", help="show what the node prints")
    given = parser.parse_args(words)
    if not 0 < given.rate <= _GREATEST_RATE:
        parser.error(f"--rate {given.rate}: give more than 0, up to {_GREATEST_RATE}, or --lockstep")
    if given.limit_frames is not None and given.limit_frames < 1:
        parser.error(f"--limit-frames {given.limit_frames}: give 1 or more")
    for word in given.parameters:
        if ":=" not in word:
            parser.error(f"--param '{word}': give name:=value, such as score_threshold:=0.3")
    if given.namespace is not None and not _NAMESPACE.fullmatch(given.namespace):
        parser.error(f"--namespace '{given.namespace}': give letters, digits and _, with / between, such as /front")
    own = {} if given.model is None else {"model": str(given.model.absolute())}
    if given.device is not None:
        own["device"] = given.device
    of_node = [word.replace(":=", "=", 1) for word in given.parameters if not word.startswith(OF_ROS)]
    given.settings = settings_from_words(DetectorConfig, of_node, "--param", own)
    given.class_map = parse_class_map(given.class_map)
    given.command = shlex.join(["cgdet-replay", *(sys.argv[1:] if words is None else words)])
    return given


def node_arguments(request: argparse.Namespace, namespace: str, image_topic: str) -> list[str]:
    """The ROS arguments of the node's process."""
    # that images are waited for is the replay's business; who wants it told gives another
    given = ["diagnostics.image_timeout_s:=0.0", "diagnostics.image_error_s:=0.0", *request.parameters]
    # quoted: ROS reads values as YAML, to which ' #' begins a comment and ': ' a mapping
    own = {name: json.dumps(getattr(request.settings, name), ensure_ascii=False) for name in ("model", "device")}
    given += [f"{name}:={text}" for name, text in own.items()]
    # the replay waits for the node's word that it is active, or why not; the stream is reliable on both ends, so that
    # nothing is lost on the way but what a newer frame replaces there
    given += [
        "autostart:=true",
        f"diagnostics.period_s:={_REPORT_PERIOD_S}",
        f"qos_overrides.{image_topic}.subscription.reliability:=reliable",
    ]
    words = ["-r", f"__ns:={namespace}", "-r", f"image:={image_topic}"]
    return [*words, *(word for each in given for word in ("-p", each))]


@dataclass(frozen=True)
class Recording:
    """What is played: images of `topic`, `total` of them, and the topic of the labels, or their COCO JSON. warnings:
    what was noticed about it."""

    topic: str
    truth_topic: str | None
    total: int
    warnings: tuple[str, ...] = ()


def find_recording(request: argparse.Namespace) -> Recording:
    """What is to be played. InputError for a bag, topic or encoding that is none."""
    warnings: list[str] = []
    with BagReader(request.bag) as bag:
        topic = choose_image_topic(bag, request.topic)
        truth_topic = request.truth_topic
        if truth_topic == "none":
            truth_topic = None
        elif truth_topic is not None and is_json(truth_topic):
            check_data(Path(truth_topic))
        else:
            try:
                truth_topic = choose_truth_topic(bag, truth_topic)
            except InputError as error:
                if truth_topic is not None:
                    raise
                # a topic that nobody named is a guess: where it cannot be made, the replay goes on without accuracy
                warnings.append(f"no accuracy: {error}, with --truth-topic")
        if request.class_map and truth_topic is None:
            raise InputError(f"--class-map is of labels, and none of {bag.path} are read: leave it out, or name them")
        # an encoding that the node refuses is mostly that of all
        image = bag.first_image(topic)
        if image.compressed_format is None and image.encoding not in ENCODINGS:
            raise InputError(
                f"{bag.path}: {topic}, image of stamp {image.stamp_ns} ns: encoding '{image.encoding}' is not "
                f"supported: choose a --topic with one of {', '.join(ENCODINGS)}"
            )
        total = min(bag.topics[topic].count, request.limit_frames or sys.maxsize)
    return Recording(topic, truth_topic, total, tuple(warnings))


def read_labels(request: argparse.Namespace, recording: Recording, class_names: tuple[str, ...]) -> StampedLabels:
    """InputError for labels that are none, or of other classes."""
    if recording.truth_topic is None:
        return NO_LABELS
    with BagReader(request.bag, request.by) as bag:
        return bag_labels(bag, recording.truth_topic, class_names, request.class_map)
