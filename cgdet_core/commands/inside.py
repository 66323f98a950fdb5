"""cgdet inside: what a run's network makes of its frames, and what its teacher does."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.commands.common import Subparsers, add_command
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.config import Recipe
    from cgdet_core.data.sets.coco import CocoSet
    from cgdet_core.training.inside import EmbeddedRegions


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "inside",
        "draw a run's region embeddings in two dimensions, and its maps beside the RGB teacher's",
        "cgdet inside runs/cgdet --data DIR --out build/inside",
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder that its recipe's paths start from"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for embeddings.png, .json and maps"
    )
    parser.add_argument(
        "--set",
        metavar="F.json",
        help="COCO set under --data, with the class_map of the recipe's source of that path (default: the frames that "
        "the run held out)",
    )
    parser.add_argument(
        "--frames", type=int, default=200, metavar="N", help="most frames to embed (default: %(default)s)"
    )
    parser.add_argument(
        "--maps", type=int, default=3, metavar="N", help="frames whose maps are drawn (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from cgdet_core.evenly import evenly_spread
    from cgdet_core.files import write_text
    from cgdet_core.training.inside import Inside
    from cgdet_core.training.inside_pictures import draw_embeddings, draw_maps

    inside = Inside(arguments.run_folder, arguments.data)
    coco = _frames(inside.recipe, arguments.data, arguments.set, arguments.run_folder)
    names = inside.recipe.model.class_names
    chosen = evenly_spread(len(coco), arguments.frames)
    samples = (coco.sample(index, with_rgb=True) for index in tqdm(chosen, "embedding", unit="frame", disable=None))
    regions = inside.regions(samples)
    if not len(regions.class_ids):
        raise InputError(f"{coco.path}: none of {len(chosen)} frames has a labelled object: give another --set")
    terms = [name for name, term in (("rcs", inside.recipe.contrast), ("cms", inside.recipe.guidance)) if term.weight]
    title = f"{arguments.run_folder.name} ({', '.join(terms) or 'no term'}): {len(regions.class_ids)} regions"
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{arguments.out}: cannot be made ({error.strerror}): choose another --out") from None
    draw_embeddings(arguments.out / "embeddings.png", regions, names, title)
    write_text(arguments.out / "embeddings.json", json.dumps(_facts(regions, names)) + "\n")
    print(arguments.out / "embeddings.png")
    shown = [index for index in chosen if not coco.records[index].truth.ignore.all()]
    with_rgb = [index for index in shown if coco.records[index].rgb_path is not None]
    drawn = with_rgb or shown
    for index in (drawn[place] for place in evenly_spread(len(drawn), arguments.maps)):
        sample = coco.sample(index, with_rgb=True)
        path = arguments.out / f"maps_{Path(sample.name).stem}.png"
        draw_maps(path, sample, inside.maps(sample))
        print(path)
    for class_id, share in regions.agreement().items():
        print(f"{names[class_id]}: the nearest region of another frame is one too in {share:.3f}", file=sys.stderr)
    return 0


def _frames(recipe: Recipe, folder: Path, given: str | None, run_folder: Path) -> CocoSet:
    from cgdet_core.data.feed.sources import load_held_out
    from cgdet_core.data.sets.coco import load_coco

    if given is not None:
        # a set that the run knows has its recipe's class_map
        class_map = next((source.class_map for source in recipe.sources if source.path == given), {})
        return load_coco(folder / given, recipe.model.class_names, class_map)
    held_out = load_held_out(recipe, folder, run_folder)
    if held_out is None:
        raise InputError(f"{run_folder}: held no frames out: name a set with --set")
    return held_out


def _facts(regions: EmbeddedRegions, names: tuple[str, ...]) -> dict[str, object]:
    plane = regions.plane().round(4).tolist()
    return {
        "nearest_of_another_frame_alike": {names[key]: value for key, value in regions.agreement().items()},
        "regions": [
            {
                "frame": frame,
                "light": light or None,
                "class": names[class_id],
                "height_px": round(float(height), 1),
                "xy": xy,
            }
            for frame, light, class_id, height, xy in zip(
                regions.frames, regions.lights, regions.class_ids, regions.heights_px, plane, strict=True
            )
        ],
    }
