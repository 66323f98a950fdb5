"""What is asked of a replay: the words of `cgdet-replay` as a value, and what of them the node is started with."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cgdet_core.data.bags.frames import NO_LABELS, StampedLabels, bag_labels, is_json
from cgdet_core.data.bags.messages import TimeBy
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import choose_image_topic, choose_truth_topic
from cgdet_core.data.sets.coco import parse_class_map
from cgdet_core.errors import InputError
from cgdet_core.evaluation.offline import check_data
from cgdet_core.thermal import ENCODINGS
from cgdet_ros.config import DetectorConfig
from cgdet_ros.node.parameters import check_names

_PARAMETER = re.compile(r"^[A-Za-z_][\w./]*:=.+$")
_NAMESPACE = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*/?", re.ASCII)
# faster than the node's own period: the replay waits for its word that it sees the images
_REPORT_PERIOD_S = 0.5
_GREATEST_RATE = 1000
_EPILOG = """examples:
  cgdet-replay --bag drive.mcap --topic /thermal/image_raw --out build/replay
  cgdet-replay --bag labelled/ --lockstep --param score_threshold:=0.001   # every frame, for accuracy
  cgdet-replay --bag labelled/ --model runs/mine/model.safetensors
  cgdet-replay --bag drive/ --write-bag drive_detections

ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE are obeyed where they are set; else the replay takes a free
domain on this machine only.

Ctrl-C ends the playing, and what was measured is written; a second one ends at once, and nothing is.

exit codes: 0 results written; 1 no frame was answered, or the node died; 2 bad input, nothing written;
130 interrupted"""


@dataclass(frozen=True)
class ReplayRequest:
    """by: what counts as a frame's stamp. topic, truth_topic: None where the bag is to say; truth_topic "none": no
    labels. model: None: the shipped one; detector: the node's executable, None: the installed one. parameters: of the
    node, each `name:=value`. limit_frames: only so many. namespace: of the node and its topics, None: one of its own.
    command: what asks for this.
    """

    bag: Path
    out: Path
    rate: float
    by: TimeBy
    topic: str | None
    truth_topic: str | None
    class_map: Mapping[str, str]
    model: Path | None
    device: str | None
    lockstep: bool
    limit_frames: int | None
    parameters: tuple[str, ...]
    namespace: str | None
    detector: Path | None
    write_bag: Path | None
    video: bool
    verbose: bool
    command: str

    def node_arguments(self, namespace: str, image_topic: str) -> list[str]:
        """The ROS arguments of the node's process."""
        # that images are waited for is the replay's business; who wants it told gives another
        given = ["diagnostics.image_timeout_s:=0.0", "diagnostics.image_error_s:=0.0", *self.parameters]
        if self.model is not None:
            given.append(f"model:={_yaml_text(str(self.model.absolute()))}")
        if self.device is not None:
            given.append(f"device:={_yaml_text(self.device)}")
        # the replay drives the lifecycle, and is told why where it fails; the stream is reliable on both ends, so that
        # nothing is lost on the way but what a newer frame replaces there
        given += [
            "autostart:=false",
            f"diagnostics.period_s:={_REPORT_PERIOD_S}",
            f"qos_overrides.{image_topic}.subscription.reliability:=reliable",
        ]
        words = ["-r", f"__ns:={namespace}", "-r", f"image:={image_topic}"]
        for parameter in given:
            words += ["-p", parameter]
        return words


def parse(words: Sequence[str] | None) -> ReplayRequest:
    """SystemExit, after a usage message, for words that are none; InputError for values that cannot be."""
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
    add("--rate", type=float, default=1.0, help="speed; 1 is real time by the header stamps; 0: --lockstep")
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
    add("--detector", type=Path, metavar="FILE", help="the node's executable (default: the installed one)")
    write_bag = (
        "write the detections, as the node published them, to a bag of their own (mcap), which must not exist yet"
    )
    add("--write-bag", type=Path, metavar="BAG", help=write_bag)
    add("--no-video", dest="video", action="store_false", help="write no annotated video")
    add("--verbose", action="store_true", help="show what the node prints")
    # `ros2 run` and launch add --ros-args: they are the node's business, not the replay's
    own = _without_ros_arguments(sys.argv[1:] if words is None else list(words))
    given = parser.parse_args(own)
    if not 0 <= given.rate <= _GREATEST_RATE:
        parser.error(f"--rate {given.rate}: give 0 to {_GREATEST_RATE}")
    if given.limit_frames is not None and given.limit_frames < 1:
        parser.error(f"--limit-frames {given.limit_frames}: give 1 or more")
    for word in given.parameters:
        if not _PARAMETER.match(word):
            parser.error(f"--param '{word}': give name:=value, such as score_threshold:=0.3")
    if given.namespace is not None and not _NAMESPACE.fullmatch(given.namespace):
        parser.error(f"--namespace '{given.namespace}': give letters, digits and _, with / between, such as /front")
    check_names(DetectorConfig, (word.partition(":=")[0] for word in given.parameters))
    checked = {
        "rate": given.rate or 1.0,
        "lockstep": given.lockstep or given.rate == 0,
        "class_map": parse_class_map(given.class_map),
        "parameters": tuple(given.parameters),
    }
    return ReplayRequest(**{**vars(given), **checked}, command=shlex.join(["cgdet-replay", *own]))


def _without_ros_arguments(words: list[str]) -> list[str]:
    # rclpy's own way takes the value of --param for a remapping
    if "--ros-args" not in words:
        return words
    start = words.index("--ros-args")
    end = words.index("--", start) if "--" in words[start:] else len(words) - 1
    return words[:start] + words[end + 1 :]


def _yaml_text(text: str) -> str:
    """Quoted: ROS reads values as YAML, to which ' #' begins a comment and ': ' a mapping."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Recording:
    """What is played: images of `topic`, `total` of them, and the topic of the labels, or their COCO JSON. warnings:
    what was noticed about it."""

    topic: str
    truth_topic: str | None
    total: int
    warnings: tuple[str, ...] = ()


def find_recording(request: ReplayRequest) -> Recording:
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


def read_labels(request: ReplayRequest, recording: Recording, class_names: tuple[str, ...]) -> StampedLabels:
    """InputError for labels that are none, or of other classes."""
    if recording.truth_topic is None:
        return NO_LABELS
    with BagReader(request.bag, request.by) as bag:
        return bag_labels(bag, recording.truth_topic, class_names, request.class_map)
