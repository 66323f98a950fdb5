"""`cgdet convert` of sets of faces on small trees of their layouts: every point where the set put it, counted anew."""

from __future__ import annotations

import json

import numpy as np
import pytest
from field_trees import picture
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.data.sets.coco import load_coco
from cgdet_core.data.sets.coco_file import read_coco
from cgdet_core.tasks.landmarks.points import MIRROR

# a face of 48x64 pixels; of the right eye's outer corner (36) and so on alone it matters where they are
FACE = np.random.default_rng(5).uniform(6, 40, (68, 2)).round(2)


def convert(capsys, name, folder, out, *words):
    """The set that the command writes, read again; and what it says."""
    assert main(["convert", name, str(folder), "--out", str(out), *map(str, words)]) == 0
    coco = load_coco(out, ("face",))
    (category,) = read_coco(out).categories
    assert len(category.keypoints) == 68
    assert category.flip_indices == tuple(MIRROR)
    return coco, capsys.readouterr().out


def labelled(record, face=0):
    """iBUG's number of each labelled point of a face -> x, y; points without a label have v = 0."""
    truth = record.truth
    known = np.flatnonzero(truth.points_labelled[face])
    return dict(zip(known.tolist(), truth.points_xy_px[face][known].astype(float).round(2).tolist(), strict=True))


def pts(path, points):
    lines = "".join(f"{x:.2f} {y:.2f}\n" for x, y in points)
    path.write_text(f"version: 1\nn_points:  {len(points)}\n{{\n{lines}}}\n")


def make_300w(root):
    for place, folder in enumerate(("afw", "helen/trainset", "lfpw/trainset", "helen/testset", "lfpw/testset", "ibug")):
        path = picture(root / folder / f"face_{place}{'.png' if 'lfpw' in folder else '.jpg'}", colour=True)
        pts(path.with_suffix(".pts"), FACE + 1)
    return root


def test_pictures_that_nothing_labels_are_told_and_suffixes_are_of_any_case(tmp_path, capsys):
    root = make_300w(tmp_path / "300w")
    (root / "afw" / "face_0.pts").unlink()
    lower = root / "ibug" / "face_5.jpg"
    lower.rename(lower.with_suffix(".JPG"))
    with pytest.warns(UserWarning, match="1 of 3 pictures have no labels"):
        assert len(convert(capsys, "300w", root, tmp_path / "f.json")[0]) == 2
    coco, _ = convert(capsys, "300w", root, tmp_path / "f.json", "--split", "challenging")
    assert coco.records[0].path.name == "face_5.JPG"


def test_300w_counts_from_one(tmp_path, capsys):
    root = make_300w(tmp_path / "300w")
    coco, said = convert(capsys, "300w", root, tmp_path / "f.json")
    assert "3 images, 0 with RGB; objects: 3 face" in said
    assert [record.path.suffix for record in coco.records] == [".jpg", ".jpg", ".png"]
    assert labelled(coco.records[0]) == {place: pytest.approx(point) for place, point in enumerate(FACE.tolist())}
    # the whole pixels of the outermost points, counted from the outer corner of the first pixel
    box = coco.records[0].truth.boxes_xyxy_px[0]
    np.testing.assert_allclose(box, [*FACE.min(axis=0), *FACE.max(axis=0) + 1], atol=1e-5)
    for split, wanted in {"full": {3, 4, 5}, "common": {3, 4}, "challenging": {5}}.items():
        coco, _ = convert(capsys, "300w", root, tmp_path / "f.json", "--split", split)
        assert {record.path.stem for record in coco.records} == {f"face_{place}" for place in wanted}


def labelme(path, points, corners):
    shapes = [{"label": str(place), "points": [point], "shape_type": "point"} for place, point in enumerate(points)]
    shapes.insert(0, {"label": "face", "points": corners, "shape_type": "rectangle"})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "4.5.7", "shapes": shapes, "imageHeight": 48, "imageWidth": 64}))


def make_sf_tl54(root):
    """The 54 points lie where iBUG's do, half a pixel further: labelme counts from the corner of a pixel."""
    order = [*range(48), 48, 51, 54, 57, 62, 66]
    for name in ("1_1_1_1_14_1", "2_2_1_3_14_1"):
        picture(root / "gray" / "train" / "images" / f"{name}.png")
        labelme(root / "gray" / "train" / "json" / f"{name}.json", (FACE[order] + 0.5).tolist(), [[50, 4], [3, 44]])
    return root


def test_sf_tl54(tmp_path, capsys):
    coco, said = convert(capsys, "sf-tl54", make_sf_tl54(tmp_path / "dataset"), tmp_path / "f.json")
    assert "2 images, 0 with RGB" in said
    assert [record.scene for record in coco.records] == ["1", "2"]
    points = labelled(coco.records[1])
    assert set(range(68)) - points.keys() == {49, 50, 52, 53, 55, 56, 58, 59, 60, 61, 63, 64, 65, 67}
    assert points == {place: pytest.approx(FACE[place].tolist()) for place in points}
    assert coco.records[0].truth.boxes_xyxy_px.tolist() == [[3, 4, 50, 44]]


def test_a_mirror_of_sf_tl54_exchanges_what_its_publisher_exchanges(tmp_path, capsys):
    coco, _ = convert(capsys, "sf-tl54", make_sf_tl54(tmp_path / "dataset"), tmp_path / "f.json")
    order = [*range(48), 48, 51, 54, 57, 62, 66]
    exchanged = [order.index(MIRROR[place]) for place in order]
    # the order of build_dlib_landmarks_xml.py: chin, brows, nose, eyes, and of the lips 50, 49, 48, 51, 52, 53
    lips, eyes = [50, 49, 48, 51, 52, 53], [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    expected = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), *eyes, *lips]
    assert exchanged == expected
    assert sorted(labelled(coco.records[0])) == sorted(order)


def make_t_fake(thermal, synthetics):
    for number in (0, 41):
        picture(synthetics / f"{number:06d}.png", colour=True)
        picture(synthetics / f"{number:06d}_seg.png")
        lines = "".join(f"{x} {y}\n" for x, y in [*FACE, (20.5, 15.5), (30.5, 15.5)])
        (synthetics / f"{number:06d}_ldmks.txt").write_text(lines)
        picture(thermal / f"{number:06d}_thermal.png")
    return thermal


def test_t_fake_leaves_the_pupils_out_and_has_its_rendered_partner(tmp_path, capsys):
    thermal = make_t_fake(tmp_path / "warm", tmp_path / "dataset_100")
    words = ("--annotations", tmp_path / "dataset_100")
    coco, said = convert(capsys, "t-fake", tmp_path / "warm", tmp_path / "f.json", *words)
    assert "2 images, 2 with RGB" in said
    assert coco.records[1].path == tmp_path / thermal.name / "000041_thermal.png"
    assert coco.rgb_path(1) == tmp_path / "dataset_100" / "000041.png"
    assert labelled(coco.records[1]) == {place: pytest.approx(point) for place, point in enumerate(FACE.tolist())}
    # everything in one folder
    make_t_fake(tmp_path / "one", tmp_path / "one")
    assert len(convert(capsys, "t-fake", tmp_path / "one", tmp_path / "g.json")[0]) == 2


NAMES_6 = {
    "righteye_outer": 36,
    "righteye_inner": 39,
    "lefteye_inner": 42,
    "lefteye_outer": 45,
    "mouthcorner_right": 48,
    "mouthcorner_left": 54,
}


def make_six(root, annotations, files, names=tuple(NAMES_6)):
    images = []
    for file in files:
        picture(root / file)
        parts = "".join(
            f'<part name="{name}" x="{int(FACE[NAMES_6[name], 0])}" y="{int(FACE[NAMES_6[name], 1])}" />'
            for name in names
        )
        box = f'<box height="30.5" left="4.25" top="6" width="40"><label>unlabelled</label>{parts}</box>'
        images.append(f'<image file="{file}">{box}</image>')
    annotations.mkdir(exist_ok=True)
    xml = annotations / f"{files[0].split('/')[0]}.xml"
    xml.write_text(f"<dataset><name>Face Annotations</name><images>{''.join(images)}</images></dataset>")
    return root


CARL = ("04/session_4/thermal_bmp/04S4BAR2.bmp", "04/session_4/classic/04S4CAR2.bmp")
EURECOM = ("001/TH/TH_001_1_06_AEC.bmp", "001/VIS/VIS_001_1_06_AEC.bmp")


@pytest.mark.parametrize("files", [CARL, EURECOM])
@pytest.mark.parametrize("split", ["thermal", "visible"])
def test_carl_and_eurecom_with_six_points(tmp_path, capsys, files, split):
    root = make_six(tmp_path / "set", tmp_path / "xml", files)
    words = ("--annotations", tmp_path / "xml", "--split", split)
    coco, _ = convert(capsys, "carl-eurecom", root, tmp_path / "f.json", *words)
    assert [record.path for record in coco.records] == [root / files[split == "visible"]]
    assert coco.records[0].scene == files[0].split("/")[0]
    assert labelled(coco.records[0]) == {place: [int(value) for value in FACE[place]] for place in NAMES_6.values()}
    assert coco.records[0].truth.boxes_xyxy_px.tolist() == [[4.25, 6, 44.25, 36.5]]


def test_a_point_that_is_lacking_or_named_twice_has_no_label(tmp_path, capsys):
    """As CARL's 16.xml has it: lefteye_outer twice, and no right corner of the mouth."""
    names = ("righteye_outer", "righteye_inner", "lefteye_inner", "lefteye_outer", "lefteye_outer", "mouthcorner_left")
    root = make_six(tmp_path / "set", tmp_path / "xml", CARL, names)
    coco, _ = convert(capsys, "carl-eurecom", root, tmp_path / "f.json", "--annotations", tmp_path / "xml")
    assert sorted(labelled(coco.records[0])) == [36, 39, 42, 54]


BROKEN = [
    ("300w", make_300w, "afw/face_0.pts", "version: 1\nn_points: 68\n{\n1 2\n}\n"),
    ("300w", make_300w, "helen/trainset/face_1.pts", "version: 1\nn_points: 68\n{\n" + "1 nan\n" * 68 + "}\n"),
    ("sf-tl54", make_sf_tl54, "gray/train/json/2_2_1_3_14_1.json", "{}"),
    ("sf-tl54", make_sf_tl54, "gray/train/json/2_2_1_3_14_1.json", '{"shapes": [{"label": "0", "points": [[1, 2]]}]}'),
    ("sf-tl54", make_sf_tl54, "gray/train/json/2_2_1_3_14_1.json", "[7]"),
    ("t-fake", lambda root: make_t_fake(root, root), "000041_ldmks.txt", "1 2\n" * 68),
    ("t-fake", lambda root: make_t_fake(root, root), "000041_ldmks.txt", None),
    ("carl-eurecom", lambda root: make_six(root, root, CARL), "04.xml", "<dataset>"),
    (
        "carl-eurecom",
        lambda root: make_six(root, root, CARL, ("righteye_outer",)),
        "04.xml",
        '<a><image file="b"><box/></image></a>',
    ),
]


@pytest.mark.parametrize(("name", "make", "file", "text"), BROKEN)
def test_a_broken_file_of_labels_is_named(tmp_path, capsys, name, make, file, text):
    root = make(tmp_path / "set")
    path = root / file
    path.unlink() if text is None else path.write_text(text)
    said = refusal(capsys, "convert", name, root, "--out", tmp_path / "f.json")
    assert str(path) in said
    assert not (tmp_path / "f.json").exists()


@pytest.mark.parametrize("name", ["300w", "sf-tl54", "t-fake", "carl-eurecom"])
def test_a_wrong_folder_is_named(tmp_path, capsys, name):
    (tmp_path / "other" / "stuff").mkdir(parents=True)
    assert str(tmp_path / "other") in refusal(capsys, "convert", name, tmp_path / "other", "--out", tmp_path / "f.json")
