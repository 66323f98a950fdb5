"""What a model gets wrong, as one sheet of pictures: the greatest misses, the surest false alarms and duplicates.

    python benchmarks/failures.py --data DIR/hit_uav/val.json --rendered 60 [--model models/detector.safetensors]
        [--every 3] [--tiles 6] --out docs/failures.jpg

Only sets whose frames may be shown: HIT-UAV (CC BY 4.0) and Thermal Dogs and People (public domain), and rendered
streets of seeds that no model trains on. At the model's thresholds, IoU 0.5. A frame is shown once at most, and the
classes take turns. White dashes: what is labelled; coloured boxes: what was found; red corners: the failure. What the
labels lack looks like a false alarm here: judge by eye.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import EvaluationConfig, ThermalConfig
from cgdet_core.data.sets.coco import load_coco
from cgdet_core.data.synthetic.scenes import synthetic_training_sample
from cgdet_core.drawing import draw
from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame, match_frame, threshold_array
from cgdet_core.evaluation.offline import OfflineRun
from cgdet_core.files import check_can_write
from cgdet_core.runtime.model_file import default_model_path
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.thermal import normalise
from cgdet_core.types import BoolArray, Detections, FloatArray, GroundTruth, Sample

CREDITS = {
    "hit_uav": "HIT-UAV: Suo et al., CC BY 4.0",
    "dogs_people": "Thermal Dogs and People: public domain",
    "rendered": "rendered: cgdet",
}
RENDERED, RENDERED_SEED = "rendered", 700  # seeds below 1000 are never trained on
KINDS = ("missed", "false alarm", "duplicate")
TILE_PX, STRIP_PX, HEAD_PX, EDGE_PX = (240, 300), 22, 30, 6  # height and width of a picture; of its line; of a title
LEAST_VIEW_PX = 150.0  # width of what is shown, in the frame's pixels
RED = (230, 60, 50)


@dataclass(frozen=True)
class Failure:
    """One of a frame. weight: the height of what was missed in px, or the score of what should not be there."""

    kind: str
    weight: float
    class_id: int
    box_xyxy_px: FloatArray
    source: str
    sample: Sample
    detections: Detections


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=None, metavar="MODEL")
    parser.add_argument("--data", type=Path, nargs="*", default=(), metavar="F.json")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th frame of the sets")
    parser.add_argument("--rendered", type=int, default=0, metavar="N", help="rendered frames beside them")
    parser.add_argument("--tiles", type=int, default=5, metavar="N", help="pictures of each kind")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, metavar="F.jpg")
    arguments = parser.parse_args()
    try:
        check_can_write(arguments.out)
        predictor = Predictor(arguments.model or default_model_path(), "cpu", threads=arguments.threads)
        names = predictor.info.class_names
        found: list[Failure] = []
        shown = set()
        for source, sample in samples(arguments, names):
            shown.add(source)
            found += failures(predictor, source, sample)
        rows = [(kind, choose([each for each in found if each.kind == kind], arguments.tiles)) for kind in KINDS]
        picture = sheet(rows, names, arguments.tiles, "; ".join(CREDITS[source] for source in sorted(shown)))
    except InputError as error:
        print(f"failures: {error}", file=sys.stderr)
        return 2
    cv2.imwrite(str(arguments.out), picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    for kind, chosen in rows:
        print(f"{kind}: {sum(each.kind == kind for each in found)} in all, {len(chosen)} shown")
    return 0


def samples(arguments: argparse.Namespace, names: tuple[str, ...]) -> Iterator[tuple[str, Sample]]:
    """Frames with the name of their source; InputError for a set that may not be shown."""
    for path in arguments.data:
        source = path.resolve().parent.name
        if source not in CREDITS or "test" in path.stem:
            raise InputError(
                f"{path}: its frames may not be shown: give a set of {' or '.join(CREDITS)}, no test split"
            )
        coco = load_coco(path, names)
        for index in range(0, len(coco), arguments.every):
            yield source, coco.sample(index)
    for index in range(arguments.rendered):
        yield RENDERED, synthetic_training_sample(RENDERED_SEED, index)


def failures(predictor: Predictor, source: str, sample: Sample) -> list[Failure]:
    """All of a frame, at the model's thresholds."""
    run = OfflineRun()
    run.add(predictor, sample)
    frame: EvaluatedFrame = run.frames[0]
    names, config = predictor.info.class_names, EvaluationConfig()
    match = match_frame(frame, len(names), config)
    limits = threshold_array({name: predictor.postprocess.threshold_of(name) for name in names}, names, 1.0)
    above, boxes = match.above(limits), frame.truth.boxes_xyxy_px
    made = [
        ("missed", float(boxes[i, 3] - boxes[i, 1]), int(frame.truth.class_ids[i]), boxes[i])
        for i in np.flatnonzero(match.counted & ~match.found(limits))
    ]
    for kind, chosen in (("false alarm", match.false_alarm & ~match.duplicate), ("duplicate", match.duplicate)):
        made += [
            (kind, float(match.scores[i]), int(match.class_ids[i]), match.boxes_xyxy_px[i])
            for i in np.flatnonzero(above & chosen)
        ]
    kept = np.flatnonzero(above)
    detections = Detections(match.boxes_xyxy_px[kept], match.scores[kept], match.class_ids[kept])
    return [Failure(*each, source, sample, detections) for each in made]


def choose(found: list[Failure], count: int) -> list[Failure]:
    """The worst, sources and classes taking turns, a frame once."""
    queues: dict[tuple[str, int], list[Failure]] = {}
    for each in sorted(found, key=lambda each: -each.weight):
        queues.setdefault((each.source, each.class_id), []).append(each)
    chosen: list[Failure] = []
    frames: set[str] = set()
    while len(chosen) < count and any(queues.values()):
        for key in sorted(queues, key=lambda key: (key[1], key[0])):
            while queues[key] and queues[key][0].sample.name in frames:
                queues[key].pop(0)
            if queues[key] and len(chosen) < count:
                chosen.append(queues[key].pop(0))
                frames.add(chosen[-1].sample.name)
    return chosen


def sheet(
    rows: list[tuple[str, list[Failure]]], names: tuple[str, ...], columns: int, credit: str
) -> NDArray[np.uint8]:
    """uint8 [H, W, 3], RGB: a title and a row of pictures for each kind, and whose frames they are."""
    height, width = TILE_PX[0] + STRIP_PX + EDGE_PX, TILE_PX[1] + EDGE_PX
    parts = []
    for kind, chosen in rows:
        parts.append(_line(f"{kind}, worst first" if chosen else f"{kind}: none", columns * width, HEAD_PX, 0.62))
        if chosen:
            row = np.full((height, columns * width, 3), 255, np.uint8)
            for place, each in enumerate(chosen):
                row[: TILE_PX[0] + STRIP_PX, place * width : place * width + TILE_PX[1]] = tile(each, names)
            parts.append(row)
    parts.append(_line(credit, columns * width, STRIP_PX, 0.42))
    return np.vstack(parts)


def tile(failure: Failure, names: tuple[str, ...]) -> NDArray[np.uint8]:
    """The place of the failure, drawn, and a line of words."""
    image = failure.sample.frame.image
    height, width = image.shape[:2]
    left, top, right, bottom = (float(value) for value in failure.box_xyxy_px)
    shape = TILE_PX[1] / TILE_PX[0]
    view = min(max(LEAST_VIEW_PX, 2.5 * (right - left), 2.5 * (bottom - top) * shape), width, height * shape)
    across, down = round(view), round(view / shape)
    x = round(min(max((left + right - across) / 2, 0), width - across))
    y = round(min(max((top + bottom - down) / 2, 0), height - down))
    # tones are the whole frame's; letters are the picture's
    grey = np.rint(normalise(image, ThermalConfig()) * 255).astype(np.uint8)[y : y + down, x : x + across]
    detections, truth = failure.detections, failure.sample.truth
    assert truth is not None
    seen, there = (_inside(boxes, x, y, across, down) for boxes in (detections.boxes_xyxy_px, truth.boxes_xyxy_px))
    shift = np.array([x, y, x, y], np.float32)
    detections = Detections(detections.boxes_xyxy_px[seen] - shift, detections.scores[seen], detections.class_ids[seen])
    truth = GroundTruth(truth.boxes_xyxy_px[there] - shift, truth.class_ids[there], truth.ignore[there])
    scale = TILE_PX[1] / across
    picture = draw(grey, detections, names, truth, ThermalConfig(raw_range=(0, 255)), scale)
    cut = np.asarray(cv2.resize(picture, TILE_PX[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    _brackets(cut, [round(value * scale) for value in failure.box_xyxy_px - shift])
    value = f"{failure.weight:.0f} px high" if failure.kind == "missed" else f"score {failure.weight:.2f}"
    words = f"{names[failure.class_id]}, {value} ({failure.source})"
    return np.vstack([cut, _line(words, TILE_PX[1], STRIP_PX, 0.45)])


def _inside(boxes_xyxy_px: FloatArray, x: int, y: int, across: int, down: int) -> BoolArray:
    """bool [N]: the boxes of which the view shows anything."""
    left, top, right, bottom = boxes_xyxy_px.reshape(-1, 4).T
    return np.asarray((left < x + across) & (right > x) & (top < y + down) & (bottom > y))


def _brackets(picture: NDArray[np.uint8], corners: list[int]) -> None:
    left, top, right, bottom = corners[0] - 6, corners[1] - 6, corners[2] + 6, corners[3] + 6
    reach = max(8, min(right - left, bottom - top) // 4)
    for x, towards in ((left, 1), (right, -1)):
        for y, down in ((top, 1), (bottom, -1)):
            cv2.line(picture, (x, y), (x + towards * reach, y), RED, 2)
            cv2.line(picture, (x, y), (x, y + down * reach), RED, 2)


def _line(words: str, width: int, height: int, size: float) -> NDArray[np.uint8]:
    line = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(line, words, (4, height - 7), cv2.FONT_HERSHEY_SIMPLEX, size, (20, 20, 20), 1, cv2.LINE_AA)
    return line


if __name__ == "__main__":
    sys.exit(main())
