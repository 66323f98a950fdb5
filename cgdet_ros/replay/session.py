"""One model's replay: the node brought up with it, the bag played, the node stopped."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cgdet_core.data.bags.frames import NO_LABELS, StampedLabels, bag_labels
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.errors import InputError
from cgdet_ros.config import ReplayConfig
from cgdet_ros.replay.arguments import node_arguments, options
from cgdet_ros.replay.images import read_ahead
from cgdet_ros.replay.interrupt import Interruption
from cgdet_ros.replay.process import NodeProcess
from cgdet_ros.replay.run import ReplayRun, play


@dataclass(frozen=True)
class Recording:
    """What is played: images, how many of them, and the topic of the labels, or their COCO JSON. warnings: what was
    noticed about it."""

    bag: Path
    topic: str
    truth_topic: str | None
    total: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replay:
    """A finished replay: what was played, how, and what came of it.

    warnings: what was noticed before the run; node_lines: the last warnings and errors of the node's
    log; options: further words of the command.
    """

    bag: Path
    topic: str
    truth_topic: str | None
    rate: float
    lockstep: bool
    run: ReplayRun
    labels: StampedLabels
    node_exit_code: int
    warnings: tuple[str, ...] = ()
    node_lines: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def replay_model(
    arguments: argparse.Namespace,
    model: Path | None,
    recording: Recording,
    class_map: Mapping[str, str],
    executable: Path,
    config: ReplayConfig,
    interruption: Interruption,
) -> Replay:
    """Raises InputError, with the node's own reason, where it does not get to the first frame. rclpy must be up."""
    from cgdet_ros.replay.link import ReplayLink

    namespace = "/" + (arguments.namespace or f"cgdet_replay_{os.getpid()}").strip("/")
    image_topic = f"{namespace}/image"
    words = node_arguments(arguments, model, namespace, image_topic)
    truth_topic, warnings = recording.truth_topic, list(recording.warnings)
    with NodeProcess(executable, words, config.stop_timeout_s, arguments.verbose) as process:
        link = ReplayLink(namespace, image_topic)
        try:
            link.bring_up(process, config.configure_timeout_s, config.discovery_timeout_s)
            try:
                labels = read_labels(recording.bag, truth_topic, link.class_names, class_map)
            except InputError as error:
                if arguments.truth_topic is not None or class_map:
                    raise
                warnings.append(f"no accuracy: {error}; or --truth-topic none")
                truth_topic, labels = None, NO_LABELS
            images = read_ahead(recording.bag, recording.topic, recording.total, config.prefetch_frames)
            interruption.watch()
            print(f"playing through {link.model}", flush=True)
            lockstep = arguments.lockstep
            run = play(images, recording.total, link, process, config, lockstep=lockstep, interruption=interruption)
        finally:
            link.close()
        exit_code = process.stop()
    try:
        for frame in run.frames:
            labels.of_frame(frame.stamp_ns, frame.height_width_px)
    except InputError as error:  # what was played is worth its report all the same
        warnings.append(f"no accuracy: {error}")
        truth_topic, labels = None, NO_LABELS
    return Replay(
        bag=recording.bag,
        topic=recording.topic,
        truth_topic=truth_topic,
        rate=config.rate,
        lockstep=arguments.lockstep,
        run=run,
        labels=labels,
        node_exit_code=exit_code,
        warnings=tuple(warnings),
        node_lines=process.troubles(),
        options=options(arguments),
    )


def read_labels(
    bag_path: Path, truth_topic: str | None, class_names: tuple[str, ...], class_map: Mapping[str, str]
) -> StampedLabels:
    """All labels of the topic or COCO JSON; none without one. InputError for labels that are none, or of other
    classes."""
    if truth_topic is None:
        return NO_LABELS
    with BagReader(bag_path) as bag:
        return bag_labels(bag, truth_topic, class_names, class_map)
