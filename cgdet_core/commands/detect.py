"""cgdet detect and cgdet landmarks: what is seen in images, drawn into them and as COCO JSON."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.commands import common
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.data.sets.coco_file import CocoDraft
    from cgdet_core.drawing import RgbArray
    from cgdet_core.types import FloatArray, ImageArray, Landmarks

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".pgm"}
# an image with its path -> the picture to write, and what then adds what was seen to the draft
See = Callable[[Path, "ImageArray"], tuple["RgbArray", Callable[[], None]]]


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "detect",
        "detect objects in images; it needs thermal images, and writes pictures with boxes and a COCO JSON",
        "cgdet detect frames/*.png --out found/",
    )
    _add_images(parser, "detections.json")
    parser.add_argument("--score", type=float, help="lowest score, in place of the model's own thresholds")
    common.add_model_arguments(parser)
    parser.set_defaults(run=detect)
    parser = common.add_command(
        subparsers,
        "landmarks",
        "find the 68 points of faces in images; it needs thermal images, and writes pictures and COCO keypoints",
        "cgdet landmarks frames/*.png --boxes faces.json --out found/",
    )
    _add_images(parser, "landmarks.json")
    boxes = "boxes of the faces in these images (default: each image is the crop of one face)"
    parser.add_argument("--boxes", type=Path, metavar="COCO.json", help=boxes)
    common.add_model_arguments(parser, shipped="landmarks")
    parser.set_defaults(run=landmarks)


def _add_images(parser: argparse.ArgumentParser, json_name: str) -> None:
    image = "image of 8 or 16 bits, or a folder; a bad file is named and left out (exit code 2)"
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help=image)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=f"folder for pictures and {json_name}")
    common.add_telemetry_argument(parser)
    parser.set_defaults(json_name=json_name)


def detect(arguments: argparse.Namespace) -> int:
    from cgdet_core.config import PostprocessConfig, settings_from_mapping
    from cgdet_core.data.sets.coco_file import CocoDraft
    from cgdet_core.runtime.predictor import Predictor

    def load() -> tuple[CocoDraft, See]:
        predictor = Predictor(arguments.model, *common.how(arguments))
        predictor.warm_up()
        postprocess = predictor.postprocess
        if arguments.score is not None:
            changed = postprocess.model_dump() | {"score_threshold": arguments.score, "class_thresholds": {}}
            postprocess = settings_from_mapping(PostprocessConfig, changed, "--score")
        draft = CocoDraft(predictor.info.class_names)

        def see(_path: Path, image: ImageArray) -> tuple[RgbArray, Callable[[], None]]:
            found = predictor.predict(image, arguments.telemetry_rows, postprocess)
            return predictor.draw(image, found), lambda: draft.add_detections(found)

        return draft, see

    return _see_all(arguments, "objects", load)


def landmarks(arguments: argparse.Namespace) -> int:
    import numpy as np

    from cgdet_core.data.sets.coco_file import CocoDraft
    from cgdet_core.runtime.landmarks import LandmarkPredictor
    from cgdet_core.tasks.landmarks.tracking import boxes_of
    from cgdet_core.thermal import cut_telemetry

    def load() -> tuple[CocoDraft, See]:
        of_image = None if arguments.boxes is None else _boxes_by_image(arguments.boxes)
        rows = arguments.telemetry_rows
        predictor = LandmarkPredictor(arguments.model, *common.how(arguments))
        predictor.warm_up()
        draft = CocoDraft(predictor.info.class_names, faces=True)
        if of_image is None:
            print("cgdet: without --boxes each image is taken for the crop of one face", file=sys.stderr)

        def see(path: Path, image: ImageArray) -> tuple[RgbArray, Callable[[], None]]:
            if of_image is None:
                picture, above = cut_telemetry(image, rows)
                whole = np.array([[0, above, picture.shape[1], above + picture.shape[0]]], np.float32)
                # the crop about a face is narrower than a picture of it: the points tell where the face is
                found = predictor.predict(image, boxes_of(predictor.predict(image, whole, rows)), rows)
            elif path.resolve() in of_image:
                found = predictor.predict(image, of_image[path.resolve()], rows)
            else:
                raise InputError(f"{path}: {arguments.boxes} does not list it: add its boxes, or leave the image out")
            return predictor.draw(image, found), lambda: _add_faces(draft, found)

        return draft, see

    return _see_all(arguments, "faces", load)


def _boxes_by_image(path: Path) -> Mapping[Path, FloatArray]:
    """Boxes float32 [N, 4] of each image of a COCO JSON, but for regions to ignore; InputError as of its labels."""
    import numpy as np

    from cgdet_core.boxes import xywh_to_xyxy
    from cgdet_core.data.sets.coco_file import read_coco
    from cgdet_core.data.sets.plausible import check_plausible

    document = read_coco(path)
    of_id = {image.id: image for image in document.images}
    boxes = [each for each in document.annotations if not each.to_ignore]
    if not boxes:
        raise InputError(f"{path}: has no box of a face: leave out --boxes where each image is one face")
    images = [of_id[each.image_id] for each in boxes]
    xywh = np.array([each.bbox for each in boxes], np.float32)
    sizes = np.array([(image.width, image.height) for image in images], np.float32)
    names = [image.file_name for image in images]
    common.print_warnings(check_plausible(path, xywh, sizes, names, np.ones(len(boxes), np.bool_)))
    xyxy, owners = xywh_to_xyxy(xywh), [image.id for image in images]
    return {
        (path.parent / image.file_name).resolve(): xyxy[[owner == image.id for owner in owners]]
        for image in document.images
    }


def _add_faces(draft: CocoDraft, found: Landmarks) -> None:
    """The faces of the last image: the box about the points, the points as keypoints, a confidence of each."""
    import numpy as np

    from cgdet_core.boxes import xyxy_to_xywh
    from cgdet_core.tasks.landmarks.points import POINTS
    from cgdet_core.tasks.landmarks.tracking import boxes_of

    boxes = xyxy_to_xywh(boxes_of(found)).astype(np.float64).round(2).tolist()
    triples = np.insert(found.points_xy_px.astype(np.float64).round(2), 2, 2, axis=2).reshape(len(found), 3 * POINTS)
    confidences = found.confidences.astype(np.float64).round(4).tolist()
    for box, keypoints, sure in zip(boxes, triples.tolist(), confidences, strict=True):
        more = {"num_keypoints": len(sure), "confidences": sure, "score": round(sum(sure) / len(sure), 5)}
        draft.add_box(0, box, keypoints=keypoints, **more)


def _see_all(arguments: argparse.Namespace, what: str, load: Callable[[], tuple[CocoDraft, See]]) -> int:
    """Every image is tried; one that is none is named, and the exit code is 2 then."""
    from tqdm import tqdm

    from cgdet_core.data.sets.coco_file import image_entry
    from cgdet_core.files import check_can_write, make_folder, write_bytes
    from cgdet_core.images import encode_png, read_image, turned_by

    json_path: Path = arguments.out / arguments.json_name
    pictures = _pictures(_images(arguments.images), arguments.out)
    given = {path.resolve() for path in pictures}
    for picture in pictures.values():
        if picture.resolve() in given:
            raise InputError(f"{picture}: is one of the images and would be overwritten: choose another --out")
    check_can_write(json_path)
    draft, see = load()
    make_folder(arguments.out)
    failed = turned = 0
    try:
        for path, picture in tqdm(pictures.items(), unit="image", disable=None):
            try:
                image = read_image(path)
                drawn, add_found = see(path, image)
                write_bytes(picture, encode_png(drawn))
                # COCO's file names start at the JSON's folder
                file_name = os.path.relpath(path.resolve(), arguments.out.resolve())
                draft.add_image(image_entry(file_name, (image.shape[0], image.shape[1])))
                add_found()
                turned += turned_by(path) > 1
            except InputError as error:
                failed += 1
                said = str(error)
                tqdm.write(f"cgdet: error: {said if str(path) in said else f'{path}: {said}'}", file=sys.stderr)
    finally:  # also of what was done before a Ctrl-C
        if draft.images:
            draft.write(json_path)
            told = f"{turned} images have an Exif rotation: boxes and points are in their pixels as stored"
            common.print_warnings([told] if turned else ())
            print(f"{len(draft.annotations)} {what} in {len(draft.images)} images: {json_path}")
    return 2 if failed else 0


def _images(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, folders as the images in them; none twice."""
    found: list[Path] = []
    for path in paths:
        inside = [path]
        if path.is_dir():
            # macOS writes a ._x.png that is none beside each x.png on other disks
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.name[:2] != "._")
        if not inside:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise InputError(f"{path}: holds no image ({kinds}): give some; of a bag use `cgdet-replay --bag {path}`")
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
