"""Exports: what they carry, what they are checked for, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cgdet_core.cli import main
from cgdet_core.config import ModelConfig
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of
from cgdet_core.runtime import export
from cgdet_core.runtime.backends import open_model
from cgdet_core.runtime.export import Difference, WideStem, beside, check_difference, write_export
from cgdet_core.runtime.model_file import ModelInfo, load_model, read_description, read_info, save_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.tasks.detection.head import Detector

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("openvino")

Scene = Callable[..., tuple[np.ndarray, Any]]


@pytest.fixture
def model(learned_model: Path, tmp_path: Path) -> Path:
    """The learned model in a folder of its own."""
    path = tmp_path / "model" / "detector.safetensors"
    path.parent.mkdir()
    shutil.copy(learned_model, path)
    return path


@pytest.fixture(scope="module")
def frames_json(tmp_path_factory: pytest.TempPathFactory, draw_scene: Scene) -> Path:
    """A COCO set of 12 learned scenes."""
    import cv2

    folder = tmp_path_factory.mktemp("frames")
    draft = CocoDraft(("tall", "wide"))
    for number in range(12):
        frame, truth = draw_scene(np.random.default_rng(300 + number))
        cv2.imwrite(str(folder / f"{number}.png"), frame)
        draft.add_image(image_entry(f"{number}.png", (64, 96)))
        draft.add_truth(truth)
    draft.write(folder / "frames.json")
    return folder / "frames.json"


def command(model: Path, frames: Path, *words: object) -> int:
    return main(["export", "--model", str(model), "--frames", str(frames), *map(str, words)])


@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
def test_an_export_lies_beside_its_model_and_runs_without_it(
    model: Path, frames_json: Path, draw_scene: Scene, capsys: pytest.CaptureFixture[str], format_name: str
) -> None:
    expected = Predictor(model, "cpu", "fp32", backend="torch")
    path = model.with_suffix(".onnx" if format_name == "onnx" else ".xml")
    assert command(model, frames_json, *([] if format_name == "onnx" else ["--out", path])) == 0
    files = {model.name, path.name} | ({"detector.bin"} if format_name == "openvino" else set())
    assert {file.name for file in model.parent.iterdir()} == files
    assert path.stat().st_mode & 0o777 == model.stat().st_mode & 0o777
    description = read_description(path)
    assert (description.precision, description.model_sha256) == ("fp32", sha256_of(model))
    assert description.info == read_info(path) == expected.info
    model.unlink()
    frame, _ = draw_scene(np.random.default_rng(400))
    wanted, predictor = expected.predict(frame), Predictor(path, "cpu", "fp32")
    assert (predictor.backend, predictor.model_sha256) == ("openvino", expected.model_sha256)
    found = predictor.predict(frame)
    assert found.class_ids.tolist() == wanted.class_ids.tolist()
    np.testing.assert_allclose(found.boxes_xyxy_px, wanted.boxes_xyxy_px, atol=0.02)
    capsys.readouterr()
    assert main(["info", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"fp32, of the model with sha256 {description.model_sha256[:16]}" in said
    assert "tall, wide" in said


def test_an_export_says_nothing_of_the_machine_that_wrote_it(learned_onnx: Path) -> None:
    assert str(Path(__file__).parents[3]).encode() not in learned_onnx.read_bytes()
    onnx.checker.check_model(str(learned_onnx), full_check=True)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["detector.onnx", "detector.xml"])
def test_a_cut_export_is_refused_in_one_line(learned_onnx: Path, tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    if path.suffix == ".xml":
        import openvino

        openvino.save_model(openvino.Core().read_model(learned_onnx), path)
    else:
        shutil.copy(learned_onnx, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    for backend in ("openvino", "onnxruntime") if path.suffix == ".onnx" else ("openvino",):
        with pytest.raises(InputError) as caught:
            Predictor(path, "cpu", backend=backend)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_an_onnx_file_of_others_or_of_another_version_is_refused(
    learned_onnx: Path, tmp_path: Path, backend: str
) -> None:
    pytest.importorskip(backend)
    path, content = tmp_path / "other.onnx", onnx.load(str(learned_onnx))
    own = {entry.key: entry.value for entry in content.metadata_props}
    newer = json.dumps(json.loads(own["cgdet"]) | {"format_version": 9})
    for changed, said in (
        ({}, "no description"),
        (own | {"cgdet": "{"}, "not JSON"),
        (own | {"cgdet": newer}, "format version 9"),
        (own | {"cgdet_sha256": "7"}, "which model"),
        (own | {"cgdet_precision": "int4"}, "which model"),
    ):
        content.ClearField("metadata_props")
        onnx.helper.set_model_props(content, changed)
        onnx.save(content, str(path))
        with pytest.raises(InputError, match=rf"other\.onnx.*{said}"):
            Predictor(path, "cpu", backend=backend)


def test_a_missing_export_a_folder_and_weights_of_an_export_are_refused(learned_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    for name in ("none.onnx", "folder.onnx", "none.engine"):
        for read in (read_info, lambda path: Predictor(path, "cpu")):
            with pytest.raises(InputError, match=name):
                read(tmp_path / name)
    with pytest.raises(InputError, match=r"learned\.onnx"):
        load_model(learned_onnx)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--held-out", "F"], "--calibration"),
        (["--calibration", "F", "--out", "x.onnx"], "int8"),
        (["--out", "x.bin"], r"x\.bin"),
        (["--model", "detector.onnx"], r"detector\.onnx"),
        (["--calibration", "bag"], "bag"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    model: Path, frames_json: Path, capsys: pytest.CaptureFixture[str], words: list[str], named: str
) -> None:
    assert command(model, frames_json, *(str(frames_json) if word == "F" else word for word in words)) == 2
    error = capsys.readouterr().err
    assert named.replace("\\", "") in error
    assert error.count("\n") == 1
    assert [file.name for file in model.parent.iterdir()] == [model.name]


def test_an_export_that_differs_is_not_written(
    model: Path, frames_json: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = export.network_to_export

    def other(path: Path) -> Any:
        network, picture = own(path)
        network.detector.backbone.stem.weight.data.mul_(1.05)
        return network, picture

    monkeypatch.setattr(export, "network_to_export", other)
    assert command(model, frames_json) == 2
    assert "detector.onnx" in capsys.readouterr().err
    assert [file.name for file in model.parent.iterdir()] == [model.name]


def test_the_check_counts_boxes_and_scores_of_what_is_seen() -> None:
    found = Difference(frames=8, boxes=40, box_px=0.9, score=0.0009, median_box_px=0.1, median_score=0.0)
    check_difference(Path("m.onnx"), "fp32", found)
    for changed, said in (
        ({"box_px": 1.1}, "boxes .* 1.1 px"),
        ({"score": 0.002}, "scores .* 0.002"),
        ({"score": float("nan")}, "scores"),
        ({"boxes": 0}, "8 frames"),
    ):
        with pytest.raises(InputError, match=said):
            check_difference(Path("m.onnx"), "fp32", replace(found, **changed))  # type: ignore[arg-type]
    check_difference(Path("m.onnx"), "int8", replace(found, box_px=20.0, score=0.3))
    with pytest.raises(InputError, match="boxes"):
        check_difference(Path("m.onnx"), "int8", replace(found, median_box_px=1.5))


def test_a_calibrated_export_is_executed_in_int8(
    model: Path, frames_json: Path, draw_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf")
    figures, own = tmp_path / "figures.json", frames_json.with_name("own.json")
    # whatever the categories are called: of the labels nothing is asked
    document = json.loads(frames_json.read_text())
    renamed = [{**category, "name": f"my {category['name']}"} for category in document["categories"]]
    own.write_text(json.dumps({**document, "categories": renamed}))
    words = ["--calibration", own, "--held-out", frames_json, "--json", figures]
    assert command(model, frames_json, *words) == 0
    path = model.with_name("detector.int8.xml")
    document = json.loads(figures.read_text())
    assert (document["precision"], document["calibration"]) == ("int8", "own.json, 12 frames")
    assert document["bytes"] < model.stat().st_size + path.stat().st_size
    assert document["check"]["held_out"]["map_int8"] > document["check"]["held_out"]["map_fp32"] - 0.005
    frame, truth = draw_scene(np.random.default_rng(401))
    predictor = Predictor(path, "cpu")
    assert (predictor.backend, predictor.precision) == ("openvino", "int8")
    found = predictor.predict(frame)
    best = [int(np.argmax(found.class_ids == class_id)) for class_id in (0, 1)]
    np.testing.assert_allclose(found.boxes_xyxy_px[best], truth.boxes_xyxy_px, atol=5)
    with pytest.raises(InputError, match="int8"):
        Predictor(path, "cpu", "fp32")
    path.unlink()
    path.with_suffix(".bin").unlink()
    # one that loses too much on held-out frames is not written
    monkeypatch.setattr("cgdet_core.commands.export.MAX_LOSS_MAP", -1.0)  # more than a mAP can gain
    assert command(model, frames_json, *words) == 2
    assert [file.name for file in model.parent.iterdir()] == [model.name]


def test_the_first_convolution_as_one_of_four_channels_gives_the_same_sums(model: Path) -> None:
    stem = export.fuse(load_model(model)[0]).backbone.stem
    with torch.no_grad():
        for size in ((64, 96), (2, 4)):
            picture = torch.rand(1, 1, *size)
            torch.testing.assert_close(WideStem(stem)(picture), stem(picture), atol=1e-5, rtol=1e-5)


def test_every_kind_of_block_can_be_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        widths=(8, 16, 16, 32, 32),
        depths=(1, 1, 1, 1),
        head_width=16,
        class_branch="light",
        input_height_width_px=(64, 64),
        blocks=("pair", "partial", "wide", "pair"),
        activation="hard_swish",
    )
    detector = Detector(config).eval()
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.05)  # type: ignore[union-attr]
    canvas = np.random.default_rng(0).random((64, 64), np.float32)
    with torch.no_grad():
        expected = detector(torch.from_numpy(canvas)[None, None])
    assert expected.class_logits.std() > 0.01
    model = tmp_path / "m.safetensors"
    save_model(model, detector, ModelInfo(model=config))
    write_export(model, tmp_path / "m.onnx", read_description(model))
    found = open_model(tmp_path / "m.onnx", "openvino", "cpu", "fp32", 1).backend.infer(canvas)
    for part, whole in (
        (found.class_logits, expected.class_logits[0]),
        (found.box_logits, expected.box_logits[0].flatten(1)),
    ):
        np.testing.assert_allclose(part, whole, rtol=1e-4, atol=1e-4 * float(whole.std()))


def test_nothing_is_left_where_the_work_beside_fails(tmp_path: Path) -> None:
    out = tmp_path / "out" / "m.onnx"

    def stop() -> None:
        with beside(out) as partial:
            partial.write_bytes(b"half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stop()
    assert list(out.parent.iterdir()) == []
