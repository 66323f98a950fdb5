"""Puts a trained model into models/, with the figures that `cgdet evaluate --json` wrote about it.

    .venv/bin/python tools/release_model.py runs/first/model.safetensors models/detector.safetensors FIGURES.json...

The figures must be of that very file. Its weights stay as they are; its hash changes, since the figures are in it. Its
export, which is deployed, is written beside it.
"""

import json
import sys
from pathlib import Path

from cgdet_core.files import sha256_of
from cgdet_core.runtime.export import write_export
from cgdet_core.runtime.model_file import load_model, read_description, save_model

KEPT = ("map50", "map", "map75", "images", "device", "precision", "backend", "input")


def main(words: list[str]) -> int:
    if len(words) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    model, target, *figure_paths = map(Path, words)
    detector, info = load_model(model)
    digest = sha256_of(model)
    scores = {}
    for path in figure_paths:
        figures = json.loads(path.read_text(encoding="utf-8"))
        if figures["model_sha256"] != digest:
            sys.exit(
                f"{path}: is about a model of hash {figures['model_sha256'][:12]}, not {digest[:12]}: evaluate again"
            )
        scores["/".join(Path(figures["data"]).parts[-2:])] = {key: figures[key] for key in KEPT}
    save_model(target, detector, info.model_copy(update={"scores": scores}))
    write_export(target, target.with_suffix(".onnx"), read_description(target))
    print(f"{target}: {target.stat().st_size} bytes, {len(scores)} data sets of figures")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
