"""Labels from an RGB teacher against the true thermal ones, on the frames of a paired COCO set; and sets to train on.

    python benchmarks/pseudo_labels.py --data msrs/thermal_train.json --teacher yolox_nano_coco.safetensors
        --out build/pseudo [--second-opinion models/start.safetensors] [key=value ...]

makes a bag of the frames that name an RGB partner, labels it in several ways (VARIANTS), compares the labels with
those of the set, class by class, day and night, and extracts a COCO set for each: OUT/sets/NAME/set.json; `true` holds
the same frames with the set's own labels. key=value are settings of the labelling, as of `cgdet bag label`.
A student of each is then trained and measured by

    cgdet train config/recipes/from_bag.yaml --init models/start.safetensors --data OUT/sets --out runs/NAME
        'sources=[{path: NAME/set.json}]'
    cgdet evaluate --data msrs/thermal_test.json --model runs/NAME/model.safetensors --precision fp32 --threads 1

Single frames of a set are no neighbours in time, so no label is asked to agree with one (agree_frames=0).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.boxes import iou_matrix
from cgdet_core.data.bags.frames import read_labelled_frames
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.types import CLASS_NAMES, Detections, GroundTruth, Sample

# what is laid over the settings of the labelling; "second" takes the second opinion besides
VARIANTS = {
    "nothing_seen_is_empty": ("dark_median=0", "flat_deviation=0", "ignore_score=0.5"),
    "unlabelled_if_dark": (),
    "objects_if_dark": ("blind=objects",),
    "second_opinion": ("blind=objects",),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="COCO.json")
    parser.add_argument("--teacher", type=Path, required=True, metavar="F")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--second-opinion", type=Path, default=Path("models/start.safetensors"), metavar="MODEL")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    bag = out / "bag"
    _cgdet("bag", "make", "--coco", _paired_part(arguments.data, out), "--out", bag, "--overwrite")
    _cgdet("bag", "extract", bag, "--out", out / "sets" / "true", "--overwrite")
    tables = []
    for name, settings in VARIANTS.items():
        labels = out / f"{name}.json"
        second = ("--second-opinion", arguments.second_opinion) if name == "second_opinion" else ()
        words = ("agree_frames=0", *settings, *arguments.settings)
        _cgdet("bag", "label", bag, "--teacher", arguments.teacher, "--out", labels, *second, *words)
        _cgdet("bag", "extract", bag, "--labels", labels, "--out", out / "sets" / name, "--overwrite")
        tables.append(f"{name}\n{compare(bag, labels)}")
    print("\n".join(tables))
    return 0


def _cgdet(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "cgdet_core.cli", *map(str, words)], check=True)


def _paired_part(data: Path, out: Path) -> Path:
    """A set of the frames that have an RGB partner, which names their files where they lie."""
    document = json.loads(data.read_text(encoding="utf-8"))
    images = [image for image in document["images"] if image.get("rgb_file_name")]
    for image in images:
        for key in ("file_name", "rgb_file_name"):
            image[key] = str((data.parent / image[key]).resolve())
    kept = {image["id"] for image in images}
    annotations = [each for each in document["annotations"] if each["image_id"] in kept]
    path = out / "paired.json"
    path.write_text(json.dumps({**document, "images": images, "annotations": annotations}), encoding="utf-8")
    return path


def compare(bag: Path, labels: Path) -> str:
    """Objects of `labels` against those of the bag's own labels at IoU 0.5, class by class, day and night.

    Precision, recall, and the share of the true objects that the labels take for background: neither found nor with
    their centre in a region to ignore of their class, over the labelled frames; and the recall over all frames. A found
    object over a true region to ignore counts neither way.
    """
    lines = [
        f"  {'':8}{'class':<9}{'true':>6}{'found':>7}{'precision':>11}{'recall':>8}{'background':>12}"
        f"{'recall, all frames':>20}"
    ]
    own, given = read_labelled_frames(bag), read_labelled_frames(bag, truth_topic=str(labels))
    pairs = [(_labels_only(true), found.truth) for true, found in zip(own, given, strict=True)]
    for light in ("day", "night"):
        of_light = [pair for pair in pairs if pair[0].light == light]
        labelled = [(frame, truth) for frame, truth in of_light if truth is not None]
        lines.append(f"  {light:<8}{len(labelled)} of {len(of_light)} frames labelled")
        everywhere, within = _points(of_light), _points(labelled)
        for index, name in enumerate(CLASS_NAMES):
            point, true = within[name], within[name]["truths"]
            unknown = sum(_taken_for_background(frame.truth, truth, index) for frame, truth in labelled)
            lines.append(
                f"  {'':8}{name:<9}{true:>6}{point['found']:>7}{_share(point['precision']):>11}"
                f"{_share(point['recall']):>8}{_share(unknown / true if true else None):>12}"
                f"{_share(everywhere[name]['recall']):>20}"
            )
    return "\n".join(lines)


def _labels_only(sample: Sample) -> EvaluatedFrame:
    assert sample.truth is not None
    size = sample.frame.height_width_px
    return EvaluatedFrame(sample.name, Detections.empty(), sample.truth, size, sample.light)


def _points(pairs: Sequence[tuple[EvaluatedFrame, GroundTruth | None]]) -> dict[str, dict[str, Any]]:
    """Class name -> true objects, found ones, precision, recall."""
    frames = []
    for frame, truth in pairs:
        objects = truth or GroundTruth.empty()
        sure = ~objects.ignore
        found = Detections(objects.boxes_xyxy_px[sure], np.ones(int(sure.sum())), objects.class_ids[sure])
        frames.append(replace(frame, detections=found))
    points = evaluate(frames, CLASS_NAMES, dict.fromkeys(CLASS_NAMES, 0.5)).operating_point if frames else {}
    counts = {
        name: sum(int((frame.detections.class_ids == index).sum()) for frame in frames)
        for index, name in enumerate(CLASS_NAMES)
    }
    nothing = {"truths": 0, "precision": None, "recall": None}
    return {name: {**points.get(name, nothing), "found": counts[name]} for name in CLASS_NAMES}


def _taken_for_background(true: GroundTruth, labels: GroundTruth, class_id: int) -> int:
    objects = true.boxes_xyxy_px[(true.class_ids == class_id) & ~true.ignore]
    of_class = labels.class_ids == class_id
    found = (iou_matrix(objects, labels.boxes_xyxy_px[of_class & ~labels.ignore]) >= 0.5).any(axis=1)
    regions = labels.boxes_xyxy_px[of_class & labels.ignore]
    x, y = ((objects[:, :2] + objects[:, 2:]) / 2).T[..., None]
    inside = (x >= regions[:, 0]) & (x <= regions[:, 2]) & (y >= regions[:, 1]) & (y <= regions[:, 3])
    return int((~found & ~inside.any(axis=1)).sum())


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
