"""The command `cgdet-replay` (`ros2 run cgdet_ros replay`): a bag through the node that drives, and what came of it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
import rclpy
from tqdm import tqdm

from cgdet_core.data.bags.frames import NO_LABELS
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.errors import InputError, StopRequest, run_command
from cgdet_core.evaluation.metrics.matching import MIN_SCORE
from cgdet_core.evaluation.replay import OfflineAnswers, Replay, measure_replay
from cgdet_core.evaluation.report.replay_report import played_summary, write_results
from cgdet_core.files import check_can_write, make_folder
from cgdet_core.runtime.model_file import read_info
from cgdet_core.types import Detections
from cgdet_ros.config import DetectorConfig
from cgdet_ros.node.detector_node import Inference
from cgdet_ros.replay.link import ReplayLink, start_ros
from cgdet_ros.replay.play import play, read_ahead
from cgdet_ros.replay.process import DETECTOR, NodeProcess, isolate
from cgdet_ros.replay.request import Recording, find_recording, node_arguments, parse, read_labels

_INTERRUPTED = "\ncgdet-replay: interrupted: writing what was measured (once more: nothing)\n"


def main(words: Sequence[str] | None = None) -> int:
    """Replay one bag; the exit code."""
    return run_command("cgdet-replay", lambda: run(parse(words)))


def run(request: argparse.Namespace) -> int:
    """Check what can be checked, then bring up, play, measure, write."""
    recording = find_recording(request)
    if request.model is not None:
        read_info(request.model)
    make_folder(request.out)
    bag_writer = None
    if request.write_bag is not None:  # what is wrong with it is told before the bag is played, not after
        if request.write_bag.exists():
            raise InputError(f"{request.write_bag}: exists already: remove it, or give another --write-bag")
        check_can_write(request.write_bag)
        bag_writer = BagWriter(request.write_bag)
    domain = isolate()
    print(f"replaying {recording.topic} of {request.bag}: {recording.total} frames, ROS domain {domain}", flush=True)
    # Ctrl-C in the middle ends the playing, not the work
    with StopRequest(_INTERRUPTED) as interruption:
        start_ros()
        try:
            replay = replay_model(request, recording, interruption)
        finally:
            rclpy.try_shutdown()
        # what was measured is told before anything is made of it, which may take a while
        print("\n".join(played_summary(replay)), flush=True)
        try:
            measured = measure_replay(replay, answer_offline(replay, request.settings, interruption))
        except InputError as error:  # the model cannot be had or waited for
            measured = measure_replay(replay, None, str(error))
        written = write_results(request.out, measured, request.video, bag_writer)
    print("\n".join(written), flush=True)
    if interruption.is_set():
        return 130
    if replay.failure is not None:
        print(f"cgdet-replay: error: {replay.failure}", file=sys.stderr)
        return 1
    return 0


def replay_model(request: argparse.Namespace, recording: Recording, interruption: StopRequest) -> Replay:
    """The node brought up, the bag played, the node stopped: what came of it.

    Raises CgdetError, with the node's own reason, where it does not get to the first frame. rclpy must be up.
    """
    warnings = list(recording.warnings)
    namespace = "/" + (request.namespace or f"cgdet_replay_{os.getpid()}").strip("/")
    image_topic = f"{namespace}/image"
    words = node_arguments(request, namespace, image_topic)
    command = DETECTOR if request.detector is None else (str(request.detector),)
    labels = NO_LABELS
    with NodeProcess(command, words, request.verbose) as process:
        with closing(ReplayLink(namespace, image_topic)) as link:
            link.bring_up(process)
            try:
                labels = read_labels(request, recording, link.class_names)
            except InputError as error:
                if request.truth_topic is not None or request.class_map:
                    raise
                warnings.append(f"no accuracy: {error}; or --truth-topic none")
            images = read_ahead(request.bag, recording.topic, recording.total, request.by)
            interruption.watch()
            print(f"playing through {link.model}", flush=True)
            played = play(images, recording, request, link, process, interruption)
        exit_code = process.stop()
    try:
        labels = labels.of_frames({frame.stamp_ns: frame.height_width_px for frame in played.frames})
    except InputError as error:  # what was played is worth its report all the same
        warnings.append(f"no accuracy: {error}")
        labels = NO_LABELS
    return replace(
        played,
        truth_topic=None if labels is NO_LABELS else recording.truth_topic,
        labels=labels,
        node_exit_code=exit_code,
        node_log=process.troubles(),
        warnings=tuple(warnings),
    )


def answer_offline(replay: Replay, settings: DetectorConfig, interruption: StopRequest) -> OfflineAnswers:
    """The node's own inference over the frames that were sent: what every frame would have given. The bag is read again
    for it, so that it takes nothing from the run. Raises InputError where these are not to be had any more,
    and where the user does not want to wait."""
    names = ("model", "device", "precision", "backend")
    executed = {name: replay.node[name] for name in names if name in replay.node}
    inference = Inference(settings.model_copy(update=executed))
    predictor = inference.predictor
    own = inference.postprocess
    thresholds = np.array([own.threshold_of(name) for name in predictor.info.class_names], np.float64)
    floor = own.at_score(min(MIN_SCORE, *thresholds))
    detections: dict[int, Detections] = {}
    stage_ms: dict[str, list[float]] = {}
    pictures = replay.pictures(frame.stamp_ns for frame in replay.frames)
    for stamp_ns, image in tqdm(pictures, "offline", len(replay.frames), unit="frame", disable=None):
        if interruption.is_set():
            raise InputError("it was interrupted")
        try:
            detections[stamp_ns] = inference.predict(image, None, floor)
        except InputError:  # the node refused it as well
            continue
        for stage, latency_ms in predictor.last_stage_ms.items():
            stage_ms.setdefault(stage, []).append(latency_ms)
    here = {"device": predictor.device, "precision": predictor.precision, "backend": predictor.backend}
    return OfflineAnswers(detections, thresholds, stage_ms, here)


if __name__ == "__main__":
    sys.exit(main())
