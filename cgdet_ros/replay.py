"""The command `cgdet-replay` (`ros2 run cgdet_ros replay`): a bag through the node that drives, and what came of it."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cgdet_core.config import ReplayConfig, settings_from_mapping
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.data.bags import BagReader

_PARAMETER = re.compile(r"^[A-Za-z_][\w./]*:=.+$")
# faster than the node's own period: the replay waits for its word that it sees the images
_REPORT_PERIOD_S = 0.5


def main(words: Sequence[str] | None = None) -> int:
    """Replay one bag; the exit code."""
    arguments = _parse(words)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return run(arguments)
    except InputError as error:
        print(f"cgdet-replay: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        done = "the results were written before" if arguments.written else "nothing was written"
        print(f"cgdet-replay: interrupted, {done}", file=sys.stderr)
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cgdet-replay",
        description="Replay a bag's thermal images in real time through the installed node, as a process of its own, "
        "over DDS; write report.html, annotated.webm, detections.json and metrics.json.",
        epilog="examples:\n"
        "  cgdet-replay --bag drive.mcap --topic /thermal/image_raw --out build/replay\n"
        "  cgdet-replay --bag labelled/ --lockstep --param score_threshold:=0.001   # every frame, for accuracy\n\n"
        "ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE are obeyed where they are set; else the replay takes a free\n"
        "domain on this machine only.\n\n"
        "exit codes: 0 results written; 1 results written, but no frame was answered or the node died;\n"
        "2 nothing written",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = ReplayConfig()
    parser.add_argument(
        "--bag", type=Path, required=True, metavar="PATH", help="rosbag2 folder, .mcap, .db3 or .bag file"
    )
    parser.add_argument("--topic", help="image topic (default: the only or the most thermal-looking one)")
    parser.add_argument(
        "--truth-topic", help="Detection2DArray topic with the labels, or none (default: the one named as labels are)"
    )
    parser.add_argument(
        "--class-map",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=CLASS",
        help="class in the labels = class of the model, or =ignore, such as truck=car rider=person",
    )
    parser.add_argument("--model", type=Path, metavar="M", help="model file (default: the shipped one)")
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
    parser.add_argument("--no-video", action="store_true", help="write no annotated video")
    parser.add_argument("--verbose", action="store_true", help="show what the node prints")
    # `ros2 run` and launch add --ros-args: they are the node's business, not the replay's
    arguments = parser.parse_args(_without_ros_arguments(sys.argv[1:] if words is None else list(words)))
    arguments.written = False
    if arguments.limit_frames is not None and arguments.limit_frames < 1:
        parser.error(f"--limit-frames {arguments.limit_frames}: give 1 or more")
    for word in arguments.param:
        if not _PARAMETER.match(word):
            parser.error(f"--param '{word}': give name:=value, such as score_threshold:=0.3")
    if arguments.rate == 0:
        arguments.lockstep, arguments.rate = True, defaults.rate
    return arguments


def _without_ros_arguments(words: list[str]) -> list[str]:
    if "--ros-args" not in words:
        return words
    start = words.index("--ros-args")
    end = words.index("--", start) if "--" in words[start:] else len(words) - 1
    return words[:start] + words[end + 1 :]


def run(arguments: argparse.Namespace) -> int:
    """Check what can be checked, then bring up, play, write."""
    from cgdet_core.commands.common import parse_class_map
    from cgdet_core.data.bags import BagReader, choose_image_topic
    from cgdet_ros.parameters import check_name
    from cgdet_ros.replay_output import check_output
    from cgdet_ros.replay_process import NodeProcess, find_executable, isolate

    for word in arguments.param:
        check_name(word.partition(":=")[0])
    class_map = parse_class_map(arguments.class_map)
    warnings: list[str] = []
    config = settings_from_mapping(ReplayConfig, {"rate": arguments.rate}, "--rate")
    with BagReader(arguments.bag) as bag:
        topic = choose_image_topic(bag, arguments.topic)
        truth_topic = _truth_topic(bag, arguments.truth_topic, warnings)
        total = bag.topics[topic].count
        _check_first_image(bag, topic)
    if arguments.limit_frames is not None:
        total = min(total, arguments.limit_frames)
    if arguments.model is not None and not arguments.model.is_file():
        raise InputError(f"{arguments.model}: model file is missing: give a .safetensors file written by cgdet train")
    executable = find_executable(arguments.detector)
    check_output(arguments.out)
    domain = isolate()
    from cgdet_ros.replay_link import ReplayLink, start_ros
    from cgdet_ros.replay_results import Labels, Replay, failure, read_labels, write_results
    from cgdet_ros.replay_run import play, read_ahead

    namespace = "/" + (arguments.namespace or f"cgdet_replay_{os.getpid()}").strip("/")
    image_topic = f"{namespace}/image"
    print(f"replaying {topic} of {arguments.bag}: {total} frames, ROS domain {domain}, node {executable}", flush=True)
    ros_arguments = _node_arguments(arguments, namespace, image_topic)
    with NodeProcess(executable, ros_arguments, config.stop_timeout_s, arguments.verbose) as process:
        import rclpy

        start_ros()
        try:
            link = ReplayLink(namespace, image_topic)
            try:
                link.bring_up(process, config.configure_timeout_s, config.discovery_timeout_s)
                try:
                    labels = read_labels(arguments.bag, truth_topic, link.class_names, class_map)
                except InputError as error:
                    if arguments.truth_topic is not None:
                        raise
                    warnings.append(f"no accuracy: {error}; or --truth-topic none")
                    truth_topic, labels = None, Labels({}, {})
                images = read_ahead(arguments.bag, topic, total, config.prefetch_frames)
                result = play(images, total, link, process, config, arguments.lockstep)
            finally:
                link.close()
        finally:
            rclpy.try_shutdown()
        exit_code = process.stop()
    replay = Replay(
        bag=arguments.bag,
        topic=topic,
        truth_topic=truth_topic,
        rate=arguments.rate,
        lockstep=arguments.lockstep,
        run=result,
        labels=labels,
        node_exit_code=exit_code,
        warnings=tuple(warnings),
        node_lines=process.troubles(),
        options=_options(arguments),
    )
    results = write_results(arguments.out, replay, config, with_video=not arguments.no_video)
    arguments.written = True
    print(results, flush=True)
    failed = failure(replay)
    if failed is not None:
        print(f"cgdet-replay: error: {failed}", file=sys.stderr)
        return 1
    return 0


def _truth_topic(bag: BagReader, named: str | None, warnings: list[str]) -> str | None:
    """A topic that nobody named is a guess: where it cannot be made, the replay goes on without accuracy."""
    from cgdet_core.data.bags import choose_truth_topic

    if named == "none":
        return None
    try:
        return choose_truth_topic(bag, named)
    except InputError as error:
        if named is not None:
            raise
        warnings.append(f"no accuracy: {error}, with --truth-topic")
        return None


def _check_first_image(bag: BagReader, topic: str) -> None:
    """An encoding that the node refuses is mostly that of all: told before the node is started."""
    from cgdet_core.data.bags import first_image
    from cgdet_core.thermal import ENCODINGS

    image = first_image(bag, topic)
    if image.compressed_format is None and image.encoding not in ENCODINGS:
        raise InputError(
            f"{bag.path}: {topic}, image of stamp {image.stamp_ns} ns: encoding '{image.encoding}' is not supported: "
            f"choose a --topic with one of {', '.join(ENCODINGS)}"
        )


def _options(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The words that decide on the results, beside those that the report knows."""
    words = []
    for name in ("truth_topic", "device", "limit_frames"):
        if (value := getattr(arguments, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    for parameter in arguments.param:
        words += ["--param", parameter]
    return (*words, "--class-map", *arguments.class_map) if arguments.class_map else tuple(words)


def _node_arguments(arguments: argparse.Namespace, namespace: str, image_topic: str) -> list[str]:
    given = list(arguments.param)
    if arguments.model is not None:
        given.append(f"model:={_yaml_text(str(arguments.model.absolute()))}")
    if arguments.device is not None:
        given.append(f"device:={_yaml_text(arguments.device)}")
    # the replay drives the lifecycle, and is told why where it fails; the stream is reliable on both ends, so that
    # what has no answer was dropped by the node and not on the way
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


if __name__ == "__main__":
    sys.exit(main())
