"""COCO sets: what is good is read, what is odd is one line that names it."""

from __future__ import annotations

import json
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cgdet_core.data.sets.coco import load_coco
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry, read_coco
from cgdet_core.errors import InputError
from cgdet_core.images import decode_compressed, read_image
from cgdet_core.tasks.landmarks.points import MIRROR
from cgdet_core.types import GroundTruth

CATEGORIES = [{"id": 7, "name": "car"}, {"id": 3, "name": "person"}, {"id": 9, "name": "bicycle"}]


def an_image(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": f"images/{number}.png", "height": 12, "width": 16, **more}


def a_label(number: int, image: int = 1, category: int = 3, box: Any = (1, 2, 3, 4), **more: Any) -> dict[str, Any]:
    box = list(box) if isinstance(box, tuple) else box
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, **more}


def write_set(folder: Path, **changes: Any) -> Path:
    """A set of two images; a key of `changes` replaces a list, None leaves it out."""
    (folder / "images").mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number in (1, 2):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), rng.integers(0, 256, (12, 16), dtype=np.uint8))
    document = {"images": [an_image(1), an_image(2)], "annotations": [a_label(1)], "categories": CATEGORIES, **changes}
    path = folder / "set.json"
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return path


def refusal(path: Path, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_coco(path, **more)
    assert "\n" not in str(caught.value)
    assert str(path.parent) in str(caught.value)
    return str(caught.value)


def test_the_video_of_an_image_is_its_scene_where_none_is_named(tmp_path: Path) -> None:
    images = [an_image(1, video="drive 7", scene="a"), an_image(2, video="drive 7")]
    assert [record.scene for record in load_coco(write_set(tmp_path, images=images)).records] == ["a", "drive 7"]


def test_images_and_labels_come_as_the_file_says(tmp_path: Path) -> None:
    path = write_set(
        tmp_path,
        images=[an_image(2, light="night", scene="a"), an_image(1)],
        annotations=[
            a_label(1, image=1, category=7, box=(1, 2, 3, 4)),
            a_label(2, image=2, category=9, box=(0.5, 1.5, 2.25, 3), iscrowd=1),
            a_label(3, image=1, category=3, box=(10, 8, 100, 100), iscrowd=0),
            a_label(4, image=1, category=3, box=(-5, -6, 7, 8)),
        ],
    )
    coco = load_coco(path)
    assert coco.class_names == ("person", "bicycle", "car")
    assert [record.file_name for record in coco.records] == ["images/2.png", "images/1.png"]
    first, second = list(coco)
    assert (first.light, first.scene, second.light) == ("night", "a", None)
    assert first.truth is not None
    assert second.truth is not None
    assert first.truth.boxes_xyxy_px.tolist() == [[0.5, 1.5, 2.75, 4.5]]
    assert first.truth.class_ids.tolist() == [1]
    assert first.truth.ignore.tolist() == [True]
    assert second.truth.boxes_xyxy_px.tolist() == [[1, 2, 4, 6], [10, 8, 16, 12], [0, 0, 2, 2]]
    assert second.truth.class_ids.tolist() == [2, 0, 0]
    assert second.truth.ignore.tolist() == [False, False, False]
    assert second.truth.labelled is None  # all are
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 16), dtype=np.uint8)
    assert (second.frame.image == pixels[0]).all()
    assert (first.frame.image == pixels[1]).all()


def test_categories_are_mapped_to_classes_and_to_regions_to_ignore_of_every_class(tmp_path: Path) -> None:
    path = write_set(
        tmp_path,
        categories=[{"id": 1, "name": "pedestrian"}, {"id": 2, "name": "van"}, {"id": 3, "name": "dontcare"}],
        annotations=[
            a_label(1, category=2, box=(1, 1, 2, 2)),
            a_label(2, category=3, box=(3, 3, 4, 4)),
            a_label(3, category=1, box=(5, 5, 1, 1)),
        ],
    )
    truth = load_coco(path, class_map={"pedestrian": "person", "van": "car", "dontcare": "ignore"}).records[0].truth
    assert truth.class_ids.tolist() == [2, 0, 1, 2, 0]
    assert truth.ignore.tolist() == [False, True, True, True, False]
    assert truth.boxes_xyxy_px[1:4].tolist() == [[3, 3, 7, 7]] * 3
    assert truth.labelled is not None
    assert truth.labelled.tolist() == [True, False, True]


def test_boxes_of_background_leave_and_the_class_is_labelled_by_those_that_stay(tmp_path: Path) -> None:
    labels = [a_label(1), a_label(2, category=7, box=(5, 5, 3, 3)), a_label(3, category=9, iscrowd=1)]
    coco = load_coco(
        write_set(tmp_path, annotations=labels), ("person",), {"car": "background", "bicycle": "background"}
    )
    truth = coco.records[0].truth
    assert truth.boxes_xyxy_px.tolist() == [[1, 2, 4, 6]]
    assert truth.labelled is None


def test_a_missing_image_is_named_by_its_path(tmp_path: Path) -> None:
    path = write_set(tmp_path)
    (tmp_path / "images" / "2.png").unlink()
    assert str(tmp_path / "images" / "2.png") in refusal(path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"annotations": [a_label(41, image=5)]}, "annotations[0]"),
        ({"annotations": [a_label(41, category=4)]}, "annotations[0]"),
        *(
            ({"annotations": [a_label(41, box=box)]}, "annotations[0].bbox")
            for box in (None, (1, 2, 3), (1, 2, -3, 4), (1, 2, "3,0", 4), (1, 2, float("nan"), 4), (-1e39, 2, 1e39, 4))
        ),
        ({"annotations": None}, "annotations"),
        ({"images": {}}, "images"),
        ({"images": [], "annotations": []}, "no image"),
        ({"images": [an_image(1), an_image(2, id=1)]}, "id 1"),
        ({"categories": [*CATEGORIES, {"id": 3, "name": "car"}]}, "id 3"),
        ({"images": [{"id": 1, "height": 12, "width": 16}]}, "images[0].file_name"),
        *(({"images": [an_image(1, width=side)]}, "images[0].width") for side in ("wide", 0, float("inf"), 16.5)),
        *(({"images": [an_image(1, file_name=name)]}, "unknown image") for name in ("images", "a" * 5000, "a\0b")),
        ({"images": [an_image(1, rgb_file_name=5)]}, "images[0].rgb_file_name"),
        ({"images": [an_image(1, scene={})]}, "images[0].scene"),
        ({"images": [an_image(1, light="dusk")]}, "images[0].light"),
        ({"images": [an_image(1, stamp_ns=1.7e18)]}, "images[0].stamp_ns"),
        ({"images": [an_image(1, labelled="car")]}, "images[0].labelled"),
    ],
)
def test_an_odd_entry_is_one_line_that_names_it(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    assert named in refusal(write_set(tmp_path, **changes))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff\x00", b"[" * 200_000, b'{"images": ' + b"1" * 5000 + b"}", None]
)
def test_a_file_that_is_no_set_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "set.json"
    if content is not None:
        path.write_bytes(content)
    assert str(path) in refusal(path)


def test_an_image_of_another_size_than_stated_is_refused_when_read(tmp_path: Path) -> None:
    coco = load_coco(write_set(tmp_path, images=[an_image(1, height=16, width=12)]))
    with pytest.raises(InputError, match=r"1\.png.*16x12.*12x16"):
        coco.sample(0)


def test_the_partner_is_read_in_rgb_order_where_asked(tmp_path: Path) -> None:
    path = write_set(tmp_path, images=[an_image(1, rgb_file_name="images/rgb.png")])
    red = np.zeros((12, 16, 3), np.uint8)
    red[..., 2] = 200  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "images" / "rgb.png"), red)
    coco = load_coco(path)
    assert coco.sample(0).rgb is None
    rgb = coco.sample(0, with_rgb=True).rgb
    assert rgb is not None
    assert rgb[0, 0].tolist() == [200, 0, 0]


def test_a_missing_partner_is_named(tmp_path: Path) -> None:
    coco = load_coco(write_set(tmp_path, images=[an_image(1, rgb_file_name="images/none.png")]))
    assert coco.sample(0).rgb is None
    with pytest.raises(InputError, match=r"none\.png"):
        coco.sample(0, with_rgb=True)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_pictures_keep_their_depth_and_values(tmp_path: Path, suffix: str, dtype: type) -> None:
    image = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (9, 11)).astype(dtype)
    cv2.imwrite(str(tmp_path / f"x{suffix}"), image)
    read = read_image(tmp_path / f"x{suffix}")
    assert read.dtype == dtype
    assert read.shape == (9, 11)
    assert (read == image).all()


def a_png_that_promises(width: int, height: int) -> bytes:
    """The head of a PNG of a size it does not hold."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + crc


PICTURE = np.random.default_rng(2).integers(0, 256, (80, 80), dtype=np.uint8)
UNREADABLE = {
    "empty.png": b"",
    "cut.png": cv2.imencode(".png", PICTURE)[1].tobytes()[:2000],
    "cut.jpg": cv2.imencode(".jpg", PICTURE)[1].tobytes()[:1000],
    "huge.png": a_png_that_promises(70000, 70000),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_decoded_is_one_line_with_its_path(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(UNREADABLE[name])
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pictures_of_other_depths_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "colour16.png"), np.zeros((4, 4, 3), np.uint16))
    cv2.imwrite(str(tmp_path / "float.tiff"), np.zeros((4, 4), np.float32))
    with pytest.raises(InputError, match=r"colour16\.png.*uint16"):
        read_image(tmp_path / "colour16.png")
    with pytest.raises(InputError, match=r"float\.tiff.*float32"):
        read_image(tmp_path / "float.tiff")


def test_a_set_that_was_written_is_read_again(tmp_path: Path) -> None:
    write_set(tmp_path)
    draft = CocoDraft()
    draft.add_image(image_entry("images/2.png", (12, 16), light="night"))
    draft.add_box(1, (1, 2, 3.5, 4), score=0.75)
    draft.add_image(image_entry("images/1.png", (12, 16)))
    draft.add_truth(GroundTruth(np.array([[1, 2, 5, 4.0005], [0, 0, 8, 8]]), np.array([2, 0]), np.array([False, True])))
    path = tmp_path / "again.json"
    draft.write(path, info={"made": "by hand"})
    assert json.loads(path.read_text()) == {
        "info": {"made": "by hand"},
        "images": [
            {"id": 1, "file_name": "images/2.png", "height": 12, "width": 16, "light": "night"},
            {"id": 2, "file_name": "images/1.png", "height": 12, "width": 16},
        ],
        "annotations": [
            a_label(1, 1, 2, (1, 2, 3.5, 4), area=14, iscrowd=0, score=0.75),
            a_label(2, 2, 3, (1, 2, 4, 2.001), area=8.004, iscrowd=0),
            a_label(3, 2, 1, (0, 0, 8, 8), area=64, iscrowd=1),
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}, {"id": 3, "name": "car"}],
    }
    night, truth = (record.truth for record in load_coco(path).records)
    assert night.class_ids.tolist() == [1]
    assert truth.class_ids.tolist() == [2, 0]
    assert truth.ignore.tolist() == [False, True]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["again.json", "images", "set.json"]


def test_an_image_may_name_where_its_rgb_is_valid_and_which_classes_are_labelled(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8), np.uint8))
    size = {"height": 8, "width": 8}
    images = [
        {"id": 1, "file_name": "a.png", "rgb_file_name": "a.jpg", "rgb_valid_file_name": "valid.png", **size},
        {"id": 2, "file_name": "b.png", "rgb_valid_file_name": "valid.png", "labelled": ["car"], **size},
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(("person", "bicycle", "car"), 1)]
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    first, second = load_coco(path).records
    assert first.rgb_valid_path == tmp_path / "valid.png"
    assert first.truth.labelled is None
    # without RGB there is nothing to be valid
    assert second.rgb_valid_path is None
    assert second.truth.labelled is not None
    assert second.truth.labelled.tolist() == [False, False, True]
    images[1]["labelled"] = ["truck"]
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    with pytest.raises(InputError, match=r"images\[1\]\.labelled: unknown class 'truck'"):
        load_coco(path)


def test_every_category_that_is_no_class_is_told_at_once_in_words_to_copy(tmp_path: Path) -> None:
    names = ("persn", "bicycle", "delivery van", "dog")
    labels = [a_label(1, category=3 + k) for k in range(4)]
    categories = [{"id": 3 + k, "name": name} for k, name in enumerate((*names, "unused"))]
    path = write_set(tmp_path, categories=categories, annotations=labels)
    with pytest.raises(InputError) as refused:
        load_coco(path)
    said = str(refused.value)
    assert "'persn', 'delivery van', 'dog':" in said
    assert "--class-map persn=person 'delivery van=ignore' dog=ignore (" in said
    mapping = {"persn": "person", "delivery van": "background", "dog": "background"}
    assert load_coco(path, class_map=mapping).records[0].truth.class_ids.tolist() == [0, 1]


def test_a_category_may_differ_by_case_and_blanks_where_one_class_alone_is_meant(tmp_path: Path) -> None:
    path = write_set(tmp_path, categories=[{"id": 3, "name": " Person"}, {"id": 7, "name": "VAN"}])
    truth = load_coco(path, class_map={"van": "car"}).records[0].truth
    assert truth.class_ids.tolist() == [0]
    assert truth.labelled is not None
    assert truth.labelled.tolist() == [True, False, True]
    assert "'Person'" in refusal(path, class_names=("PERSON", "person"), class_map={"van": "ignore"})


def test_a_box_off_its_frame_is_left_out_and_told(tmp_path: Path) -> None:
    labels = [
        a_label(1, box=(-4, -4, 10, 10)),
        a_label(2, box=(20, 2, 3, 4)),
        a_label(3, 2, box=(4, 2, 0, 4)),
        a_label(4, 2, box=(-5, 2, 4, 4), iscrowd=1),
        a_label(5, 2),
    ]
    coco = load_coco(write_set(tmp_path, annotations=labels))
    assert [record.truth.boxes_xyxy_px.tolist() for record in coco.records] == [[[0, 0, 6, 6]], [[1, 2, 4, 6]]]
    line = coco.warnings[0]
    assert line.startswith(f"{coco.path}: 4 of 5 boxes")
    assert "3 without any area" in line
    assert "images/1.png" in line


POINTS = {"keypoints": ["left", "right", "nose"], "flip_indices": [1, 0, 2]}


def with_points(folder: Path, **changes: Any) -> Path:
    faces = [{"id": 3, "name": "person", **POINTS, **changes.pop("category", {})}, {"id": 7, "name": "car"}]
    three = [1, 2, 2, 3.5, 4, 1, 99, 99, 0]
    labels = [a_label(1, keypoints=changes.pop("keypoints", three), num_keypoints=2), a_label(2, category=7)]
    return write_set(folder, categories=faces, annotations=labels, **changes)


def test_keypoints_stand_beside_their_boxes(tmp_path: Path) -> None:
    coco = load_coco(with_points(tmp_path, images=[an_image(1, camera="t540", subject="s1"), an_image(2)]))
    facts = [(record.camera, record.scene) for record in coco.records]
    assert facts == [("t540", "s1"), (None, None)]  # faces of one person are a scene
    truth, empty = (record.truth for record in coco.records)
    assert truth.points_xy_px is not None
    assert truth.points_labelled is not None
    assert truth.points_labelled.tolist() == [[True, True, False], [False] * 3]
    assert truth.points_xy_px[0, :2].tolist() == [[1, 2], [3.5, 4]]
    assert empty.points_xy_px is not None
    assert empty.points_xy_px.shape == (0, 3, 2)
    assert load_coco(write_set(tmp_path)).records[0].truth.points_xy_px is None


def test_points_of_faces_are_read_as_they_were_written(tmp_path: Path) -> None:
    points, known = np.arange(136, dtype=np.float32).reshape(1, 68, 2) / 10, np.arange(68)[None] % 3 > 0
    truth = GroundTruth(np.array([[0, 0, 16, 12]]), np.zeros(1, int), np.zeros(1, bool), None, points, known)
    draft = CocoDraft(("person",), faces=True)
    draft.add_image(an_image(1))
    draft.add_truth(truth)
    write_set(tmp_path)  # its pictures
    draft.write(tmp_path / "faces.json")
    category = read_coco(tmp_path / "faces.json").categories[0]
    assert (len(category.keypoints), category.flip_indices) == (68, tuple(MIRROR))
    read = load_coco(tmp_path / "faces.json").records[0].truth
    assert read.points_xy_px is not None
    assert read.points_labelled is not None
    assert (read.points_labelled == known).all()
    np.testing.assert_allclose(read.points_xy_px[known], points[known], atol=1e-3)


def test_68_points_that_a_mirror_exchanges_otherwise_than_ibugs_are_refused(tmp_path: Path) -> None:
    names, keypoints = [f"p{number}" for number in range(68)], [1, 2, 2] * 2 + [0] * 198
    good = {"keypoints": names, "flip_indices": MIRROR.tolist()}
    labelled = load_coco(with_points(tmp_path, category=good, keypoints=keypoints)).records[0].truth.points_labelled
    assert labelled is not None
    assert labelled.sum() == 2
    backwards = {"keypoints": names, "flip_indices": list(range(67, -1, -1))}
    with pytest.raises(InputError, match="flip_indices"):
        load_coco(with_points(tmp_path, category=backwards, keypoints=keypoints))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        *(({"keypoints": each}, "annotations[0].keypoints") for each in ([1, 2, 2], [1, 2, 3] * 3, [1, 2, 2] * 4)),
        ({"keypoints": [1, 2, 2, float("nan"), 1, 2, 1, 1, 2]}, "annotations[0].keypoints[3]"),
        ({"category": {"keypoints": []}}, "categories[0].flip_indices"),
        *(
            ({"category": {"flip_indices": each}}, "categories[0].flip_indices")
            for each in ([1, 2, 0], [0, 1], [0] * 3)
        ),
    ],
)
def test_keypoints_that_are_none_are_named(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    assert named in refusal(with_points(tmp_path, **changes))


def test_points_that_are_not_of_their_boxes_are_refused_where_nearly_all_are_such_and_told_where_some_are(
    tmp_path: Path,
) -> None:
    face = [{"id": 1, "name": "face", "keypoints": ["left", "right", "nose"]}]
    good, share = [3, 4, 2, 6, 4, 1, 5, 6, 2], [3 / 16, 4 / 12, 2, 6 / 16, 4 / 12, 1, 5 / 16, 6 / 12, 2]
    one_far, two_outside = [3, 4, 2, 6, 4, 1, 5, 600, 2], [3, 4, 2, 1, 4, 1, 5, 11, 2]
    unlabelled = [3, 4, 2, 6, 4, 1, 5, 600, 0]

    def of(*points: list[float]) -> Path:
        labels = [
            a_label(number, box=[2 + number / 64, 3, 5, 4], category=1, keypoints=each)
            for number, each in enumerate(points)
        ]
        return write_set(tmp_path, annotations=labels, categories=face)

    for fine in (good, unlabelled, [*good[:6], 5, 7.5, 2]):
        assert load_coco(of(good, fine), ("face",)).warnings == ()
    for odd in (share, one_far, two_outside):
        (line,) = load_coco(of(good, good, odd), ("face",)).warnings
        assert "1 of 3 boxes" in line
        assert str(tmp_path / "set.json") in refusal(of(odd, odd), class_names=("face",))


def test_categories_that_differ_by_case_are_told_once_unless_both_are_mapped(tmp_path: Path) -> None:
    both = [{"id": 3, "name": "person"}, {"id": 4, "name": " Person "}]
    path = write_set(tmp_path, categories=both, annotations=[a_label(1), a_label(2, category=4)])
    coco = load_coco(path, ("person",))
    assert [record.truth.class_ids.tolist() for record in coco.records] == [[0, 0], []]
    assert [line for line in coco.warnings if "'person', 'Person'" in line] == list(coco.warnings)
    assert len(coco.warnings) == 1
    for target in ("person", "ignore"):
        assert load_coco(path, ("person",), {"person": "person", "Person": target}).warnings == ()


@pytest.mark.parametrize("mode", [0, 2, "XYXY_ABS", "XYWH", 1.5, [1]])
def test_boxes_that_say_to_be_no_left_top_width_and_height_are_refused(tmp_path: Path, mode: object) -> None:
    assert "annotations[0].bbox_mode" in refusal(write_set(tmp_path, annotations=[a_label(1, bbox_mode=mode)]))
    for said in (1, "XYWH_ABS", None):
        assert len(load_coco(write_set(tmp_path, annotations=[a_label(1, bbox_mode=said)])).records[0].truth) == 1


def test_a_set_made_on_windows_is_read_the_same(tmp_path: Path) -> None:
    path = write_set(tmp_path, images=[an_image(1, rgb_file_name="images/2.png"), an_image(2)])
    before, document = load_coco(path), json.loads(path.read_text())
    for image in document["images"]:
        for key in {"file_name", "rgb_file_name"} & image.keys():
            image[key] = image[key].replace("/", "\\")
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        path.write_bytes(json.dumps(document).encode(encoding))
        coco = load_coco(path)
        assert [(record.file_name, record.path, record.rgb_path) for record in coco.records] == [
            (record.file_name, record.path, record.rgb_path) for record in before.records
        ]
        assert coco.sample(0).frame.image.shape == (12, 16)


def many(folder: Path, boxes: np.ndarray) -> Path:
    """Boxes float [N, 4] of both images, in turn, as a set of images of 16x12 pixels."""
    labels = [a_label(n, n % 2 + 1, 3, [round(v, 4) for v in box]) for n, box in enumerate(boxes.tolist())]
    return write_set(folder, annotations=labels, categories=[{"id": 3, "name": "person"}])


def test_boxes_that_cannot_be_meant_are_refused_where_nearly_all_are_such_and_told_where_some_are(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(3)
    boxes = np.concatenate([rng.uniform(0, (12, 8), (40, 2)), rng.uniform(1.5, 4, (40, 2))], axis=1)
    assert load_coco(many(tmp_path, boxes)).warnings == ()
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    shares = boxes / (16, 12, 16, 12)
    off = boxes + np.array([16, 0, 0, 0])
    for odd in (corners, shares, off):
        assert str(tmp_path / "set.json") in refusal(many(tmp_path, odd))
        if odd is not corners:
            (line,) = load_coco(many(tmp_path, np.concatenate([boxes, odd[:7]]))).warnings
            assert "7 of 47 boxes" in line
    (line,) = load_coco(many(tmp_path, np.concatenate([boxes[:, :2], boxes[:1, 2:].repeat(40, 0)], axis=1))).warnings
    assert "40 boxes are of one size" in line
    (line,) = load_coco(write_set(tmp_path)).warnings
    assert "bicycle, car" in line


def test_a_file_of_several_pictures_is_refused_and_one_of_one_page_read(tmp_path: Path) -> None:
    pages = [np.full((4, 5), value, np.uint8) for value in (1, 2, 3)]
    assert cv2.imwritemulti(str(tmp_path / "many.tif"), pages)
    assert cv2.imwritemulti(str(tmp_path / "one.tif"), pages[:1])
    with pytest.raises(InputError, match=r"many\.tif: holds 3 pictures"):
        read_image(tmp_path / "many.tif")
    assert (read_image(tmp_path / "one.tif") == 1).all()


def test_what_counts_twice_what_was_detected_and_a_misspelt_key_are_a_line_each(tmp_path: Path) -> None:
    usual = load_coco(write_set(tmp_path)).warnings
    for changes, said in (
        ({"images": [an_image(1), an_image(2, file_name="images/1.png")]}, "1 images"),
        ({"annotations": [a_label(1), a_label(2), a_label(3, box=(1, 2, 3, 5)), a_label(4, image=2)]}, "1 annotations"),
        ({"annotations": [a_label(1, score=0.5)]}, "1 annotations have a score"),
    ):
        (line,) = set(load_coco(write_set(tmp_path, **changes)).warnings) - set(usual)
        assert said in line
    for key, meant in (("iscrowed", "iscrowd"), ("Rgb_file_names", "rgb_file_name"), ("keypoint", "keypoints")):
        with pytest.warns(UserWarning, match=f"'{key}' is not read: did you mean '{meant}'"):
            load_coco(write_set(tmp_path, annotations=[a_label(1, **{key: 1})]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_coco(
            write_set(tmp_path, info={"year": 1, "licenses": []}, annotations=[a_label(1, area=3, segmentation=[])])
        )


def test_a_picture_behind_a_jpeg_is_refused_unless_it_is_smaller(tmp_path: Path) -> None:
    first, second, small = (
        cv2.imencode(".jpg", np.full(s, 99, np.uint8))[1].tobytes() for s in ((8, 9), (8, 9), (4, 5))
    )
    block = b"Exif\0\0" + second  # a thumbnail, as a whole JPEG within a segment
    with_thumbnail = first[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + first[2:]
    path = tmp_path / "x.jpg"
    for data in (first, with_thumbnail, first + small, first + b"trailer" * 9):
        path.write_bytes(data)
        assert (read_image(path) == 99).all()
    for data in (first + second, with_thumbnail + b"\0" * 50 + second, small + first):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"x\.jpg: holds another picture of 9x8 pixels"):
            read_image(path)


def test_a_tiff_that_is_turned_is_refused(tmp_path: Path) -> None:
    for orientation in (1, 3):
        # TIFF 6.0: width, height, bits, no compression, black is 0, place, orientation, samples, rows, bytes
        values = {256: 5, 257: 4, 258: 8, 259: 1, 262: 1, 273: 8, 274: orientation, 277: 1, 278: 4, 279: 20}
        entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in values.items())
        pixels = bytes(range(20))
        ifd = struct.pack("<H", len(values)) + entries + struct.pack("<I", 0)
        (tmp_path / f"{orientation}.tif").write_bytes(b"II*\0" + struct.pack("<I", 28) + pixels + ifd)
    assert (read_image(tmp_path / "1.tif") == np.arange(20).reshape(4, 5)).all()
    with pytest.raises(InputError, match=r"3\.tif: .*Orientation"):
        read_image(tmp_path / "3.tif")


def test_pictures_that_viewers_turn_without_a_change_of_size_are_counted_in_one_line(tmp_path: Path) -> None:
    square = cv2.imencode(".jpg", np.zeros((12, 12), np.uint8))[1].tobytes()
    oblong = cv2.imencode(".jpg", np.zeros((12, 16), np.uint8))[1].tobytes()
    data = [turned(oblong, 1), oblong, turned(oblong, 6), turned(oblong, 3), turned(square, 8), turned(oblong, 0)]
    images = [an_image(number, width=12 if number == 4 else 16) for number in range(len(data))]
    path = write_set(tmp_path, images=images, annotations=[a_label(1, image=0)])
    for number, each in enumerate(data):
        (tmp_path / "images" / f"{number}.png").write_bytes(each)
    lines = [line for line in load_coco(path).warnings if "Exif" in line]
    assert len(lines) == 1
    assert "2 of 6 pictures, the first images/3.png" in lines[0]
    png = cv2.imencode(".png", np.zeros((12, 16), np.uint8))[1].tobytes()
    exif = turned(b"", 2)[10:]
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    (tmp_path / "images" / "1.png").write_bytes(png[:33] + chunk + png[33:])
    assert any("3 of 6 pictures, the first images/1.png" in line for line in load_coco(path).warnings)


def turned(jpeg: bytes, orientation: int = 6) -> bytes:
    """The JPEG with an Exif block of an Orientation; 6: to be turned by a quarter."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    block = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def test_pixels_are_read_as_stored_and_a_size_of_the_turned_picture_says_so(tmp_path: Path) -> None:
    path = write_set(tmp_path, images=[an_image(1)])
    data = cv2.imencode(".jpg", np.tile(np.arange(16, dtype=np.uint8) * 15, (12, 1)))[1].tobytes()
    (tmp_path / "images" / "1.png").write_bytes(turned(data))
    assert cv2.imread(str(tmp_path / "images" / "1.png")).shape[:2] == (16, 12)
    stored = load_coco(path).sample(0).frame.image
    assert stored.shape == (12, 16)
    assert (stored == decode_compressed(turned(data), "jpeg")).all()
    with pytest.raises(InputError, match="turned picture"):
        load_coco(write_set_over(path, height=16, width=12)).sample(0)


def write_set_over(path: Path, **size: int) -> Path:
    document = json.loads(path.read_text())
    document["images"][0].update(size)
    path.write_text(json.dumps(document))
    return path
