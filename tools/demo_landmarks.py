"""make demo-landmarks: drawn faces that move, through the real node over DDS, and a report of it.

A slow face detector is played from the bag's boxes: it sees some frames only, in between the node follows by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from hri_msgs.msg import FacialLandmarks
from vision_msgs.msg import Detection2DArray

from cgdet_core.boxes import iou_matrix
from cgdet_core.config import BagConfig
from cgdet_core.data.bags.frames import load_stamped_labels, read_raw_images
from cgdet_core.data.synthetic.bag import FACE_CLASS, THERMAL_TOPIC, make_face_bag
from cgdet_core.errors import RunError, run_command
from cgdet_core.evaluation.metrics.faces import face_errors, summarise
from cgdet_core.evaluation.report.page import Gallery, Picture, write_page
from cgdet_core.files import make_folder, write_text
from cgdet_core.runtime.predictor import percentiles
from cgdet_core.tasks.landmarks.crop import box_of_points
from cgdet_core.tasks.landmarks.draw import draw_landmarks, draw_points
from cgdet_core.types import Detections, Landmarks, stamp_to_ns
from cgdet_ros.node import messages
from cgdet_ros.replay.link import ANSWER_QOS, ReplayLink, start_ros
from cgdet_ros.replay.play import Pacer, read_ahead
from cgdet_ros.replay.process import LANDMARKS, NodeProcess, isolate

NAMESPACE = "/cgdet_faces"
PICTURES = 6
BOXES_EVERY = 5  # frames from one that the face detector sees to the next
FOUND_IOU = 0.3  # of the hulls of a face's points, found and labelled


class FaceLink(ReplayLink):
    """Of the node of landmarks: answers are a message for each face."""

    NODE, ANSWERS, LABELLED = "thermal_landmarks", (FacialLandmarks, "landmarks"), False

    def __init__(self) -> None:
        self.faces: dict[int, list[tuple[float, Any]]] = defaultdict(list)
        super().__init__(NAMESPACE, f"{NAMESPACE}/image")
        self._boxes = self._node.create_publisher(Detection2DArray, f"{NAMESPACE}/faces", ANSWER_QOS)

    def _on_answer(self, message: Any) -> None:
        self.faces[stamp_to_ns(message.header.stamp)].append((time.monotonic(), message))

    def send_boxes(self, header: Any, boxes_xyxy_px: Any) -> None:
        """As a face detector would."""
        found = Detections(boxes_xyxy_px, np.ones(len(boxes_xyxy_px)), np.zeros(len(boxes_xyxy_px)))
        self._boxes.publish(messages.detections_to_message(header, found, FACE_CLASS))


def play(bag: Path, truth: Any, model: Path | None, frames: int) -> tuple[FaceLink, dict[int, float]]:
    """What came of it, and the monotonic time at which each stamp was sent."""
    words = ["-r", f"__ns:={NAMESPACE}", "-p", "diagnostics.period_s:=0.5"]
    words += ["-p", f"qos_overrides.{NAMESPACE}/image.subscription.reliability:=reliable"]
    words += ["-p", f"model:='{model.absolute()}'"] if model else []
    sent_s: dict[int, float] = {}
    with NodeProcess(LANDMARKS, words, echo=False) as process, closing(FaceLink()) as link:
        link.bring_up(process)
        pacer = Pacer(1.0)
        start_s = time.monotonic()
        for number, image in enumerate(read_ahead(bag, THERMAL_TOPIC, frames, "stamp")):
            assert image.message is not None
            time.sleep(max(0.0, start_s + pacer.due_s(image.stamp_ns) - time.monotonic()))
            process.check()
            sent_s[image.stamp_ns] = link.send(image.message)
            if number % BOXES_EVERY == 0:
                link.send_boxes(image.message.header, truth.truth[image.stamp_ns].boxes_xyxy_px)
        link.report, _ = link.final_report(timeout_s=5)
    return link, sent_s


def in_pixels(message: Any) -> Any:
    """float32 [68, 2] about the centres of pixels."""
    shares = np.array([(each.x, each.y) for each in message.landmarks[:68]])
    return np.asarray(shares * (message.width, message.height) - 0.5, np.float32)


def run(given: argparse.Namespace) -> int:
    make_folder(given.out)
    bag, labels = given.out / "bag", given.out / "labels.json"
    frames = make_face_bag(bag, labels, BagConfig(seconds=given.seconds), seed=given.seed, overwrite=True)
    truth = load_stamped_labels(labels, FACE_CLASS)
    isolate()
    start_ros()
    try:
        link, sent_s = play(bag, truth, given.model, frames)
    finally:
        rclpy.try_shutdown()
    found: dict[int, Any] = {stamp: np.array([in_pixels(each) for _, each in of]) for stamp, of in link.faces.items()}
    if not found:
        raise RunError(f"no face of {frames} frames was found: {link.report.get('last_error') or 'is it the model?'}")
    ages_ms = [(max(at for at, _ in of) - sent_s[stamp]) * 1e3 for stamp, of in link.faces.items()]
    pairs, labelled, extra = [], 0, 0  # pairs: points, labels, which are labelled, box
    for stamp in sent_s:
        faces, points = truth.truth[stamp], found.get(stamp, np.zeros((0, 68, 2), np.float32))
        hulls = np.array([box_of_points(each) for each in points], np.float32).reshape(-1, 4)
        overlap = iou_matrix(faces.boxes_xyxy_px, hulls)
        seen = [(face, int(row.argmax())) for face, row in enumerate(overlap) if row.max(initial=0) > FOUND_IOU]
        labelled, extra = labelled + len(faces), extra + len(points) - len({best for _, best in seen})
        of_faces = faces.points_xy_px, faces.points_labelled, faces.boxes_xyxy_px
        pairs += [(points[best], *(each[face] for each in of_faces)) for face, best in seen]
    if not pairs:
        raise RunError("no face was found where one is: is it the model?")
    figures = summarise(face_errors(*(np.stack(each) for each in zip(*pairs, strict=True))))
    age_ms = percentiles(ages_ms)
    p50, p95, p99 = age_ms.values()
    figures |= {"labelled_faces": labelled, "found_faces": len(pairs), "extra_faces": extra}
    figures |= {"frames": len(sent_s), "age_ms": age_ms, "node": link.report}
    write_text(given.out / "metrics.json", json.dumps(figures, indent=1))
    shown = set(sorted(found)[:: max(1, len(found) // PICTURES)][:PICTURES])
    pictures = []
    for image in read_raw_images(bag, THERMAL_TOPIC):
        if image.stamp_ns in shown:
            of = found[image.stamp_ns]
            boxes = np.array([box_of_points(each) for each in of])
            picture = draw_landmarks(image.decode(), Landmarks(of, np.ones((len(of), 68)), boxes), scale=2)
            for points in truth.truth[image.stamp_ns].points_xy_px:
                draw_points(picture, points * 2 + np.float32(0.5), np.zeros(68, np.bool_))
            pictures.append(Picture(picture, f"stamp {image.stamp_ns} ns"))
    tiles = [
        ("Faces found", f"{len(pairs)}", f"of {labelled}", f"{extra} where none is"),
        ("Age p50", f"{p50:.1f}", "ms", f"publish to receive; p95 {p95:.1f}, p99 {p99:.1f}"),
    ]
    facts = {name: link.report[name] for name in ("model", "device", "precision", "backend", "total_ms", "answered")}
    gallery = Gallery("Points", pictures, "Filled: found. Rings: the truth.")
    part = {"tiles": tiles, "landmarks": figures, "galleries": [gallery], "facts": facts}
    model = f" MODEL={given.model}" if given.model else ""
    command = f"make demo-landmarks SEED={given.seed} SECONDS={given.seconds:g}{model}"
    write_page(given.out / "report.html", "Facial landmarks through the node", [part], command=command)
    print(
        f"{len(pairs)} of {labelled} faces found, {extra} where none is; NME {figures['nme']:.4f}; age p50 {p50:.1f} "
        f"ms, p95 {p95:.1f}\nwrote {given.out / 'report.html'} and metrics.json"
    )
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo-landmarks"))
    parser.add_argument("--model", type=Path, help="model file (default: the shipped one)")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=7)
    sys.exit(run_command("cgdet demo", lambda: run(parser.parse_args())))
