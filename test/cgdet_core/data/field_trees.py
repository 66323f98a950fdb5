"""Small trees in the layouts of published sets, written down from their documentation; the sets were not at hand."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 48, 64
Box = tuple[str, float, float, float, float]


def picture(path: Path, colour: bool = False, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 255, (*size, 3) if colour else size, dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def voc(path: Path, corners: list[Box]) -> Path:
    """corners: name, xmin, ymin, xmax, ymax."""
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = "".join(
        f"<object><name>{name}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
        f"<bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for name, left, top, right, bottom in corners
    )
    path.write_text(
        f"<annotation><folder>x</folder><filename>{path.stem}</filename><size><width>{WIDTH}</width>"
        f"<height>{HEIGHT}</height><depth>1</depth></size>{objects}</annotation>"
    )
    return path


def coco(path: Path, images: list[dict], boxes: list[tuple[int, str, list[float]]], names: list[str]) -> Path:
    """boxes: image id, name, [left, top, width, height]; categories are numbered from 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    annotations = [
        {"id": number, "image_id": image_id, "category_id": names.index(name) + 1, "bbox": box, "iscrowd": 0}
        for number, (image_id, name, box) in enumerate(boxes, 1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def flir_v1_voc(root: Path, frames: int = 2) -> Path:
    """root/align, with one dog, one box without area, and the drawn pictures that must not be read."""
    align = root / "align"
    stems = [f"FLIR_{number:05d}" for number in range(2, 2 + frames)]
    for stem in (*stems, "FLIR_08864"):
        picture(align / "JPEGImages" / f"{stem}_PreviewData.jpeg")
        picture(align / "JPEGImages" / f"{stem}_RGB.jpg", colour=True)
        picture(align / "AnnotatedImages" / f"{stem}_PreviewData.jpeg", size=(5, 5))
        labels = [("person", 4, 5, 14, 35), ("car", 20, 10, 50, 30), ("bicycle", 1, 2, 9, 12)]
        voc(align / "Annotations" / f"{stem}_PreviewData.xml", [*labels, ("dog", 30, 30, 35, 34), ("car", 8, 8, 8, 9)])
    (align / "align_train.txt").write_text("".join(f"{stem}_PreviewData\n" for stem in stems))
    (align / "align_validation.txt").write_text("FLIR_08864_PreviewData\n")
    return root


def flir_v2(root: Path) -> Path:
    """Three frames of two videos by day, by night and at dusk."""
    names = ["person", "bike", "car", "motor", "airplane", "bus", "train", "truck", "light", "sign", "other vehicle"]
    for folder in ("images_thermal_train", "video_thermal_test"):
        images = []
        for number, (video, hours) in enumerate((("aB3", "day"), ("aB3", "night"), ("9xY", "dawn/dusk"))):
            name = f"data/video-{video}-frame-{number:06d}-Qw{number}e7.jpg"
            picture(root / folder / name)
            extra = {"hours": hours, "scene": "urban", "video_id": video, "weather": "clear"}
            image = {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH, "extra_info": extra}
            images.append(image)
        boxes = [(0, name, [4.0, 5.0, 10.0, 12.0]) for name in names] + [(2, "person", [1.0, 1.0, 5.0, 9.0])]
        coco(root / folder / "coco.json", images, boxes, names)
    picture(root / "images_rgb_train" / "data" / "video-zz-frame-000007-a1.jpg", colour=True)
    (root / "rgb_to_thermal_vid_map.json").write_text("{}")
    return root


def llvip(root: Path) -> Path:
    for split, names in (("train", ("010001", "020007")), ("test", ("190001",))):
        for name in names:
            picture(root / "infrared" / split / f"{name}.jpg", colour=True)  # grey in three channels, as published
            picture(root / "visible" / split / f"{name}.jpg", colour=True)
            voc(root / "Annotations" / f"{name}.xml", [("person", 4, 5, 14, 35), ("person", 30, 5, 38, 25)])
    return root


BBGT = (
    "% bbGt version=3\n"
    "person 4 5 10 30 0 0 0 0 0 0 0\n"
    "person 30 5 8 20 1 30 5 4 20 1 0\n"
    "people 40 5 12 20 0 0 0 0 0 0 0\n"
    "person? 1 1 4 9 0 0 0 0 0 0 0\n"
    "cyclist 20 5 9 20 0 0 0 0 0 0 0\n"
)
KAIST_FRAMES = ("set00/V000/I00001", "set04/V002/I00019", "set06/V000/I00019", "set10/V001/I00039")


def kaist(root: Path, layout: str = "nested") -> Path:
    """layout of the text files: nested, paired (lwir and visible beside each other) or flat."""
    for frame in KAIST_FRAMES:
        folder, name = frame.rsplit("/", 1)
        picture(root / "images" / folder / "lwir" / f"{name}.jpg", colour=True)
        picture(root / "images" / folder / "visible" / f"{name}.jpg", colour=True)
        annotations = root / "annotations_paired"
        texts = {
            "nested": [annotations / folder / f"{name}.txt"],
            "paired": [annotations / folder / view / f"{name}.txt" for view in ("lwir", "visible")],
            "flat": [annotations / (frame.replace("/", "_") + ".txt")],
        }[layout]
        for text in texts:
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text(BBGT if "visible" not in text.parts else "% bbGt version=3\n")
    # a frame that nobody annotated
    picture(root / "images" / "set00" / "V000" / "lwir" / "I00002.jpg", colour=True)
    return root


def m3fd(root: Path) -> Path:
    for number in (0, 1, 120):
        picture(root / "Ir" / f"{number:05d}.png")
        picture(root / "Vis" / f"{number:05d}.png", colour=True)
        names = ("People", "Car", "Bus", "Truck", "Motorcycle", "Lamp")
        voc(root / "Annotation" / f"{number:05d}.xml", [(name, 4, 5, 14, 25) for name in names])
    return root
