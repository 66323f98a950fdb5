"""Exports: what they carry, what they are checked for, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cgdet_core.cli import main
from cgdet_core.config import ModelConfig, ThermalConfig
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.errors import InputError
from cgdet_core.evaluation.detection import DETECTION
from cgdet_core.files import sha256_of
from cgdet_core.runtime import export
from cgdet_core.runtime.backends import open_model
from cgdet_core.runtime.backends.base import RawOutput
from cgdet_core.runtime.export import WideStem, check_parity, write_export
from cgdet_core.runtime.model_file import ModelInfo, load_model, read_description, read_info, save_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.tasks.detection.head import DetectionNetwork
from cgdet_core.thermal import normalise

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


def test_an_export_lies_beside_its_model_and_runs_without_it(
    model: Path, frames_json: Path, draw_scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = Predictor(model, "cpu", "fp32", backend="torch")
    assert command(model, frames_json) == 0
    path = model.with_suffix(".onnx")
    assert {file.name for file in model.parent.iterdir()} == {model.name, path.name}
    assert path.stat().st_mode & 0o777 == model.stat().st_mode & 0o777
    assert str(Path(__file__).parents[3]).encode() not in path.read_bytes()
    onnx.checker.check_model(str(path), full_check=True)
    description = read_description(path)
    assert (description.precision, description.model_sha256) == ("fp32", sha256_of(model))
    assert description.info == expected.info
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
    assert description.model_sha256[:16] in said
    assert "tall, wide" in said


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_export_is_refused_in_one_line(learned_onnx: Path, tmp_path: Path, share: float) -> None:
    path = tmp_path / "detector.onnx"
    shutil.copy(learned_onnx, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    for backend in ("openvino", "onnxruntime"):
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
    for changed in (
        {},
        own | {"cgdet": "{"},
        own | {"cgdet": newer},
        own | {"cgdet_sha256": "7"},
        own | {"cgdet_precision": "int4"},
    ):
        content.ClearField("metadata_props")
        onnx.helper.set_model_props(content, changed)
        onnx.save(content, str(path))
        with pytest.raises(InputError, match=r"other\.onnx"):
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
        (["--calibration", "F", "--out", "x.xml"], r"x\.xml"),
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


def test_an_export_that_differs_is_refused(learned_model: Path, learned_onnx: Path, draw_scene: Scene) -> None:
    reference, _ = open_model(learned_model, "torch", "cpu", "fp32", 1)
    export, _ = open_model(learned_onnx, "openvino", "cpu", "fp32", 1)
    canvases = [normalise(draw_scene(np.random.default_rng(seed))[0], ThermalConfig()) for seed in range(2)]

    class Changed:
        """The export, with a share of the boxes moved and of the scores raised."""

        def __init__(self, cells: slice, box: float, score: float) -> None:
            self.cells, self.box, self.score = cells, box, score

        def infer(self, canvas: np.ndarray) -> RawOutput:
            classes, boxes = (output.copy() for output in export.infer(canvas))
            boxes[self.cells, 0] += self.box
            classes[self.cells] += self.score
            return classes, boxes

    def check(precision: str, other: Any, canvases: list[np.ndarray] = canvases) -> dict[str, float]:
        return check_parity(Path("m.onnx"), precision, reference, other, canvases, (64, 96))

    figures = check("fp32", export)
    assert (figures["frames"], figures["boxes"] > 2) == (2, True)
    assert max(figures["box_px"], figures["score"]) < 1e-3
    everywhere, few = slice(None), slice(0, 130, 5)
    assert check("int8", Changed(few, 20.0, 3.0))["score"] < 1e-3
    for precision, other in (
        ("fp32", Changed(few, 20.0, 0.0)),
        ("fp32", Changed(few, 0.0, 0.1)),
        ("fp32", Changed(everywhere, 0.0, float("nan"))),
        ("int8", Changed(everywhere, 0.0, 3.0)),
    ):
        with pytest.raises(InputError, match=r"m\.onnx"):
            check(precision, other)
    with pytest.raises(InputError, match="--frames"):
        check("fp32", export, [np.zeros((64, 96), np.float32)])


def test_a_calibrated_export_is_executed_in_int8(
    model: Path, frames_json: Path, draw_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    figures, own = tmp_path / "figures.json", frames_json.with_name("own.json")
    # whatever the categories are called: of the labels nothing is asked
    document = json.loads(frames_json.read_text())
    renamed = [{**category, "name": f"my {category['name']}"} for category in document["categories"]]
    own.write_text(json.dumps({**document, "categories": renamed}))
    words = ["--calibration", own, "--held-out", frames_json, "--json", figures]
    assert command(model, frames_json, *words) == 0
    path = model.with_name("detector.int8.onnx")
    document = json.loads(figures.read_text())
    assert (document["precision"], document["calibration"]) == ("int8", "own.json, 12 frames")
    assert document["bytes"] == path.stat().st_size
    assert document["check"]["held_out"]["map_int8"] > document["check"]["held_out"]["map_fp32"] - 0.005
    frame, truth = draw_scene(np.random.default_rng(401))
    predictor = Predictor(path, "cpu")
    assert (predictor.backend, predictor.precision) == ("openvino", "int8")
    found = predictor.predict(frame)
    best = [int(np.argmax(found.class_ids == class_id)) for class_id in (0, 1)]
    np.testing.assert_allclose(found.boxes_xyxy_px[best], truth.boxes_xyxy_px, atol=5)
    # the values within are of 256 levels, the answer is not
    canvas = np.random.default_rng(0).random((64, 96), np.float32)
    assert len(np.unique(open_model(path, "openvino", "cpu", "int8", 1)[0].infer(canvas)[1])) > 256
    # two weights times values of 255 fit into 16 bits, which is all that a CPU without VNNI has
    constants = onnx.load(path).graph.initializer
    weights = [onnx.numpy_helper.to_array(one) for one in constants if one.data_type == onnx.TensorProto.INT8]
    assert 60 < max(int(np.abs(each.astype(int)).max()) for each in weights) <= 64
    with pytest.raises(InputError, match="int8"):
        Predictor(path, "cpu", "fp32")
    # one that loses too much on held-out frames is not written
    written = path.rename(tmp_path / path.name)
    monkeypatch.setattr(export, "write_export", lambda _, out, *__: shutil.copy(written, out))
    monkeypatch.setattr(DETECTION, "int8_may_lose", -1.0)  # more than a mAP can gain
    assert command(model, frames_json, *words) == 2
    assert [file.name for file in model.parent.iterdir()] == [model.name]


def test_the_first_convolution_as_one_of_four_channels_gives_the_same_sums(model: Path) -> None:
    stem = export.fuse(load_model(model)[0]).backbone.stem
    with torch.no_grad():
        for size in ((64, 96), (2, 4)):
            picture = torch.rand(1, 1, *size)
            torch.testing.assert_close(WideStem(stem)(picture), stem(picture), atol=1e-5, rtol=1e-5)


def test_a_network_of_another_shape_can_be_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        widths=(8, 16, 16, 32, 32),
        depths=(1, 1, 1, 1),
        head_width=16,
        input_height_width_px=(64, 64),
        activation="hard_swish",
    )
    detector = DetectionNetwork(config).eval()
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
    found = open_model(tmp_path / "m.onnx", "openvino", "cpu", "fp32", 1)[0].infer(canvas)
    for part, whole in (
        (found[0], expected.class_logits[0]),
        (found[1], expected.box_logits[0].flatten(1)),
    ):
        np.testing.assert_allclose(part, whole, rtol=1e-4, atol=1e-4 * float(whole.std()))
