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

from cgdet_core.config import ReplayConfig, settings_from_mapping
from cgdet_core.errors import InputError

_PARAMETER = re.compile(r"^[A-Za-z_][\w.]*:=.+$")
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
        print("cgdet-replay: interrupted, nothing written", file=sys.stderr)
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
        "domain on this machine only.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = ReplayConfig()
    parser.add_argument(
        "--bag", type=Path, required=True, metavar="PATH", help="rosbag2 folder, .mcap, .db3 or .bag file"
    )
    parser.add_argument("--topic", help="image topic (default: the only or the most thermal-looking one)")
    parser.add_argument("--truth-topic", help="Detection2DArray topic with the labels")
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
    parser.add_argument("--detector", metavar="FILE", help="the node's executable (default: the installed one)")
    parser.add_argument("--no-video", action="store_true", help="write no annotated video")
    parser.add_argument("--verbose", action="store_true", help="show what the node prints")
    # `ros2 run` and launch add --ros-args: they are the node's business, not the replay's
    arguments = parser.parse_args(_without_ros_arguments(sys.argv[1:] if words is None else list(words)))
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
    from cgdet_core.data.bags import BagReader, choose_image_topic, choose_truth_topic
    from cgdet_ros.replay_process import NodeProcess, find_executable, isolate

    config = settings_from_mapping(ReplayConfig, {"rate": arguments.rate}, "--rate")
    with BagReader(arguments.bag) as bag:
        topic = choose_image_topic(bag, arguments.topic)
        truth_topic = choose_truth_topic(bag, arguments.truth_topic)
        total = bag.topics[topic].count
    if arguments.limit_frames is not None:
        total = min(total, arguments.limit_frames)
    if arguments.model is not None and not arguments.model.is_file():
        raise InputError(f"{arguments.model}: model file is missing: give a .safetensors file written by cgdet train")
    executable = find_executable(arguments.detector)
    _check_writable(arguments.out)
    domain = isolate()
    from cgdet_ros.replay_link import ReplayLink, start_ros
    from cgdet_ros.replay_results import Replay, read_labels, write_results
    from cgdet_ros.replay_run import play, read_ahead

    namespace = f"/cgdet_replay_{os.getpid()}"
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
                labels = read_labels(arguments.bag, truth_topic, link.class_names)
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
    )
    print(write_results(arguments.out, replay, config, with_video=not arguments.no_video))
    return 0


def _node_arguments(arguments: argparse.Namespace, namespace: str, image_topic: str) -> list[str]:
    given = list(arguments.param)
    if arguments.model is not None:
        given.append(f"model:={arguments.model.absolute()}")
    if arguments.device is not None:
        given.append(f"device:={arguments.device}")
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


def _check_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made a folder ({error.strerror}): give another --out") from None
    if not os.access(out, os.W_OK):
        raise InputError(f"{out}: cannot be written to: give another --out")


if __name__ == "__main__":
    sys.exit(main())
