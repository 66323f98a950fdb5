"""The command `cgdet-replay` (`ros2 run cgdet_ros replay`): a bag through the node that drives, and what came of it."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cgdet_core.config import settings_from_mapping
from cgdet_core.errors import InputError
from cgdet_ros.config import ReplayConfig
from cgdet_ros.replay.arguments import parse

if TYPE_CHECKING:
    from cgdet_core.data.bags.reader import BagReader
    from cgdet_ros.replay.interrupt import Interruption
    from cgdet_ros.replay.session import Recording, Replay


def main(words: Sequence[str] | None = None) -> int:
    """Replay one bag; the exit code."""
    arguments = parse(words)
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


def run(arguments: argparse.Namespace) -> int:
    """Check what can be checked, then bring up, play, write."""
    from cgdet_core.data.bags.write import BagWriter
    from cgdet_core.data.sets.coco import parse_class_map
    from cgdet_core.files import check_can_write
    from cgdet_ros.node.parameters import check_name
    from cgdet_ros.replay.output import check_output
    from cgdet_ros.replay.process import find_executable, isolate

    for word in arguments.param:
        check_name(word.partition(":=")[0])
    class_map = parse_class_map(arguments.class_map)
    config = settings_from_mapping(ReplayConfig, {"rate": arguments.rate}, "--rate")
    recording = _recording(arguments)
    _check_models(arguments.model)
    executable = find_executable(arguments.detector)
    check_output(arguments.out)
    if arguments.write_bag is not None:
        if arguments.write_bag.exists():
            raise InputError(f"{arguments.write_bag}: exists already: remove it, or give another --write-bag")
        check_can_write(arguments.write_bag)  # told before the bag is played, not after
    bag_writer = None if arguments.write_bag is None else BagWriter(arguments.write_bag)
    domain = isolate()
    from cgdet_ros.replay.interrupt import Interruption
    from cgdet_ros.replay.results import failure, lettered, play_summary, write_results

    print(
        f"replaying {recording.topic} of {recording.bag}: {recording.total} frames, ROS domain {domain}, "
        f"node {executable}",
        flush=True,
    )
    with Interruption() as interruption:
        replays = _replay_all(arguments, recording, class_map, executable, config, interruption)
        # what was measured is told before anything is made of it, which may take a while
        print("\n".join(lettered([play_summary(replay) for replay in replays])), flush=True)
        written = write_results(arguments, replays, config, interruption, bag_writer)
        arguments.written = True
    print(written, flush=True)
    if interruption.asked:
        return 130
    failed = next((reason for replay in replays if (reason := failure(replay)) is not None), None)
    if failed is not None:
        print(f"cgdet-replay: error: {failed}", file=sys.stderr)
        return 1
    return 0


def _recording(arguments: argparse.Namespace) -> Recording:
    """What is to be played. InputError for a bag, topic or encoding that is none."""
    from cgdet_core.data.bags.reader import BagReader
    from cgdet_core.data.bags.topics import choose_image_topic
    from cgdet_ros.replay.session import Recording

    warnings: list[str] = []
    with BagReader(arguments.bag) as bag:
        topic = choose_image_topic(bag, arguments.topic)
        truth_topic = _truth_topic(bag, arguments.truth_topic, warnings)
        total = bag.topics[topic].count
        _check_first_image(bag, topic)
    if arguments.limit_frames is not None:
        total = min(total, arguments.limit_frames)
    return Recording(arguments.bag, topic, truth_topic, total, tuple(warnings))


def _replay_all(
    arguments: argparse.Namespace,
    recording: Recording,
    class_map: dict[str, str],
    executable: Path,
    config: ReplayConfig,
    interruption: Interruption,
) -> list[Replay]:
    """Every model in turn, each through a node of its own; after an interruption those before it."""
    import rclpy

    from cgdet_ros.replay.link import start_ros
    from cgdet_ros.replay.session import replay_model

    replays: list[Replay] = []
    start_ros()
    try:
        for model in arguments.model or [None]:
            try:
                replays.append(replay_model(arguments, model, recording, class_map, executable, config, interruption))
            except KeyboardInterrupt:
                if interruption.forced or not replays:
                    raise
            if interruption.asked:
                break
    finally:
        rclpy.try_shutdown()
    return replays


def _check_models(models: Sequence[Path]) -> None:
    """InputError for a file that is missing, and for two models that cannot be compared."""
    for path in models:
        if not path.is_file():
            raise InputError(f"{path}: model file is missing: give a .safetensors file written by cgdet train")
    if len(models) > 1 and all(path.suffix == ".safetensors" for path in models):
        from cgdet_core.runtime.model_file import read_info

        a, b = (read_info(path).class_names for path in models)
        if a != b:
            raise InputError(
                f"{models[1]}: knows {', '.join(b)}, {models[0]} knows {', '.join(a)}: "
                "give two models of the same classes in the same order"
            )


def _truth_topic(bag: BagReader, named: str | None, warnings: list[str]) -> str | None:
    """A topic that nobody named is a guess: where it cannot be made, the replay goes on without accuracy."""
    from cgdet_core.data.bags.frames import is_json
    from cgdet_core.data.bags.topics import choose_truth_topic
    from cgdet_core.evaluation.offline import check_data

    if named == "none":
        return None
    if is_json(named):
        check_data(Path(str(named)))
        return named
    try:
        return choose_truth_topic(bag, named)
    except InputError as error:
        if named is not None:
            raise
        warnings.append(f"no accuracy: {error}, with --truth-topic")
        return None


def _check_first_image(bag: BagReader, topic: str) -> None:
    """An encoding that the node refuses is mostly that of all: told before the node is started."""
    from cgdet_core.data.bags.images import first_image
    from cgdet_core.thermal import ENCODINGS

    image = first_image(bag, topic)
    if image.compressed_format is None and image.encoding not in ENCODINGS:
        raise InputError(
            f"{bag.path}: {topic}, image of stamp {image.stamp_ns} ns: encoding '{image.encoding}' is not supported: "
            f"choose a --topic with one of {', '.join(ENCODINGS)}"
        )


if __name__ == "__main__":
    sys.exit(main())
