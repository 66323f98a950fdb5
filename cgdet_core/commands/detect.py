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
    load_predictor,
)
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.config import PostprocessConfig
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

    from cgdet_core.data.sets.coco_file import CocoDraft
    from cgdet_core.files import check_can_write, make_folder
    from cgdet_core.images import read_image

    paths = _expand(arguments.images)
    names = _picture_names(paths)
    _check_own_images(paths, [arguments.out / name for name in names.values()])
    check_can_write(arguments.out / JSON_NAME)
    predictor = load_predictor(arguments)
    make_folder(arguments.out)
    postprocess = predictor.postprocess
    if arguments.score is not None:
        postprocess = _at_score(postprocess, arguments.score)
    draft = CocoDraft(predictor.info.class_names)
    failures = []
    for path in tqdm(paths, unit="image", disable=None):
        try:
            image = read_image(path)
            detections = predictor.predict(image, arguments.telemetry_rows, postprocess)
            _write(path, image, detections, arguments.out / names[path], draft)
        except InputError as error:
            failures.append(error)
    for failure in failures:
        print(f"cgdet: error: {failure}", file=sys.stderr)
    if draft.images:
        draft.write(arguments.out / JSON_NAME)
        print(f"{len(draft.annotations)} objects in {len(draft.images)} images: {arguments.out / JSON_NAME}")
    return 2 if failures else 0


def _write(path: Path, image: ImageArray, detections: Detections, picture: Path, draft: CocoDraft) -> None:
    """Write the picture and add the image with its objects to the draft, whose file will lie beside the picture."""
    import cv2

    from cgdet_core.boxes import xyxy_to_xywh
    from cgdet_core.data.sets.coco_file import image_entry
    from cgdet_core.drawing import draw
    from cgdet_core.files import replacing

    drawn = draw(image, detections, draft.class_names)
    done, encoded = cv2.imencode(".png", drawn[:, :, ::-1])
    if not done:
        raise InputError(f"{path}: the picture with its boxes cannot be encoded")
    with replacing(picture) as partial:
        partial.write_bytes(encoded.tobytes())
    # COCO's file names start at the JSON's folder
    file_name = os.path.relpath(path.resolve(), picture.parent.resolve())
    draft.add_image(image_entry(file_name, (image.shape[0], image.shape[1])))
    boxes = xyxy_to_xywh(detections.boxes_xyxy_px)
    for box, score, class_id in zip(boxes.tolist(), detections.scores, detections.class_ids, strict=True):
        draft.add_box(int(class_id), [round(value, 2) for value in box], score=round(float(score), 4))


def _at_score(own: PostprocessConfig, score: float) -> PostprocessConfig:
    """The model's own settings with one threshold for all classes."""
    from cgdet_core.config import PostprocessConfig, settings_from_mapping

    changed = own.model_dump() | {"score_threshold": score, "class_thresholds": {}}
    return settings_from_mapping(PostprocessConfig, changed, "--score")


def _check_own_images(paths: Sequence[Path], pictures: Sequence[Path]) -> None:
    """No picture takes the place of an image that was given."""
    given = {path.resolve() for path in paths}
    for picture in pictures:
        if picture.resolve() in given:
            raise InputError(f"{picture}: is one of the images and would be overwritten: choose another --out")


def _expand(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(item for item in path.iterdir() if item.suffix.lower() in IMAGE_SUFFIXES)
            if not inside and (path / "metadata.yaml").is_file():
                raise InputError(f"{path}: is a bag: `cgdet-replay --bag {path}` detects in it, through the node")
            if not inside:
                raise InputError(f"{path}: the folder holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
            found += inside
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _picture_names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name of its own for every image, even where two folders hold images of one name."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        name, number = f"{path.stem}.png", 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}.png"
        taken.add(name)
        names[path] = name
    return names
