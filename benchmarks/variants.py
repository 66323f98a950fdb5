"""What a model would be with another input size, or with its weights averaged with another's; nothing is trained.

    python benchmarks/variants.py --model runs/held_out/model.safetensors --run runs/held_out --data DIR
        [--inputs 448x544 576x736 ...] [--average OTHER [OTHER ...] --share 0.1 0.5 ...]
    python benchmarks/variants.py --model MODEL --data F.json ...

An average has of every weight a share of OTHER's. A row has a variant's figures, AP50 by size, and its time of a frame
over the model's as it is. No test split is taken.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cgdet_core.config import ModelConfig
from cgdet_core.errors import CgdetError, InputError, print_error
from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.evaluation.offline import run_offline
from cgdet_core.evaluation.selection import refuse_test_split, select_frames
from cgdet_core.runtime.model_file import load_model, save_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.tasks.detection.head import Detector


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL")
    parser.add_argument("--data", type=Path, required=True, help="a COCO JSON; with --run the folder of its paths")
    parser.add_argument("--run", type=Path, metavar="RUN", help="measure on the frames that this run held out")
    parser.add_argument("--inputs", nargs="+", default=(), metavar="HxW", help="heights and widths in pixels")
    parser.add_argument("--average", type=Path, nargs="+", default=(), metavar="OTHER", help="of the same network")
    parser.add_argument("--share", type=float, nargs="+", default=(0.5,), metavar="S", help="of OTHER, 0 to 1")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    first_ms = 0.0
    print("| variant | mAP50 | mAP | AP50 small | AP50 medium | AP50 large | time of a frame |\n" + "|---" * 7 + "|")
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, path in variants(arguments, Path(folder)):
                predictor = Predictor(path, "cpu", arguments.precision, threads=1)
                predictor.warm_up()
                names = predictor.info.class_names
                refuse_test_split(arguments.data)
                frames = select_frames(arguments.data, names, arguments.run)
                run = run_offline(predictor, frames.samples, frames.count)
                figures = evaluate(run.frames, names)
                p50_ms = run.ms_per_image()["p50"]
                first_ms = first_ms or p50_ms
                by_size = [figures.by_size[size]["map50"] for size in ("small", "medium", "large")]
                cells = [f"{value or 0:.3f}" for value in (figures.map50, figures.map, *by_size)]
                print(f"| {name} | {' | '.join(cells)} | {p50_ms / first_ms:.2f} |", flush=True)
    except CgdetError as error:
        print_error(error)
        return 2
    return 0


def variants(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of each, the model as it is first; InputError for an input or a model that does not fit."""
    yield "as it is", arguments.model
    detector, info = load_model(arguments.model)
    own = {key: value.clone() for key, value in detector.state_dict().items()}
    path = folder / "variant.safetensors"
    for words in arguments.inputs:
        try:
            size = tuple(int(word) for word in words.split("x"))
            changed = ModelConfig.model_validate({**info.model.model_dump(), "input_height_width_px": size})
        except ValueError:
            raise InputError(f"'{words}' is no input: give multiples of 32 such as 576x736") from None
        other = Detector(changed)
        other.load_state_dict(own)
        save_model(path, other, info.model_copy(update={"model": changed}))
        yield f"input {words}", path
    for given in arguments.average:
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
            save_model(path, detector, info)
            yield f"{share:g} of {given}", path


if __name__ == "__main__":
    sys.exit(main())
