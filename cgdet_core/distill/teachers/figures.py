"""How good a teacher is on labelled RGB pictures: what it detects, and what it sees of each labelled object."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cgdet_core.boxes import clip_xyxy
from cgdet_core.config import PostprocessConfig, Recipe
from cgdet_core.data.sets.coco import CocoSet
from cgdet_core.distill.lesson import Lesson
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.tasks import task_of
from cgdet_core.tasks.detection.decode import best_first, suppress
from cgdet_core.tasks.detection.targets import Predictions, regions_of, seen_scores
from cgdet_core.tasks.detection.task import collate
from cgdet_core.tasks.task import TrainingBatch
from cgdet_core.types import Detections, FloatArray, ImageArray

CLEARLY_SEEN = 0.25  # a detection, as everywhere where no threshold was chosen
ENOUGH_OBJECTS = 10  # of so many a teacher that serves sees one


@dataclass
class TeacherRun:
    """What a teacher made of a set.

    frames: detections after NMS, and labels; seen: of each frame the scores float32 [objects] of
    `seen_scores`, regions to ignore left out; look_ms: of each frame.
    """

    frames: list[EvaluatedFrame] = field(default_factory=list)
    seen: list[FloatArray] = field(default_factory=list)
    look_ms: list[float] = field(default_factory=list)

    def seen_figures(self, class_names: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
        """ "all" and each light -> class name -> objects, mean (of their scores), clear (share from 0.25 on)."""
        class_ids = [frame.truth.class_ids[~frame.truth.ignore] for frame in self.frames]
        lights = sorted({frame.light for frame in self.frames if frame.light is not None})
        figures: dict[str, dict[str, dict[str, Any]]] = {}
        for light in ("all", *lights):
            of_light = [row for row, frame in enumerate(self.frames) if light in ("all", frame.light)]
            figures[light] = {}
            for class_id, name in enumerate(class_names):
                scores = np.concatenate([self.seen[row][class_ids[row] == class_id] for row in of_light])
                mean, clear = (float(each.mean()) if len(scores) else None for each in (scores, scores >= CLEARLY_SEEN))
                figures[light][name] = {"objects": len(scores), "mean": mean, "clear": clear}
        return figures


def measure_teacher(teacher: Teacher, data: CocoSet, config: PostprocessConfig) -> TeacherRun:
    """Every picture at its own scale, one after the other.

    The pictures are the RGB partners where the set names any, and frames without one are passed over;
    else its own. config: score floor, NMS and the most detections. Raises InputError for pictures that
    are not RGB or lie otherwise than their frame.
    """
    chosen = [index for index, record in enumerate(data.records) if record.rgb_path is not None]
    partners = bool(chosen)
    run = TeacherRun()
    for index in tqdm(chosen or range(len(data)), "looking", unit="frame", disable=None):
        record, sample = data.records[index], data.sample(index, with_rgb=partners)
        picture = sample.rgb if partners else sample.frame.image
        assert picture is not None
        path = record.rgb_path or record.path
        if picture.ndim != 3:
            raise InputError(f"{path}: is a grey picture, a teacher looks at RGB: give a set of RGB pictures")
        if picture.shape[:2] != record.height_width_px:
            raise InputError(f"{path}: is not of the size of {record.file_name}, its partner: register it first")
        start = time.perf_counter()
        output = teacher.look(padded(picture))
        predictions: Predictions = output.predictions
        if teacher.device.type == "cuda":
            torch.cuda.synchronize(teacher.device)
        run.look_ms.append((time.perf_counter() - start) * 1e3)
        found = detections_of(predictions, config, record.height_width_px)
        run.frames.append(EvaluatedFrame(record.file_name, found, record.truth, record.height_width_px, record.light))
        targets = collate([record.truth], len(data.class_names)).to(teacher.device)
        run.seen.append(seen_scores(predictions, regions_of(targets)).cpu().numpy())
    return run


def detections_of(predictions: Predictions, config: PostprocessConfig, height_width_px: tuple[int, int]) -> Detections:
    """What is left of the predictions on the first picture after threshold and NMS, cut to the picture."""
    all_boxes, all_scores = predictions.boxes_xyxy_px[0].cpu().numpy(), predictions.scores[0].cpu().numpy()
    rows, class_ids = np.nonzero(all_scores >= np.float32(config.score_threshold))
    order = best_first(all_scores[rows, class_ids], config.max_candidates)
    rows, class_ids = rows[order], class_ids[order]
    kept = suppress(all_boxes[rows], class_ids, config.nms_iou, config.max_detections)
    rows, class_ids = rows[kept], class_ids[kept]
    boxes = clip_xyxy(all_boxes[rows], *height_width_px)
    real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Detections(boxes[real], all_scores[rows, class_ids][real], class_ids[real])


def padded(picture: ImageArray) -> torch.Tensor:
    """[H, W, 3] -> uint8 [1, 3, H, W], black to the right and below up to multiples of 32."""
    height, width = picture.shape[:2]
    whole = np.pad(picture, ((0, -height % 32), (0, -width % 32), (0, 0)))
    return torch.from_numpy(np.ascontiguousarray(whole.transpose(2, 0, 1)))[None]


def seen_lines(figures: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """For a person."""
    lines = ["seen: best score of a prediction of the object's class with IoU >= 0.5, before NMS"]
    for light, of_light in figures.items():
        lines += [
            f"  {light:<6} {name:<8} mean {of_class['mean']:.3f}, from {CLEARLY_SEEN} on {of_class['clear']:.0%} "
            f"of {of_class['objects']}"
            for name, of_class in of_light.items()
            if of_class["objects"]
        ]
    return lines


@torch.no_grad()
def teacher_sees(teacher: Teacher, batches: Iterable[TrainingBatch], recipe: Recipe) -> tuple[int, int]:
    """How many labelled objects the teacher detects, of their class, of how many in whose middle there is RGB.

    batches: with RGB, on the teacher's device; looked at as in training, nothing is drawn from a generator."""
    task, seen, objects = task_of(recipe), 0, 0
    for batch in batches:
        regions = task.regions(batch.targets)
        lesson = Lesson(batch, regions, {}, None, teacher)
        assert batch.rgb_valid is not None
        side = torch.tensor(batch.rgb_valid.shape[:0:-1], device=regions.rois.device)  # width, height
        middle = (regions.rois[:, 1:3] + regions.rois[:, 3:]) / 2
        x, y = middle.long().clamp(min=0).minimum(side - 1).unbind(1)
        with_rgb = batch.rgb_valid[regions.rois[:, 0].long(), y, x].bool()
        objects += int(with_rgb.sum())
        seen += int((with_rgb & (task.seen(lesson.teacher_output.predictions, regions) >= CLEARLY_SEEN)).sum())
    return seen, objects
