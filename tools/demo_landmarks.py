"""make demo-landmarks: drawn faces that move, through the real node over DDS, and a report of it.

A slow face detector is played from the faces' labels: it sees some frames only, in between the node follows by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from hri_msgs.msg import FacialLandmarks
from rclpy.time import Time
from std_msgs.msg import Header
from tqdm import tqdm
from vision_msgs.msg import Detection2DArray

from cgdet_core.boxes import iou_matrix
from cgdet_core.config import LandmarkPostprocessConfig, SyntheticConfig
from cgdet_core.data.synthetic.faces.drawing import FaceScene
from cgdet_core.errors import RunError, run_command
from cgdet_core.evaluation.landmarks import LANDMARKS
from cgdet_core.evaluation.metrics.faces import FaceRecord
from cgdet_core.evaluation.offline import OfflineRun
from cgdet_core.evaluation.report.model_report import write_report
from cgdet_core.files import make_folder, write_text
from cgdet_core.runtime.model_file import read_info
from cgdet_core.tasks.landmarks.crop import box_of_points
from cgdet_core.types import Detections, FloatArray, Landmarks, Sample, stamp_to_ns
from cgdet_ros.node import messages
from cgdet_ros.replay import process as node
from cgdet_ros.replay.link import ANSWER_QOS, ReplayLink, start_ros

NAMESPACE = "/cgdet_faces"
FACES = 2
BOXES_EVERY = 5  # frames from one that the face detector sees to the next
FOUND_IOU = 0.3  # of the hull of a face's points, as found, and its labelled box


class FaceLink(ReplayLink):
    """Of the node of landmarks: answers are a message for each face. sent_s: monotonic time by stamp."""

    NODE, ANSWERS, LABELLED = "thermal_landmarks", (FacialLandmarks, "landmarks"), False

    def __init__(self) -> None:
        self.faces: dict[int, list[tuple[float, Any]]] = defaultdict(list)
        self.sent_s: dict[int, float] = {}
        super().__init__(NAMESPACE, f"{NAMESPACE}/image")
        self._boxes = self._node.create_publisher(Detection2DArray, f"{NAMESPACE}/faces", ANSWER_QOS)

    def _on_answer(self, message: Any) -> None:
        self.faces[stamp_to_ns(message.header.stamp)].append((time.monotonic(), message))

    def send_frame(self, sample: Sample, with_boxes: bool) -> None:
        """The image and, as a face detector would, the boxes of its faces."""
        stamp_ns = sample.frame.stamp_ns
        header = Header(stamp=Time(nanoseconds=stamp_ns).to_msg(), frame_id=sample.frame.frame_id)
        self.sent_s[stamp_ns] = self.send(messages.image_to_message(header, sample.frame.image, "mono8"))
        if with_boxes:
            boxes = sample.truth.boxes_xyxy_px
            found = Detections(boxes, np.ones(len(boxes)), np.zeros(len(boxes)))
            self._boxes.publish(messages.detections_to_message(header, found, ["face"]))


def play(samples: Sequence[Sample], model: Path | None) -> FaceLink:
    """In their own time; what came of it."""
    words = ["-r", f"__ns:={NAMESPACE}", "-p", "diagnostics.period_s:=0.5"]
    words += ["-p", f"qos_overrides.{NAMESPACE}/image.subscription.reliability:=reliable"]
    words += ["-p", f"model:='{model.absolute()}'"] if model else []
    with node.NodeProcess(node.LANDMARKS, words, echo=False) as process, closing(FaceLink()) as link:
        link.bring_up(process)
        start_s = time.monotonic() - samples[0].frame.stamp_ns / 1e9
        for number, sample in enumerate(samples):
            time.sleep(max(0.0, start_s + sample.frame.stamp_ns / 1e9 - time.monotonic()))
            process.check()
            link.send_frame(sample, number % BOXES_EVERY == 0)
        link.report, _ = link.final_report(timeout_s=5)
    return link


def record_of(sample: Sample, answers: Sequence[Any], settings: LandmarkPostprocessConfig) -> FaceRecord:
    """The labelled faces of a frame that are among those found."""
    truth = sample.truth
    found = np.array([points_of(message) for message in answers], np.float32).reshape(-1, 68, 3)
    hulls = np.array([box_of_points(each[:, :2]) for each in found], np.float32).reshape(-1, 4)
    overlap = iou_matrix(truth.boxes_xyxy_px, hulls)
    faces = np.flatnonzero(overlap.max(axis=1, initial=0) > FOUND_IOU)
    best = found[overlap[faces].argmax(axis=1)] if len(faces) else np.zeros((0, 68, 3), np.float32)
    marks = Landmarks(best[..., :2], best[..., 2], truth.boxes_xyxy_px[faces])
    return FaceRecord(sample.name, marks, truth.points_xy_px[faces], truth.points_labelled[faces], settings, None)


def points_of(message: Any) -> FloatArray:
    """float32 [68, 3]: x and y about the centres of pixels, and the confidence."""
    points = np.array([(each.x, each.y, each.c) for each in message.landmarks[:68]])
    return np.asarray(points * (message.width, message.height, 1) - (0.5, 0.5, 0), np.float32)


def run(given: argparse.Namespace) -> int:
    make_folder(given.out)
    config = SyntheticConfig(bit_depth=8)
    scene, count = FaceScene(given.seed, FACES, config), max(1, round(given.seconds * config.frames_per_second))
    samples = [replace(scene.sample(number), rgb=None) for number in tqdm(range(count), "drawing", disable=None)]
    node.isolate()
    start_ros()
    try:
        link = play(samples, given.model)
    finally:
        rclpy.try_shutdown()
    settings = read_info(Path(link.report["model"])).postprocess
    through = OfflineRun[FaceRecord]()
    for sample in samples:
        answers = link.faces.get(sample.frame.stamp_ns, [])
        through.frames.append(record_of(sample, [message for _, message in answers], settings))
    found = sum(len(record.found) for record in through.frames)
    if not found:
        raise RunError(f"no face was found where one is: {link.report.get('last_error') or 'is it the model?'}")
    through.stage_ms["total"] = [
        (max(at for at, _ in answers) - link.sent_s[stamp]) * 1e3 for stamp, answers in link.faces.items()
    ]
    age_ms, labelled = through.ms_per_frame(), sum(len(sample.truth) for sample in samples)
    counts = {"labelled_faces": labelled, "found_faces": found}
    counts["extra_faces"] = sum(len(answers) for answers in link.faces.values()) - found
    figures = LANDMARKS.measure(through.frames, ("face",))
    document = figures.to_json({**counts, "frames": count, "age_ms": age_ms, "node": link.report})
    write_text(given.out / "metrics.json", json.dumps(document, indent=1))
    facts = {name: link.report[name] for name in ("model", "device", "precision", "backend", "total_ms", "answered")}
    facts |= {"data": "drawn faces", **counts}
    model = f" MODEL={given.model}" if given.model else ""
    command = f"make demo-landmarks SEED={given.seed} SECONDS={given.seconds:g}{model}"
    write_report(given.out / "report.html", LANDMARKS, through, samples, figures, facts, command, "Image to points")
    print(
        f"{found} of {labelled} faces found, {counts['extra_faces']} where none is; NME {document['nme']:.4f}; age p50 "
        f"{age_ms['p50']:.1f} ms, p95 {age_ms['p95']:.1f}\nwrote {given.out / 'report.html'} and metrics.json"
    )
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo-landmarks"))
    parser.add_argument("--model", type=Path, help="model file (default: the shipped one)")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=7)
    sys.exit(run_command("cgdet demo", lambda: run(parser.parse_args())))
