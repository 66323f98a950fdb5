"""What a model gets wrong, as one sheet of pictures: the greatest misses, the surest false alarms and duplicates.

    python benchmarks/failures.py --data DIR/hit_uav/val.json --rendered 60 [--model models/detector.safetensors]
        [--every 3] [--tiles 6] --out docs/failures.jpg

Only sets whose frames may be shown: HIT-UAV (CC BY 4.0) and Thermal Dogs and People (public domain), and rendered
streets of seeds that no model trains on. At the model's thresholds, IoU 0.5, in the colours of the reports. A frame is
shown once at most, and the classes take turns. What the labels lack looks like a false alarm here: judge by eye.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.sets.coco import load_coco
from cgdet_core.data.synthetic.street import synthetic_training_sample
from cgdet_core.evaluation.detection import DETECTION
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame, match_frame
from cgdet_core.evaluation.report.errors import draw_errors
from cgdet_core.runtime.model_file import default_model_path
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.types import FloatArray, ImageArray, Sample

CREDITS = {
    "hit_uav": "HIT-UAV: Suo et al., CC BY 4.0",
    "dogs_people": "Thermal Dogs and People: public domain",
    "rendered": "rendered: cgdet",
}
RENDERED_SEED = 700  # seeds below 1000 are never trained on
KINDS = ("missed", "false alarm", "duplicate")
TILE_PX, LINE_PX = (240, 300), 26  # height and width of a picture; of a line of words
LEAST_VIEW_PX = 150.0  # width of what is shown, in the frame's pixels


@dataclass(frozen=True)
class Failure:
    """weight: the height of what was missed in px, or the score of what should not be there."""

    kind: str
    weight: float
    class_id: int
    box_xyxy_px: FloatArray
    source: str
    image: ImageArray
    frame: EvaluatedFrame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=default_model_path(), metavar="MODEL")
    parser.add_argument("--data", type=Path, nargs="*", default=(), metavar="F.json")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th frame of the sets")
    parser.add_argument("--rendered", type=int, default=0, metavar="N", help="rendered frames beside them")
    parser.add_argument("--tiles", type=int, default=5, metavar="N", help="pictures of each kind")
    parser.add_argument("--out", type=Path, required=True, metavar="F.jpg")
    arguments = parser.parse_args()
    found: list[Failure] = []
    predictor = Predictor(arguments.model, "cpu", threads=1)
    names = predictor.info.class_names
    limits = np.array([predictor.postprocess.threshold_of(name) for name in names], np.float64)
    for source, sample in samples(arguments, names):
        found += failures(predictor, limits, source, sample)
    width = arguments.tiles * TILE_PX[1]
    parts = []
    for kind in KINDS:
        chosen = choose([each for each in found if each.kind == kind], arguments.tiles)
        parts.append(words(f"{kind}, worst first" if chosen else f"{kind}: none", width, 0.6))
        row = np.full((TILE_PX[0] + LINE_PX, width, 3), 255, np.uint8)
        for place, each in enumerate(chosen):
            row[:, place * TILE_PX[1] : (place + 1) * TILE_PX[1]] = tile(each, names, limits)
        parts.append(row)
        print(f"{kind}: {sum(each.kind == kind for each in found)} in all, {len(chosen)} shown")
    credit = "; ".join(CREDITS[source] for source in sorted({each.source for each in found}))
    sheet = np.vstack([*parts, words(credit, width, 0.42)])
    cv2.imwrite(str(arguments.out), sheet[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])


def samples(arguments: argparse.Namespace, names: tuple[str, ...]) -> Iterator[tuple[str, Sample]]:
    """Frames with the name of their source."""
    for path in arguments.data:
        source = path.resolve().parent.name
        if source not in CREDITS or "test" in path.stem:
            raise SystemExit(f"{path}: may not be shown: give a set of {' or '.join(CREDITS)}, no test split")
        coco = load_coco(path, names)
        for index in range(0, len(coco), arguments.every):
            yield source, coco.sample(index)
    for index in range(arguments.rendered):
        yield "rendered", synthetic_training_sample(RENDERED_SEED, index)


def failures(predictor: Predictor, limits: NDArray[np.float64], source: str, sample: Sample) -> list[Failure]:
    """All of a frame, at the model's thresholds."""
    frame, _ = DETECTION.look_with(predictor)(sample)
    match, truth = match_frame(frame, len(limits)), frame.truth
    heights_px = truth.boxes_xyxy_px[:, 3] - truth.boxes_xyxy_px[:, 1]
    detected = match.scores, match.class_ids, match.boxes_xyxy_px
    lists = (
        ("missed", match.counted & ~match.found(limits), heights_px, truth.class_ids, truth.boxes_xyxy_px),
        ("false alarm", match.false_alarm & ~match.duplicate & match.above(limits), *detected),
        ("duplicate", match.duplicate & match.above(limits), *detected),
    )
    return [
        Failure(kind, float(weights[i]), int(class_ids[i]), boxes[i], source, sample.frame.image, frame)
        for kind, chosen, weights, class_ids, boxes in lists
        for i in np.flatnonzero(chosen)
    ]


def choose(found: list[Failure], count: int) -> list[Failure]:
    """The worst, sources and classes taking turns, a frame once."""
    queues: dict[tuple[int, str], list[Failure]] = {}
    for each in sorted(found, key=lambda each: -each.weight):
        queues.setdefault((each.class_id, each.source), []).append(each)
    chosen: list[Failure] = []
    while len(chosen) < count and any(queues.values()):
        for key in sorted(queues):
            taken = {each.frame.name for each in chosen}
            queues[key] = [each for each in queues[key] if each.frame.name not in taken]
            if queues[key] and len(chosen) < count:
                chosen.append(queues[key].pop(0))
    return chosen


def tile(failure: Failure, names: tuple[str, ...], limits: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The place of the failure, drawn, and a line of words."""
    picture = draw_errors(failure.image, failure.frame, names, limits)
    scale = picture.shape[0] / failure.image.shape[0]
    left, top, right, bottom = failure.box_xyxy_px * scale
    shape = TILE_PX[1] / TILE_PX[0]
    height, width = picture.shape[:2]
    view = min(max(LEAST_VIEW_PX * scale, 2.5 * (right - left), 2.5 * (bottom - top) * shape), width, height * shape)
    across, down = round(view), round(view / shape)
    x = round(min(max((left + right - across) / 2, 0), width - across))
    y = round(min(max((top + bottom - down) / 2, 0), height - down))
    cut = cv2.resize(picture[y : y + down, x : x + across], TILE_PX[::-1], interpolation=cv2.INTER_AREA)
    value = f"{failure.weight:.0f} px high" if failure.kind == "missed" else f"score {failure.weight:.2f}"
    said = words(f"{names[failure.class_id]}, {value} ({failure.source})", TILE_PX[1], 0.45)
    return np.vstack([np.asarray(cut, np.uint8), said])


def words(text: str, width: int, size: float) -> NDArray[np.uint8]:
    line = np.full((LINE_PX, width, 3), 255, np.uint8)
    cv2.putText(line, text, (4, LINE_PX - 8), cv2.FONT_HERSHEY_SIMPLEX, size, (20, 20, 20), 1, cv2.LINE_AA)
    return line


if __name__ == "__main__":
    main()
