"""cgdet detect: boxes drawn into images, and as COCO JSON."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.commands.common import (
    Subparsers,
    add_command,
    add_model_arguments,
    add_telemetry_argument,
)
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.data.sets.coco_file import CocoDraft
    from cgdet_core.types import Detections, ImageArray

JSON_NAME = "detections.json"
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".pgm"}


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "detect",
        "detect objects in thermal images: pictures with boxes, and a COCO JSON (an image that is none is named, the "
        "others are done; exit code 2 then)",
        "cgdet detect frames/*.png --out found/",
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="8- or 16-bit image, or a folder of them")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for pictures and detections.json"
    )
    parser.add_argument("--score", type=float, help="least score in place of the model's own thresholds")
    add_telemetry_argument(parser)
    add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Every image is tried; one that is none is named, and the exit code is 2 then."""
    from tqdm import tqdm

    from cgdet_core.config import PostprocessConfig, settings_from_mapping
    from cgdet_core.data.sets.coco_file import CocoDraft
    from cgdet_core.files import check_can_write, make_folder
    from cgdet_core.images import read_image
    from cgdet_core.runtime.predictor import Predictor

    pictures = _pictures(_images(arguments.images), arguments.out)
    given = {path.resolve() for path in pictures}
    for picture in pictures.values():
        if picture.resolve() in given:
            raise InputError(f"{picture}: is one of the images and would be overwritten: choose another --out")
    check_can_write(arguments.out / JSON_NAME)
    predictor = Predictor(
        *(arguments.model, arguments.device, arguments.precision), threads=arguments.threads, backend=arguments.backend
    )
    predictor.warm_up()
    make_folder(arguments.out)
    postprocess = predictor.postprocess
    if arguments.score is not None:
        changed = postprocess.model_dump() | {"score_threshold": arguments.score, "class_thresholds": {}}
        postprocess = settings_from_mapping(PostprocessConfig, changed, "--score")
    draft, failed = CocoDraft(predictor.info.class_names), 0
    try:
        for path, picture in tqdm(pictures.items(), unit="image", disable=None):
            try:
                image = read_image(path)
                detections = predictor.predict(image, arguments.telemetry_rows, postprocess)
                _write(path, image, detections, picture, draft)
            except InputError as error:
                failed += 1
                tqdm.write(f"cgdet: error: {error}", file=sys.stderr)
    finally:  # also of what was done before a Ctrl-C
        if draft.images:
            draft.write(arguments.out / JSON_NAME)
            print(f"{len(draft.annotations)} objects in {len(draft.images)} images: {arguments.out / JSON_NAME}")
    return 2 if failed else 0


def _images(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, folders as the images in them; none twice."""
    found: list[Path] = []
    for path in paths:
        inside = [path]
        if path.is_dir():
            # macOS writes a ._x.png that is none beside each x.png on other disks
            there = (item for item in path.iterdir() if not item.name.startswith("._"))
            inside = sorted(item for item in there if item.suffix.lower() in IMAGE_SUFFIXES)
        if not inside and (path / "metadata.yaml").is_file():
            raise InputError(f"{path}: is a bag: `cgdet-replay --bag {path}` detects in it, through the node")
        if not inside:
            raise InputError(f"{path}: the folder holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
        found += inside
    return list(dict.fromkeys(found))


def _pictures(images: Sequence[Path], out: Path) -> dict[Path, Path]:
    """A picture of its own for every image, even where two folders hold images of one name."""
    names: dict[str, Path] = {}
    for path in images:
        name, number = f"{path.stem}.png", 1
        while name in names:
            number += 1
            name = f"{path.stem}-{number}.png"
        names[name] = path
    return {path: out / name for name, path in names.items()}


def _write(path: Path, image: ImageArray, detections: Detections, picture: Path, draft: CocoDraft) -> None:
    """Write the picture and add the image with its objects to the draft, whose file will lie beside the picture."""
    import cv2

    from cgdet_core.data.sets.coco_file import image_entry
    from cgdet_core.drawing import draw
    from cgdet_core.files import replacing

    encoded = cv2.imencode(".png", draw(image, detections, draft.class_names)[:, :, ::-1])[1]
    with replacing(picture) as partial:
        partial.write_bytes(encoded.tobytes())
    # COCO's file names start at the JSON's folder
    file_name = os.path.relpath(path.resolve(), picture.parent.resolve())
    draft.add_image(image_entry(file_name, (image.shape[0], image.shape[1])))
    draft.add_detections(detections)
