"""Models on frames as cameras would give them that training has not seen (cgdet_core/evaluation/unseen_tones.py).

    python benchmarks/unseen_cameras.py --models models/start.safetensors --data msrs/thermal_train.json --every 5
        [--cameras equalised "black-hot+" ...] [--normalise shipped 0/100 1/99 ...] [--json F]
    python benchmarks/unseen_cameras.py --models ... --data DIR --run RUN ...      the frames that RUN held out
    python benchmarks/unseen_cameras.py --show F.json [F.json ...]      the tables again, of one or several such files
    python benchmarks/unseen_cameras.py --picture docs/unseen.jpg       every camera's view of a rendered frame

Every model, and every way of normalising, sees the same frames; no test split is taken. A row is a model: mAP50 on the
frames as they are, the mean over the cameras, the worst of them, and each class's mean. Ways of normalising are named
by percentiles (0.5/99.8, without a limit of what is hot), limited N (the model's percentiles and hot_limit_spans N), or
by what follows the model's own: clahe (equalisation by tiles), gamma 0.7, gamma 1.4 (a power), levelled (the power,
0.5 to 2, that brings the median to 0.35); all at test time only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from cgdet_core.config import ThermalConfig
from cgdet_core.data.sets.coco import CocoSet
from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.evaluation.offline import OfflineRun
from cgdet_core.evaluation.selection import describe_folds, set_to_choose_on
from cgdet_core.evaluation.unseen_tones import CAMERAS, as_seen
from cgdet_core.files import write_text
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.thermal import normalise, to_grey
from cgdet_core.types import FloatArray, Frame, ImageArray, Sample

PLAIN, SHIPPED, LIMITED = "plain", "shipped", "limited "
PICTURE_SEED, PICTURE_INDEX, COLUMNS = 7, 3, 5
FLOOR = 0.001  # of the scores, as in every evaluation
AFTER: dict[str, Callable[[FloatArray], FloatArray]] = {
    "clahe": lambda image: _tiled(image),
    "gamma 0.7": lambda image: np.power(image, np.float32(0.7)),
    "gamma 1.4": lambda image: np.power(image, np.float32(1.4)),
    "levelled": lambda image: np.power(image, np.float32(_levelling(image))),
}


def _tiled(image: FloatArray) -> FloatArray:
    grey = (image * 255 + 0.5).astype(np.uint8)
    return np.asarray(cv2.createCLAHE(clipLimit=1.5, tileGridSize=(8, 8)).apply(grey) / np.float32(255), np.float32)


def _levelling(image: FloatArray) -> float:
    middle = min(max(float(np.median(image)), 0.01), 0.99)
    return float(np.clip(np.log(0.35) / np.log(middle), 0.5, 2.0))


@dataclass(frozen=True)
class Way:
    """A way of normalising: what it changes of the model's own, and what is done to the picture after it."""

    name: str
    changes: dict[str, float | None] = field(default_factory=dict)
    after: Callable[[FloatArray], FloatArray] | None = None

    @classmethod
    def named(cls, name: str) -> Way:
        if name == SHIPPED or name in AFTER:
            return cls(name, after=AFTER.get(name))
        try:
            if name.startswith(LIMITED):
                return cls(name, {"hot_limit_spans": float(name.removeprefix(LIMITED))})
            low, high = (float(word) for word in name.split("/"))
        except ValueError:
            known = ", ".join([SHIPPED, *AFTER, f"{LIMITED}N"])
            raise InputError(f"'{name}' is no normalisation: give percentiles such as 1/99, or {known}") from None
        return cls(name, {"low_percentile": low, "high_percentile": high, "hot_limit_spans": None})

    def prepare(self, image: ImageArray, of_model: ThermalConfig) -> tuple[ImageArray, ThermalConfig]:
        """What the predictor is handed in place of the frame, and its normalisation."""
        if self.after is None:
            return image, ThermalConfig.model_validate({**of_model.model_dump(), **self.changes})
        toned = self.after(normalise(image, of_model))
        return np.rint(toned * 65535).astype(np.uint16), ThermalConfig(raw_range=(0, 65535))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, nargs="+", default=(), metavar="MODEL")
    parser.add_argument("--data", type=Path, metavar="F.json")
    parser.add_argument("--run", type=Path, metavar="RUN", help="--data is the folder its paths start from")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th frame")
    parser.add_argument("--cameras", nargs="+", default=tuple(CAMERAS), metavar="NAME")
    parser.add_argument("--normalise", nargs="+", default=(SHIPPED,), metavar="WAY")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--json", type=Path, metavar="F")
    parser.add_argument("--show", type=Path, nargs="+", default=(), metavar="F.json")
    parser.add_argument("--picture", type=Path, metavar="F.jpg")
    arguments = parser.parse_args()
    try:
        if arguments.picture:
            draw_cameras(arguments.picture)
        for path in arguments.show:
            print(tables(json.loads(path.read_text(encoding="utf-8"))))
        if arguments.models:
            document = measure(arguments)
            if arguments.json:
                write_text(arguments.json, json.dumps(document, indent=1) + "\n")
            print(tables(document))
    except InputError as error:
        print(f"unseen_cameras: {error}", file=sys.stderr)
        return 2
    return 0


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Each camera in turn, every model and way of normalising on the same frames of it."""
    words = {"precision": arguments.precision, "threads": arguments.threads, "backend": arguments.backend}
    predictors = {str(path): Predictor(path, **words) for path in arguments.models}
    ways = [Way.named(name) for name in arguments.normalise]
    names = next(iter(predictors.values())).info.class_names
    data, frames = _frames(arguments, names)
    rows: dict[tuple[str, str], dict[str, Any]] = {(model, way.name): {} for model in predictors for way in ways}
    for camera in (PLAIN, *arguments.cameras):
        runs = {key: OfflineRun() for key in rows}
        for sample in _samples(frames, arguments.every, camera):
            for model, predictor in predictors.items():
                for way in ways:
                    _predict(predictor, way, sample, runs[model, way.name])
        for key, run in runs.items():
            figures = evaluate(run.frames, names)
            rows[key][camera] = {
                "map50": figures.map50,
                "map": figures.map,
                "per_class": {name: part["map50"] for name, part in figures.per_class.items()},
            }
    some = next(iter(predictors.values()))
    return {
        "data": data,
        "every": arguments.every,
        "frames": len(run.frames),
        "precision": some.precision,
        "backend": some.backend,
        "models": {model: predictor.model_sha256 for model, predictor in predictors.items()},
        "rows": [{"model": model, "normalise": way, "cameras": figures} for (model, way), figures in rows.items()],
    }


def _frames(arguments: argparse.Namespace, class_names: tuple[str, ...]) -> tuple[str, CocoSet]:
    """What they are, in words, and the frames as they are; InputError where nothing may be chosen on them."""
    data: Path | None = arguments.data
    if data is None:
        raise InputError("--models asks for --data: give a COCO JSON")
    frames, folds = set_to_choose_on(arguments.run, data, class_names)
    return describe_folds(folds), frames


def _samples(frames: CocoSet, every: int, camera: str) -> Iterator[Sample]:
    for index in tqdm(range(0, len(frames), every), camera, unit="frame", disable=None, leave=False):
        sample = frames.sample(index)
        seen = as_seen(to_grey(sample.frame.image), camera)
        yield Sample(sample.name, Frame(seen), truth=sample.truth, light=sample.light, scene=sample.scene)


def _predict(predictor: Predictor, way: Way, sample: Sample, run: OfflineRun) -> None:
    image, tone = way.prepare(sample.frame.image, predictor.info.thermal)
    seen = Sample(sample.name, Frame(image), truth=sample.truth, light=sample.light)
    run.add(predictor, seen, postprocess=predictor.postprocess.at_score(FLOOR), thermal=tone)


def tables(document: dict[str, Any]) -> str:
    """Markdown: a row for each model and normalisation, then each camera's mAP50."""
    rows = document["rows"]
    cameras = [name for name in rows[0]["cameras"] if name != PLAIN]
    classes = [name for name, value in rows[0]["cameras"][PLAIN]["per_class"].items() if value is not None]
    lines = [
        f"{document['data']}, {document['frames']} frames (every {document['every']}), {document['precision']}, "
        f"{document['backend']}, {len(cameras)} cameras:",
        "",
        "| model | normalise | plain | mean | worst | " + " | ".join(f"mean {name}" for name in classes) + " |",
        "|---" * (5 + len(classes)) + "|",
    ]
    for row in rows:
        figures = row["cameras"]
        values = {name: figures[name]["map50"] for name in cameras}
        worst = min(values, key=lambda name: values[name])
        of_classes = [np.mean([figures[name]["per_class"][each] for name in cameras]) for each in classes]
        lines.append(
            f"| {_label(row)} | {row['normalise']} | {figures[PLAIN]['map50']:.3f} | {np.mean([*values.values()]):.3f} "
            f"| {values[worst]:.3f} {worst} | " + " | ".join(f"{value:.3f}" for value in of_classes) + " |"
        )
    several_ways = len({row["normalise"] for row in rows}) > 1
    heads = [f"{_label(row)}, {row['normalise']}" if several_ways else _label(row) for row in rows]
    lines += ["", "| camera | " + " | ".join(heads) + " |", "|---" * (1 + len(rows)) + "|"]
    for name in (PLAIN, *cameras):
        lines.append(f"| {name} | " + " | ".join(f"{row['cameras'][name]['map50']:.3f}" for row in rows) + " |")
    return "\n".join(lines) + "\n"


def _label(row: dict[str, Any]) -> str:
    path = Path(row["model"])
    return path.parent.name if path.stem == "model" else path.stem


def draw_cameras(path: Path) -> None:
    """A sheet of one rendered frame as every camera gives it."""
    from cgdet_core.data.synthetic.scenes import synthetic_training_sample

    frame = synthetic_training_sample(PICTURE_SEED, PICTURE_INDEX).frame.image
    tiles = []
    for name in (PLAIN, *CAMERAS):
        image = as_seen(frame, name)
        grey = image if image.dtype == np.uint8 else np.rint(normalise(image, ThermalConfig()) * 255).astype(np.uint8)
        tile = cv2.resize(grey, (256, 205), interpolation=cv2.INTER_AREA)
        tile[:22] = 255
        cv2.putText(tile, name, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 20, 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    sheet = np.vstack([np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)])
    if not cv2.imwrite(str(path), sheet, [cv2.IMWRITE_JPEG_QUALITY, 80]):
        raise InputError(f"{path}: cannot be written: give another place")


if __name__ == "__main__":
    sys.exit(main())
