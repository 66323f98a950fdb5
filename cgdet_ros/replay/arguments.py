"""The words of `cgdet-replay`, and what of them the node is started with."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from cgdet_ros.config import ReplayConfig

_PARAMETER = re.compile(r"^[A-Za-z_][\w./]*:=.+$")
_NAMESPACE = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*/?", re.ASCII)
# faster than the node's own period: the replay waits for its word that it sees the images
_REPORT_PERIOD_S = 0.5
MOST_MODELS = 2


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cgdet-replay",
        description="Replay a bag's thermal images in real time through the installed node, as a process of its own, "
        "over DDS, and every frame offline beside it; write report.html, annotated.webm, detections.json, frames.csv "
        "and metrics.json.",
        epilog="examples:\n"
        "  cgdet-replay --bag drive.mcap --topic /thermal/image_raw --out build/replay\n"
        "  cgdet-replay --bag labelled/ --lockstep --param score_threshold:=0.001   # every frame, for accuracy\n"
        "  cgdet-replay --bag labelled/ --model models/detector.safetensors runs/mine/model.safetensors\n"
        "  cgdet-replay --bag drive/ --write-bag drive_detections\n\n"
        "ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE are obeyed where they are set; else the replay takes a free\n"
        "domain on this machine only.\n\n"
        "Ctrl-C ends the playing, and what was measured is written; a second one ends at once, and nothing is.\n\n"
        "exit codes: 0 results written; 1 results written, but no frame was answered or the node died;\n"
        "2 nothing written; 130 interrupted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = ReplayConfig()
    parser.add_argument(
        "--bag", type=Path, required=True, metavar="PATH", help="rosbag2 folder, .mcap, .db3 or .bag file"
    )
    parser.add_argument("--topic", help="image topic (default: the only or the most thermal-looking one)")
    parser.add_argument(
        "--truth-topic",
        help="labels: a Detection2DArray topic, a COCO JSON keyed by stamp, or none (default: the topic named as "
        "labels are)",
    )
    parser.add_argument(
        "--class-map",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=CLASS",
        help="class in the labels = class of the model, or =ignore, such as truck=car rider=person",
    )
    parser.add_argument(
        "--model",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="M",
        help="model file (default: the shipped one); two: one after the other, compared in one report",
    )
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--rate", type=float, default=defaults.rate, help="speed; 1 is real time by the header stamps; 0: --lockstep"
    )
    parser.add_argument(
        "--lockstep", action="store_true", help="send each frame after the answer to the one before: none is dropped"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/replay"),
        metavar="DIR",
        help="folder of the results (default: %(default)s)",
    )
    parser.add_argument("--limit-frames", type=int, metavar="N", help="only the first N frames")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME:=VALUE", help="a parameter of the node; may be repeated"
    )
    parser.add_argument("--namespace", metavar="NS", help="of the node and its topics (default: one of its own)")
    parser.add_argument("--detector", metavar="FILE", help="the node's executable (default: the installed one)")
    parser.add_argument(
        "--write-bag",
        type=Path,
        metavar="BAG",
        help="write the detections, as the node published them, to a bag of their own (mcap), which must not exist yet",
    )
    parser.add_argument(
        "--no-offline", action="store_true", help="do not run every frame offline afterwards, to compare with"
    )
    parser.add_argument("--no-video", action="store_true", help="write no annotated video")
    parser.add_argument("--verbose", action="store_true", help="show what the node prints")
    # `ros2 run` and launch add --ros-args: they are the node's business, not the replay's
    arguments = parser.parse_args(_without_ros_arguments(sys.argv[1:] if words is None else list(words)))
    arguments.written = False
    if len(arguments.model) > MOST_MODELS:
        parser.error(f"--model: {len(arguments.model)} models are given: one, or two to compare")
    if arguments.limit_frames is not None and arguments.limit_frames < 1:
        parser.error(f"--limit-frames {arguments.limit_frames}: give 1 or more")
    for word in arguments.param:
        if not _PARAMETER.match(word):
            parser.error(f"--param '{word}': give name:=value, such as score_threshold:=0.3")
    if arguments.namespace is not None and not _NAMESPACE.fullmatch(arguments.namespace):
        parser.error(f"--namespace '{arguments.namespace}': give letters, digits and _, with / between, such as /front")
    if arguments.rate == 0:
        arguments.lockstep, arguments.rate = True, defaults.rate
    return arguments


def _without_ros_arguments(words: list[str]) -> list[str]:
    if "--ros-args" not in words:
        return words
    start = words.index("--ros-args")
    end = words.index("--", start) if "--" in words[start:] else len(words) - 1
    return words[:start] + words[end + 1 :]


def options(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The words that decide on the results, beside those that the report knows."""
    words = []
    for name in ("truth_topic", "device", "limit_frames"):
        if (value := getattr(arguments, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    for parameter in arguments.param:
        words += ["--param", parameter]
    return (*words, "--class-map", *arguments.class_map) if arguments.class_map else tuple(words)


def node_arguments(arguments: argparse.Namespace, model: Path | None, namespace: str, image_topic: str) -> list[str]:
    # that images are waited for is the replay's business; who wants it told gives another
    given = ["diagnostics.image_timeout_s:=0.0", *arguments.param]
    if model is not None:
        given.append(f"model:={_yaml_text(str(model.absolute()))}")
    if arguments.device is not None:
        given.append(f"device:={_yaml_text(arguments.device)}")
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


def _yaml_text(text: str) -> str:
    """Quoted: ROS reads values as YAML, to which ' #' begins a comment and ': ' a mapping."""
    return "'" + text.replace("'", "''") + "'"
