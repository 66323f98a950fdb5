"""`cgdet convert` on small trees of the sets' layouts, against what was put into them; and a short training on each."""

from __future__ import annotations

import json
import shutil

import field_trees
import pytest
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.config import load_recipe
from cgdet_core.data.feed.sources import load_sources
from cgdet_core.data.sets.coco import load_coco


def convert(capsys, name, folder, out, *words):
    assert main(["convert", name, str(folder), "--out", str(out), *map(str, words)]) == 0
    said = capsys.readouterr().out
    return load_coco(out), said


def refused(capsys, name, folder, out, *words):
    said = refusal(capsys, "convert", name, folder, "--out", out, *words)
    assert not out.exists()
    return said


def boxes(record):
    """Class number, left, top, width, height of the objects, and of the regions to ignore."""
    truth = record.truth
    rows = [
        (int(class_id), *map(float, (left, top, right - left, bottom - top)))
        for class_id, (left, top, right, bottom) in zip(truth.class_ids, truth.boxes_xyxy_px, strict=True)
    ]
    objects = [row for row, ignore in zip(rows, truth.ignore, strict=True) if not ignore]
    return objects, [row for row, ignore in zip(rows, truth.ignore, strict=True) if ignore]


def test_flir_v1(tmp_path, capsys):
    root = field_trees.flir_v1_voc(tmp_path / "FLIR_aligned")
    (tmp_path / "FLIR_aligned" / "align" / "align_train_night.txt").write_text("FLIR_00003\n")
    coco, said = convert(capsys, "flir-v1", root, tmp_path / "sets" / "f.json")
    assert "2 images, 2 with RGB" in said
    assert "dropped: 2 dog" in said
    assert "boxes without area, dropped: 2" in said
    first, second = coco.records
    assert first.file_name == "../FLIR_aligned/align/JPEGImages/FLIR_00002_PreviewData.jpeg"
    assert first.rgb_path.name == "FLIR_00002_RGB.jpg"
    assert (first.light, second.light) == (None, "night")
    assert boxes(first) == ([(0, 4, 5, 10, 30), (2, 20, 10, 30, 20), (1, 1, 2, 8, 10)], [])
    assert first.truth.labelled is None
    assert coco.sample(0, with_rgb=True).rgb.shape == (48, 64, 3)
    validation, _ = convert(capsys, "flir-v1", root / "align", tmp_path / "v.json", "--split", "validation", "--no-rgb")
    assert [record.path.name for record in validation.records] == ["FLIR_08864_PreviewData.jpeg"]
    assert validation.records[0].rgb_path is None


@pytest.mark.parametrize("split", ["train", "video"])
def test_flir_v2(tmp_path, capsys, split):
    root = field_trees.flir_v2(tmp_path / "FLIR_ADAS_v2")
    coco, said = convert(capsys, "flir-v2", tmp_path, tmp_path / "f.json", "--split", split)
    assert "3 images, 0 with RGB; objects: 1 bicycle, 1 car, 2 person" in said
    assert "regions to ignore: 1 bicycle, 3 car" in said
    assert "dropped: 1 airplane, 1 light, 1 sign, 1 train" in said
    assert [record.light for record in coco.records] == ["day", "night", None]
    assert [record.scene for record in coco.records] == ["aB3", "aB3", "9xY"]
    assert all(root in record.path.parents for record in coco.records)
    objects, ignored = boxes(coco.records[0])
    assert [row[0] for row in objects] == [0, 1, 2]
    assert sorted(row[0] for row in ignored) == [1, 2, 2, 2]


def test_llvip(tmp_path, capsys):
    coco, _ = convert(capsys, "llvip", field_trees.llvip(tmp_path / "LLVIP"), tmp_path / "f.json", "--split", "train")
    assert [record.path.name for record in coco.records] == ["010001.jpg", "020007.jpg"]
    assert [record.scene for record in coco.records] == ["place 01", "place 02"]
    assert coco.records[0].rgb_path == coco.records[0].path.parents[2] / "visible" / "train" / "010001.jpg"
    assert boxes(coco.records[0]) == ([(0, 4, 5, 10, 30), (0, 30, 5, 8, 20)], [])
    # nothing says that there is no bicycle and no car
    assert coco.records[0].truth.labelled.tolist() == [True, False, False]


@pytest.mark.parametrize("layout", ["nested", "paired", "flat"])
def test_kaist(tmp_path, capsys, layout):
    root = field_trees.kaist(tmp_path / "kaist", layout)
    train, _ = convert(capsys, "kaist", root, tmp_path / "f.json")
    assert [record.scene for record in train.records] == ["set00/V000", "set04/V002"]
    assert [record.light for record in train.records] == ["day", "night"]
    objects, ignored = boxes(train.records[0])
    assert objects == [(0, 4, 5, 10, 30)]
    # flagged by the set; a group; unsure; on a bicycle
    assert ignored == [(0, 30, 5, 8, 20), (0, 40, 5, 12, 20), (0, 1, 1, 4, 9), (0, 20, 5, 9, 20)]
    assert train.records[0].truth.labelled.tolist() == [True, False, False]
    assert train.records[0].rgb_path.parts[-2:] == ("visible", "I00001.jpg")
    test, _ = convert(capsys, "kaist", root, tmp_path / "t.json", "--split", "test")
    assert [record.light for record in test.records] == ["day", "night"]


def test_kaist_with_several_folders_of_annotations_asks_for_one(tmp_path, capsys):
    root = field_trees.kaist(tmp_path / "kaist")
    (root / "sanitized_annotations").mkdir()
    said = refused(capsys, "kaist", root, tmp_path / "f.json")
    assert "annotations_paired, sanitized_annotations" in said
    words = ("--annotations", root / "annotations_paired")
    assert len(convert(capsys, "kaist", root, tmp_path / "f.json", *words)[0]) == 2


def test_m3fd(tmp_path, capsys):
    root = field_trees.m3fd(tmp_path / "M3FD_Detection")
    coco, said = convert(capsys, "m3fd", root, tmp_path / "f.json")
    assert "dropped: 3 Lamp, 3 Motorcycle" in said
    assert boxes(coco.records[0]) == ([(0, 4, 5, 10, 20), (2, 4, 5, 10, 20)], [(2, 4, 5, 10, 20)] * 2)
    assert coco.records[0].truth.labelled.tolist() == [True, False, True]
    assert len(convert(capsys, "m3fd", root, tmp_path / "f.json", "--every", "2")[0]) == 2


@pytest.mark.parametrize("name", ["flir-v1", "flir-v2", "llvip", "kaist", "m3fd"])
def test_a_wrong_folder_is_named_with_what_to_give(tmp_path, capsys, name):
    (tmp_path / "other" / "stuff").mkdir(parents=True)
    for folder in ("other", "nothing"):
        assert str(tmp_path / folder) in refused(capsys, name, tmp_path / folder, tmp_path / "f.json")


BOX = "<bndbox><xmin>{0}</xmin><ymin>1</ymin><xmax>2</xmax><ymax>3</ymax></bndbox></object></annotation>"
BROKEN_XML = [
    "",
    "<kml></kml>",
    "<annotation><object><name>person</name></object></annotation>",
    "<annotation><object><name>person</name>" + BOX.format("nan"),
    "<annotation><object><name>horse</name>" + BOX.format("0"),
]


@pytest.mark.parametrize("text", BROKEN_XML)
def test_an_odd_xml_is_named(tmp_path, capsys, text):
    root = field_trees.llvip(tmp_path / "LLVIP")
    (root / "Annotations" / "020007.xml").write_text(text)
    assert "020007" in refused(capsys, "llvip", root, tmp_path / "f.json")


@pytest.mark.parametrize("data", [None, b"", b"\x89PNG\r\n\x1a\n"])
def test_a_thermal_image_that_is_missing_or_none_is_named(tmp_path, capsys, data):
    root = field_trees.flir_v1_voc(tmp_path / "set")
    path = root / "align" / "JPEGImages" / "FLIR_00003_PreviewData.jpeg"
    path.unlink() if data is None else path.write_bytes(data)
    assert str(path) in refused(capsys, "flir-v1", root, tmp_path / "f.json")


def test_rgb_of_another_size_is_not_taken_for_aligned(tmp_path, capsys):
    root = field_trees.llvip(tmp_path / "LLVIP")
    field_trees.picture(root / "visible" / "train" / "020007.jpg", colour=True, size=(96, 128))
    said = refused(capsys, "llvip", root, tmp_path / "f.json")
    assert "128x96" in said
    assert "64x48" in said
    assert len(convert(capsys, "llvip", root, tmp_path / "f.json", "--no-rgb")[0]) == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "I00019.txt"),
        ("person 1 2 3 4\n", "bbGt"),
        ("% bbGt version=3\nperson 1 2 3 x 0\n", "I00019.txt"),
        ("% bbGt version=3\nhorse 1 2 3 4 0\n", "'horse'"),
    ],
)
def test_an_odd_text_of_kaist_is_named(tmp_path, capsys, text, named):
    root = field_trees.kaist(tmp_path / "kaist")
    (root / "annotations_paired" / "set04" / "V002" / "I00019.txt").write_text(text)
    assert named in refused(capsys, "kaist", root, tmp_path / "f.json")


def test_what_a_set_holds_and_does_not_label_is_told_and_files_of_macos_are_passed_over(tmp_path, capsys):
    root = field_trees.kaist(tmp_path / "kaist")
    with pytest.warns(UserWarning, match=r"1 of 5 pictures have no text"):
        convert(capsys, "kaist", root, tmp_path / "k.json")
    for make, name, folder in ((field_trees.llvip, "llvip", "infrared/train"), (field_trees.m3fd, "m3fd", "Ir")):
        root = make(tmp_path / name)
        before, _ = convert(capsys, name, root, tmp_path / "f.json")
        picture = next((root / folder).iterdir())
        picture.with_name(f"._{picture.name}").write_bytes(b"\0\5\x16\7")
        shutil.copy(picture, picture.with_suffix(picture.suffix.upper()))
        picture.unlink()
        assert len(convert(capsys, name, root, tmp_path / "f.json", "--no-rgb")[0]) == len(before)


def test_a_difficult_object_is_ignored_and_pictures_of_another_size_than_labelled_are_told(tmp_path, capsys):
    root = field_trees.llvip(tmp_path / "LLVIP")
    xml = root / "Annotations" / "010001.xml"
    xml.write_text(xml.read_text().replace("<difficult>0", "<difficult>1", 1))
    coco, _ = convert(capsys, "llvip", root, tmp_path / "f.json")
    assert boxes(coco.records[0]) == ([(0, 30, 5, 8, 20)], [(0, 4, 5, 10, 30)])
    xml.write_text(xml.read_text().replace("<difficult>1", "<difficult>2", 1))
    assert "010001.xml" in refused(capsys, "llvip", root, tmp_path / "g.json")
    root = field_trees.flir_v2(tmp_path / "flir")
    field_trees.picture(next((root / "images_thermal_train" / "data").iterdir()), size=(24, 32))
    assert "1 images are of ANOTHER SIZE" in convert(capsys, "flir-v2", root, tmp_path / "v.json")[1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda document: document.pop("images"), "images"),
        (lambda document: document["annotations"][0].update(image_id=99), "annotations[0]"),
        (lambda document: document["images"][0].update(file_name=5), "images[0].file_name"),
        (lambda document: document["images"][0].update(file_name="data/gone.jpg"), "gone.jpg"),
    ],
)
def test_an_odd_coco_json_is_named(tmp_path, capsys, change, named):
    root = field_trees.flir_v2(tmp_path / "FLIR_ADAS_v2")
    path = root / "images_thermal_train" / "coco.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    assert named in refused(capsys, "flir-v2", root, tmp_path / "f.json")


def test_what_a_set_has_no_use_for_is_refused(tmp_path, capsys):
    m3fd = field_trees.m3fd(tmp_path / "m")
    assert "--every" in refused(capsys, "m3fd", m3fd, tmp_path / "f.json", "--every", "0")
    assert "--annotations" in refused(capsys, "llvip", m3fd, tmp_path / "f.json", "--annotations", m3fd)
    assert "unknown split" in refused(capsys, "m3fd", m3fd, tmp_path / "f.json", "--split", "train")
    assert "flir-v1" in refused(capsys, "flir-v3", m3fd, tmp_path / "f.json")


MAKE = {
    "flir-v1": field_trees.flir_v1_voc,
    "flir-v2": field_trees.flir_v2,
    "llvip": field_trees.llvip,
    "kaist": field_trees.kaist,
    "m3fd": field_trees.m3fd,
}


def converted(capsys, name, folder):
    """The folder that the recipe of a set starts from, as its first lines say."""
    recipe, part = name.replace("-", "_"), "all" if name == "m3fd" else "train"
    convert(capsys, name, MAKE[name](folder / "set"), folder / "sets" / f"{recipe}_{part}.json", "--split", part)
    return folder / "sets", f"{recipe}.yaml"


@pytest.mark.parametrize("name", MAKE)
def test_the_recipe_of_each_set_reads_what_the_command_writes(tmp_path, capsys, repository, name):
    sets, recipe = converted(capsys, name, tmp_path)
    settings = load_recipe(repository / "config" / "recipes" / recipe, ["synthetic.frames=1"])
    (source, synthetic), held_out = load_sources(settings, sets, progress=False)
    assert synthetic.name == "synthetic"
    assert len(source.frames) == {"flir-v2": 3, "m3fd": 1}.get(name, 2)
    assert (held_out is not None) == (name == "m3fd")
    # what the set does not label is not learnt as background; the streets have all of it
    labelled = {"flir-v1": None, "flir-v2": None, "m3fd": [True, False, True]}.get(name, [True, False, False])
    for frame in source.frames:
        assert (None if frame.truth.labelled is None else frame.truth.labelled.tolist()) == labelled
