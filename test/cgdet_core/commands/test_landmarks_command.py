"""`cgdet landmarks`, and the commands that measure, with a landmark model's file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from face_model import open_faces, save_face_model, save_faces
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.data.sets.coco import load_coco
from cgdet_core.evaluation.landmarks import LANDMARKS
from cgdet_core.images import read_image
from cgdet_core.runtime.landmarks import LandmarkPredictor
from cgdet_core.runtime.model_file import read_info
from cgdet_core.tasks.landmarks.decode import NEAR

PEOPLE = ("ann", "ann", "bea", "bea", "cat")
CAMERAS = ("one", "one", "one", "two", "two")
EYES = 36, 45


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model, and drawn faces whose labels lie 1, 2 ... 5 px to the right of what it finds."""
    folder = tmp_path_factory.mktemp("faces")
    model = save_face_model(folder / "m.safetensors")
    moved = [np.full((68, 2), (number, 0), np.float32) for number in range(1, 6)]
    return model, save_faces(folder / "set", model, moved, PEOPLE, CAMERAS)


@pytest.fixture
def figures(tmp_path: Path, exact: list[str], faces: tuple[Path, Path]) -> Callable[..., Any]:
    def run(command: str, *words: object) -> Any:
        out = tmp_path / "figures.json"
        assert main([command, *map(str, words), "--data", str(faces[1]), "--json", str(out), *exact]) == 0
        return json.loads(out.read_text())

    return run


def _eyes_px(data: Path) -> list[float]:
    points = [sample.truth.points_xy_px[0] for sample in load_coco(data, ("face",)) if sample.truth is not None]  # type: ignore[index]
    return [float(np.hypot(*(each[EYES[0]] - each[EYES[1]]))) for each in points]


def test_points_are_drawn_and_are_coco_keypoints(
    faces: tuple[Path, Path], tmp_path: Path, exact: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = faces
    words = ["landmarks", str(data.parent), "--model", str(model), "--out", str(tmp_path / "o"), *exact]
    assert main([*words, "--boxes", str(data)]) == 0
    found = load_coco(tmp_path / "o" / "landmarks.json", ("face",))
    assert len(found) == 5
    document = json.loads(found.path.read_text())
    for sample, labelled, entry in zip(found, load_coco(data, ("face",)), document["annotations"], strict=True):
        assert sample.truth is not None
        assert labelled.truth is not None
        assert sample.truth.points_xy_px is not None
        # the image is the set's own, seen from the JSON's folder, and its box is about the points
        np.testing.assert_array_equal(sample.frame.image, labelled.frame.image)
        again = open_faces(model).predict(sample.frame.image, labelled.truth.boxes_xyxy_px)
        np.testing.assert_allclose(sample.truth.points_xy_px, again.points_xy_px, atol=0.006)
        assert sample.truth.boxes_xyxy_px[0, :2] == pytest.approx(again.points_xy_px[0].min(0), abs=0.02)
        assert entry["confidences"] == pytest.approx(again.confidences[0], abs=1e-4)
        assert entry["score"] == pytest.approx(again.confidences.mean(), abs=1e-4)
        picture = read_image(tmp_path / "o" / Path(sample.name).name)
        assert (picture != np.repeat(sample.frame.image[..., None], 3, axis=2)).any()
    assert "5 faces in 5 images" in capsys.readouterr().out
    # each image is a face
    assert main(words) == 0
    assert "--boxes" in capsys.readouterr().err
    assert len(json.loads(found.path.read_text())["annotations"]) == 5


def test_an_image_without_boxes_and_a_box_that_is_none_are_named_and_the_others_are_done(
    faces: tuple[Path, Path], tmp_path: Path, exact: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = faces
    document = json.loads(data.read_text())
    for image in document["images"]:
        image["file_name"] = str(data.parent / image["file_name"])
    document["annotations"] = [{**each, "bbox": each["bbox"][:]} for each in document["annotations"][:2]]
    document["annotations"][1]["bbox"][0] = 1e6
    (tmp_path / "boxes.json").write_text(json.dumps(document))
    cv2.imwrite(str(tmp_path / "other.png"), np.zeros((40, 40), np.uint8))
    words = ["landmarks", data.parent, tmp_path / "other.png", "--model", model, "--out", tmp_path / "o", *exact]
    assert main([*map(str, words), "--boxes", str(tmp_path / "boxes.json")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "cgdet: error" in line]
    assert [name for name in ("1.png", "other.png") if any(name in line for line in lines)] == ["1.png", "other.png"]
    assert len(lines) == 2
    done = json.loads((tmp_path / "o" / "landmarks.json").read_text())
    assert (len(done["images"]), len(done["annotations"])) == (4, 1)
    refusal(capsys, *words, "--boxes", tmp_path / "none.json")
    # in shares of the picture, or none
    for odd in ([{**each, "bbox": [0.1, 0.2, 0.5, 0.5]} for each in document["annotations"]], []):
        (tmp_path / "odd.json").write_text(json.dumps({**document, "annotations": odd}))
        assert "odd.json" in refusal(capsys, *words, "--boxes", tmp_path / "odd.json")
    # what `cgdet landmarks` found are boxes too
    assert main([*map(str, words[:2]), *map(str, words[3:]), "--boxes", str(data)]) == 0
    assert main([*map(str, words[:2]), *map(str, words[3:]), "--boxes", str(tmp_path / "o" / "landmarks.json")]) == 0


def test_evaluate_gives_the_figures_that_the_labels_were_moved_by(
    faces: tuple[Path, Path], figures: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = faces
    found = figures("evaluate", "--model", model)
    nme = np.arange(1, 6) / _eyes_px(data)
    assert found["nme"] == pytest.approx(nme.mean(), rel=2e-3)
    assert found["nme_by_group"] == pytest.approx(dict.fromkeys(found["nme_by_group"], nme.mean()), rel=2e-3)
    assert list(found["nme_by_group"]) == ["jaw", "brows", "nose", "eyes", "mouth"]
    assert found["failure_rate"] == pytest.approx((nme > 0.1).mean())
    assert found["auc"] == pytest.approx(np.maximum(0.1 - nme, 0).mean() / 0.1, rel=5e-3)
    assert {name: part["faces"] for name, part in found["by_camera"].items()} == {"one": 3, "two": 2}
    assert found["by_camera"]["two"]["nme"] == pytest.approx(nme[3:].mean(), rel=2e-3)
    sides = [max(each["bbox"][2:]) for each in json.loads(data.read_text())["annotations"]]
    near = np.arange(1, 6) / (NEAR * 1.2 * np.array(sides)) <= 1
    assert found["near_share"] == pytest.approx(near.mean())
    assert (found["faces"], found["params"]) == (5, read_info(model).parameters)
    assert set(found["ms_per_face"]) == {"p50", "p95", "p99"}
    assert "two" in capsys.readouterr().out


def test_the_pages_show_the_figures_the_curves_and_the_worst_faces_first(
    faces: tuple[Path, Path], figures: Callable[..., Any], tmp_path: Path
) -> None:
    model, data = faces
    page = tmp_path / "page.html"
    found = figures("evaluate", "--model", model, "--report", page)
    nme = np.arange(1, 6) / _eyes_px(data)
    html = page.read_text(encoding="utf-8")
    captions = [float(each) for each in re.findall(r"<figcaption>\d\.png: NME ([\d.]+), confidence", html)]
    assert captions == pytest.approx([*sorted(nme, reverse=True), *nme], abs=1e-3)
    assert html.count("<svg") == 2
    for part in (found, *found["by_camera"].values()):
        cells = (part["faces"], f"{part['nme']:.4f}", f"{part['nme_by_group']['mouth']:.4f}", f"{part['auc']:.3f}")
        assert all(f">{each}<" in html for each in cells)
    other = save_face_model(tmp_path / "other.safetensors", seed=1)
    figures("compare", other, model, "--resamples", 100, "--report", page)
    html = page.read_text(encoding="utf-8")
    captions = {int(name): float(each) for name, each in re.findall(r"<figcaption>B, (\d)\.png: NME ([\d.]+)", html)}
    assert len(captions) == html.count("<figcaption>A, ") == 4
    assert list(captions.values()) == pytest.approx(nme[list(captions)], abs=1e-3)
    assert "Faces where B is better than A" in html
    assert "Faces where B is worse than A" not in html


def test_compare_draws_people_and_a_model_is_no_better_than_itself(
    faces: tuple[Path, Path], figures: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = faces
    other = save_face_model(tmp_path / "other.safetensors", seed=1)
    found = figures("compare", other, model, "--resamples", 100)
    assert (found["images"], found["blocks"], found["few_blocks"]) == (5, 3, True)
    difference = found["overall"]["nme"]
    assert difference["b"] < 0.2 < difference["a"]
    assert difference["b_better_share"] == 1.0
    assert {"jaw", "mouth"} < set(found["by_group"])
    assert set(found["by_camera"]) == {"one", "two"}
    assert set(found["models"]["a"]) > {"nme", "failure_rate", "auc", "faces", "params", "ms_per_face"}
    same = figures("compare", model, model, "--resamples", 100)["overall"]["nme"]
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)


def test_thresholds_fit_the_confidences_and_the_copy_keeps_them(
    faces: tuple[Path, Path], figures: Callable[..., Any], tmp_path: Path
) -> None:
    model, data = faces
    tuned = tmp_path / "tuned.safetensors"
    found = figures("thresholds", "--model", model, "--write", tuned)["thresholds"]
    post = read_info(tuned).postprocess
    assert found == {"lost_below": post.lost_below, "spread_factor": post.spread_factor}  # type: ignore[union-attr]
    # once more with the fitted factor nothing is left to fit, and other settings are as they were
    again = figures("thresholds", "--model", tuned)["thresholds"]
    assert again["spread_factor"] == pytest.approx(found["spread_factor"], rel=1e-3)
    assert post.model_copy(update=dict.fromkeys(found)) == read_info(model).postprocess.model_copy(
        update=dict.fromkeys(found)
    )
    predictor = open_faces(tuned)
    truths = ((each.frame.image, each.truth) for each in load_coco(data, ("face",)))
    sure = [predictor(image, truth.boxes_xyxy_px).confidences.mean() for image, truth in truths if truth is not None]
    assert found["lost_below"] <= min(sure)
    assert figures("evaluate", "--model", tuned)["operating_point"]["face"]["kept"] == 1.0


def test_bench_times_drawn_faces(faces: tuple[Path, Path], tmp_path: Path, exact: list[str]) -> None:
    out = tmp_path / "bench.json"
    assert main(["bench", "--model", str(faces[0]), "--frames", "100", "--json", str(out), *exact]) == 0
    found = json.loads(out.read_text())
    assert list(found["stages"]) == ["preprocess", "infer", "postprocess", "total"]
    assert found["stages"]["infer"]["p50"] > 0
    assert found["input"] == [64, 64]


def test_two_tasks_are_not_compared(
    faces: tuple[Path, Path], models: list[Path], capsys: pytest.CaptureFixture[str], exact: list[str]
) -> None:
    said = refusal(capsys, "compare", models[0], faces[0], "--data", faces[1], *exact)
    assert "landmarks" in said
    assert "detection" in said
    refusal(capsys, "landmarks", faces[1].parent, "--model", models[0], "--out", faces[1].parent / "o", *exact)


def test_int8_is_judged_by_the_error_of_held_out_faces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    model = save_face_model(tmp_path / "m.safetensors")
    data = save_faces(tmp_path / "set", model, [np.full((68, 2), 4, np.float32)] * 4, PEOPLE[:4], CAMERAS[:4])
    out, export = tmp_path / "int8.json", tmp_path / "m.int8.onnx"
    words = ["export", "--model", model, "--calibration", data, "--held-out", data, "--json", out]
    monkeypatch.setattr(LANDMARKS, "int8_may_lose", 0.01)  # a network that learned nothing loses more
    assert main(list(map(str, words))) == 0
    found = json.loads(out.read_text())["check"]["held_out"]
    nme = np.hypot(4, 4) / np.array(_eyes_px(data))
    assert found["nme_fp32"] == pytest.approx(nme.mean(), rel=2e-3)
    predictor = LandmarkPredictor(export, "cpu")
    assert (predictor.backend, predictor.precision) == ("openvino", "int8")
    look, faces = LANDMARKS.look_with(predictor), load_coco(data, ("face",))
    figures = LANDMARKS.measure([look(sample)[0] for sample in faces], ("face",)).to_json()
    assert found["nme_int8"] == pytest.approx(figures["nme"], abs=1e-6)
    # a convolution of int8 takes its weight through a node of its own, one of floats the weight itself
    weights = [node.input[1] for node in onnx.load(str(export)).graph.node if node.op_type == "Conv"]
    assert [weight for weight in weights if "DequantizeLinear" not in weight] == ["network.head.leave.weight"]
    export.unlink()
    monkeypatch.setattr(LANDMARKS, "int8_may_lose", -1.0)
    refusal(capsys, *words)
    assert not export.exists()
