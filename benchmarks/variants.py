"""What a model would be with another input size, or with its weights averaged with another's; nothing is trained.

    python benchmarks/variants.py --model runs/held_out/model.safetensors --run runs/held_out --data DIR
        [--inputs 448x544 576x736 ...] [--average OTHER [OTHER ...] --share 0.1 0.5 ...] [--json F]
    python benchmarks/variants.py --model MODEL --data F.json ...

An average has of every weight a share of OTHER's. All variants see the same frames in turn, judged as `cgdet evaluate`
does; a row has their figures, AP50 by size, and the time of a frame over the model's as it is. No test split is taken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cgdet_core.config import EvaluationConfig, ModelConfig
from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.evaluation.offline import OfflineRun
from cgdet_core.evaluation.selection import set_to_choose_on
from cgdet_core.files import write_text
from cgdet_core.model.detector import Detector
from cgdet_core.runtime.model_file import load_model, save_model
from cgdet_core.runtime.predictor import Predictor

AS_IT_IS = "as it is"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="F.json", help="with --run: the folder of its paths"
    )
    parser.add_argument("--run", type=Path, metavar="RUN", help="judge on the frames that this run held out")
    parser.add_argument("--inputs", nargs="+", default=(), metavar="HxW", help="heights and widths in pixels")
    parser.add_argument(
        "--average", type=Path, nargs="+", default=(), metavar="OTHER", help="models of the same network"
    )
    parser.add_argument("--share", type=float, nargs="+", default=(0.5,), metavar="S", help="of OTHER, 0 to 1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", type=Path, metavar="F")
    arguments = parser.parse_args()
    try:
        rows = measure(arguments)
        print(table(rows))
        if arguments.json:
            write_text(arguments.json, json.dumps(rows, indent=1) + "\n")
    except InputError as error:
        print(f"variants: {error}", file=sys.stderr)
        return 2
    return 0


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The figures of each variant, the model as it is first."""
    _, info = load_model(arguments.model)
    frames, _ = set_to_choose_on(arguments.run, arguments.data, info.class_names)
    with tempfile.TemporaryDirectory() as folder:
        predictors = {
            name: Predictor(path, "cpu", arguments.precision, threads=arguments.threads)
            for name, path in variants(arguments, Path(folder))
        }
    runs = {name: OfflineRun() for name in predictors}
    floor = info.postprocess.at_score(EvaluationConfig().min_score)
    for predictor in predictors.values():
        predictor.warm_up()
    for index in tqdm(range(len(frames)), unit="frame", disable=None):
        sample = frames.sample(index)
        for name, predictor in predictors.items():
            runs[name].add(predictor, sample, postprocess=floor)
    rows = []
    for name, run in runs.items():
        figures = evaluate(run.frames, info.class_names).to_json({})
        p50_ms = run.ms_per_image()["p50"]
        rows.append({"variant": name, "p50_ms": p50_ms, **{key: figures[key] for key in ("map50", "map", "by_size")}})
    return rows


def variants(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of each; InputError for an input or a model that does not fit."""
    yield AS_IT_IS, arguments.model
    detector, info = load_model(arguments.model)
    own = {key: value.clone() for key, value in detector.state_dict().items()}
    for number, words in enumerate(arguments.inputs):
        try:
            height, width = (int(word) for word in words.split("x"))
            settings = {**info.model.model_dump(), "input_height_width_px": (height, width)}
            changed = ModelConfig.model_validate(settings)
        except ValueError:
            raise InputError(f"'{words}' is no input: give multiples of 32 such as 576x736") from None
        other = Detector(changed)
        other.load_state_dict(own)
        path = folder / f"input_{number}.safetensors"
        save_model(path, other, info.model_copy(update={"model": changed}))
        yield f"input {words}", path
    for number, given in enumerate(arguments.average):
        added, its = load_model(given)
        if its.model != info.model:
            raise InputError(f"{given}: is another network than {arguments.model}: averages are of the same one")
        theirs = added.state_dict()
        for share in arguments.share:
            mixed = {
                key: ((1 - share) * value.double() + share * theirs[key].double()).to(value.dtype)
                for key, value in own.items()
            }
            detector.load_state_dict(mixed)
            path = folder / f"average_{number}_{share}.safetensors"
            save_model(path, detector, info)
            yield f"{share:g} of {given}", path


def table(rows: list[dict[str, Any]]) -> str:
    sizes = list(rows[0]["by_size"])
    lines = [
        "| variant | mAP50 | mAP | " + " | ".join(f"AP50 {size}" for size in sizes) + " | time of a frame |",
        "|---" * (4 + len(sizes)) + "|",
    ]
    for row in rows:
        by_size = " | ".join(f"{row['by_size'][size]['map50']:.3f}" for size in sizes)
        ratio = row["p50_ms"] / rows[0]["p50_ms"]
        lines.append(f"| {row['variant']} | {row['map50']:.3f} | {row['map']:.3f} | {by_size} | {ratio:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
