"""Exports: what they carry, what they are checked for, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cgdet_core import thermal
from cgdet_core.cli import main
from cgdet_core.config import ModelConfig, ThermalConfig
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of
from cgdet_core.runtime.backends.choice import open_model
from cgdet_core.runtime.backends.libraries import is_installed
from cgdet_core.runtime.backends.torch_backend import fuse
from cgdet_core.runtime.exports import parity
from cgdet_core.runtime.exports.calibration import calibrate
from cgdet_core.runtime.exports.description import ExportInfo, export_path, model_beside
from cgdet_core.runtime.exports.network_onnx import network_onnx, rounded_weight
from cgdet_core.runtime.exports.reading import describe, read_onnx
from cgdet_core.runtime.exports.writing import beside, write_export
from cgdet_core.runtime.model_file import load_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.tasks.detection.head import Detector

Scene = Callable[..., tuple[np.ndarray, object]]


def readers(format_name: str) -> list[str]:
    return [name for name in ("openvino", "onnxruntime")[: 1 if format_name == "openvino" else 2] if is_installed(name)]


def needs(format_name: str) -> None:
    if not readers(format_name):
        pytest.skip(f"nothing that runs {format_name} is installed: pip install openvino")


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


def export(model: Path, frames: Path, *words: str) -> int:
    return main(["export", "--model", str(model), "--frames", str(frames), *words])


@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
def test_an_export_lies_beside_its_model_and_runs_without_it(
    model: Path, frames_json: Path, draw_scene: Scene, format_name: str
) -> None:
    needs(format_name)
    expected = Predictor(model, "cpu", "fp32", backend="torch")
    assert export(model, frames_json, "--format", format_name) == 0
    path = export_path(model, format_name, "fp32")
    files = [model.name, path.name, *(["detector.bin"] if format_name == "openvino" else [])]
    assert sorted(file.name for file in model.parent.iterdir()) == sorted(files)
    info = describe(path)
    assert (info.format, info.precision, info.model_sha256) == (format_name, "fp32", sha256_of(model))
    assert info.info == expected.info
    model.unlink()
    frame, _ = draw_scene(np.random.default_rng(400))
    wanted = expected.predict(frame)
    for name in readers(format_name):
        predictor = Predictor(path, "cpu", "fp32", backend=name)
        assert (predictor.backend, predictor.precision, predictor.info) == (name, "fp32", expected.info)
        assert predictor.model_sha256 == expected.model_sha256
        assert predictor.postprocess == expected.postprocess
        found = predictor.predict(frame)
        assert found.class_ids.tolist() == wanted.class_ids.tolist()
        np.testing.assert_allclose(found.boxes_xyxy_px, wanted.boxes_xyxy_px, atol=0.02)


def test_torchscript_gives_what_pytorch_gives_and_carries_the_description(model: Path, frames_json: Path) -> None:
    assert export(model, frames_json, "--format", "torchscript") == 0
    extra = {"cgdet": ""}
    network = torch.jit.load(str(model.with_suffix(".torchscript")), _extra_files=extra)  # type: ignore[no-untyped-call]
    assert ExportInfo.model_validate_json(extra["cgdet"]).model_sha256 == sha256_of(model)
    image = torch.rand(1, 1, 64, 96)
    expected = load_model(model)[0](image)
    class_logits, box_logits = network(image)
    torch.testing.assert_close(class_logits, expected.class_logits[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(box_logits, expected.box_logits[0].flatten(1), atol=1e-4, rtol=1e-4)


def test_an_export_beside_the_model_is_what_its_backend_runs(
    model: Path, frames_json: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("openvino")
    assert export(model, frames_json, "--format", "openvino") == 0
    from cgdet_core.runtime.backends import from_export
    from cgdet_core.runtime.exports import from_model

    monkeypatch.setattr(from_model, "network_onnx", None)  # nothing is made now
    monkeypatch.setattr(from_export.cache, "store", None)
    assert Predictor(model, "cpu", "fp32", backend="openvino").backend == "openvino"


@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
def test_an_export_of_another_model_is_refused(
    model: Path, learned_model: Path, frames_json: Path, format_name: str
) -> None:
    needs(format_name)
    assert export(model, frames_json, "--format", format_name) == 0
    detector, info = load_model(model)
    from cgdet_core.runtime.model_file import save_model

    save_model(model, detector, info.model_copy(update={"scores": {"map": 0.6}}))
    path = export_path(model, format_name, "fp32")
    for given in (path, model):
        with pytest.raises(InputError) as caught:
            Predictor(given, "cpu", backend=readers(format_name)[0])
        assert f"{path}: was made from another model than detector.safetensors beside it" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert Predictor(model, "cpu", backend="torch").backend == "torch"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["detector.onnx", "detector.xml", "detector.bin"])
def test_a_cut_export_is_refused_in_one_line(model: Path, frames_json: Path, name: str, share: float) -> None:
    format_name = "onnx" if name.endswith("onnx") else "openvino"
    needs(format_name)
    assert export(model, frames_json, "--format", format_name) == 0
    path = model.with_name(name)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError) as caught:
        Predictor(model.with_name("detector.onnx" if format_name == "onnx" else "detector.xml"), "cpu")
    assert str(model.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_models_weights_beside_an_xml_are_refused(model: Path, frames_json: Path) -> None:
    needs("openvino")
    assert export(model, frames_json, "--format", "openvino") == 0
    weights = model.with_name("detector.bin")
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="is not the file that"):
        Predictor(model.with_name("detector.xml"), "cpu")
    weights.unlink()
    with pytest.raises(InputError, match="are missing: copy both files"):
        Predictor(model.with_name("detector.xml"), "cpu")


def test_an_onnx_file_of_others_is_refused(model: Path, tmp_path: Path) -> None:
    detector, _ = load_model(model)
    path = tmp_path / "other.onnx"
    path.write_bytes(network_onnx(fuse(detector), (64, 96), {}))
    with pytest.raises(InputError, match="was not written by cgdet export"):
        Predictor(path, "cpu")
    for text, said in (("{", "is not JSON"), ('{"export_version": 9}', "is an export of version 9"), ("[]", "version")):
        path.write_bytes(network_onnx(detector, (64, 96), {"cgdet": text}))
        with pytest.raises(InputError, match=said):
            read_onnx(path)


def test_a_missing_export_or_folder_is_named(tmp_path: Path) -> None:
    for name in ("none.onnx", "none.engine"):
        with pytest.raises(InputError, match="the export is missing"):
            describe(tmp_path / name)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        describe(tmp_path / "folder.onnx")
    (tmp_path / "odd.engine").write_bytes(b"something")
    with pytest.raises(InputError, match="was not written by cgdet export"):
        describe(tmp_path / "odd.engine")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "onnx", "--precision", "int8"], "give --calibration COCO.json"),
        (["--format", "torchscript", "--precision", "int8", "--calibration", "F"], "use --format onnx or openvino"),
        (["--format", "onnx", "--precision", "fp16"], "leave it out"),
        (["--format", "onnx", "--calibration", "F"], "is for --precision int8 alone"),
        (["--format", "onnx", "--held-out", "F"], "is for --precision int8 alone"),
        (["--format", "onnx", "--out", "x.bin"], "an export as onnx ends in .onnx: name it so"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    model: Path, frames_json: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert export(model, frames_json, *(str(frames_json) if word == "F" else word for word in words)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [file.name for file in model.parent.iterdir()] == [model.name]


def test_an_export_that_differs_is_not_written(
    model: Path, frames_json: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("onnx")
    from cgdet_core.runtime.exports import writing

    def other(detector: Detector, *rest: object, **more: object) -> bytes:
        first = next(detector.parameters())
        with torch.no_grad():
            first.mul_(1.05)
        try:
            return network_onnx(detector, *rest, **more)  # type: ignore[arg-type]
        finally:
            with torch.no_grad():
                first.div_(1.05)

    monkeypatch.setattr(writing, "network_onnx", other)
    assert export(model, frames_json, "--format", "onnx") == 2
    assert "differ from PyTorch's by" in capsys.readouterr().err
    assert [file.name for file in model.parent.iterdir()] == [model.name]


def test_the_check_counts_boxes_and_scores_of_what_is_seen() -> None:
    found = parity.Difference(frames=8, boxes=40, box_px=0.9, score=0.0009, median_box_px=0.1, median_score=0.0)
    parity.check("m.onnx", "fp32", found)
    for changed, said in (
        ({"box_px": 1.1}, "boxes differ from PyTorch's by 1.1 px in fp32, at most 1 may be"),
        ({"score": 0.002}, "scores differ from PyTorch's by 0.002 in fp32, at most 0.001"),
        ({"score": float("nan")}, "scores differ"),
        ({"boxes": 0}, "nothing is seen in the 8 frames"),
    ):
        with pytest.raises(InputError, match=said):
            parity.check("m.onnx", "fp32", replace(found, **changed))  # type: ignore[arg-type]
    parity.check("m.onnx", "int8", replace(found, box_px=20.0, score=0.3))
    with pytest.raises(InputError, match="boxes differ"):
        parity.check("m.onnx", "int8", replace(found, median_box_px=1.5))


def test_a_calibrated_int8_export_is_executed_in_int8(
    model: Path, frames_json: Path, draw_scene: Scene, tmp_path: Path
) -> None:
    needs("openvino")
    figures, own = tmp_path / "figures.json", frames_json.with_name("own.json")
    # whatever the categories are called: of the labels nothing is asked
    document = json.loads(frames_json.read_text())
    renamed = [{**category, "name": f"my {category['name']}"} for category in document["categories"]]
    own.write_text(json.dumps({**document, "categories": renamed}))
    words = ["--format", "onnx", "--precision", "int8", "--calibration", str(own), "--json", str(figures)]
    assert export(model, frames_json, *words) == 0
    path = model.with_name("detector.int8.onnx")
    assert model_beside(path) == model
    document = json.loads(figures.read_text())
    assert document["precision"] == "int8"
    assert document["calibration"] == {"data": "own.json", "frames": 12}
    assert document["bytes"] == path.stat().st_size < 0.75 * model.stat().st_size
    frame, truth = draw_scene(np.random.default_rng(401))
    for predictor in (Predictor(path, "cpu"), Predictor(model, "cpu", "int8")):
        assert (predictor.backend, predictor.precision) == ("openvino", "int8")
        found = predictor.predict(frame)
        best = [int(np.argmax(found.class_ids == class_id)) for class_id in (0, 1)]
        np.testing.assert_allclose(found.boxes_xyxy_px[best], truth.boxes_xyxy_px, atol=5)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="is of precision int8, which does not become fp32"):
        Predictor(path, "cpu", "fp32")
    if is_installed("onnxruntime"):
        with pytest.raises(InputError, match="precision 'int8' is not executed by backend onnxruntime"):
            Predictor(path, "cpu", backend="onnxruntime")


def test_int8_that_loses_too_much_on_held_out_frames_is_not_written(
    model: Path, frames_json: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("openvino")
    from cgdet_core.commands import export as command

    words = ["--format", "onnx", "--precision", "int8", "--calibration", str(frames_json)]
    document = json.loads(frames_json.read_text())
    own = frames_json.with_name("own.json")
    own.write_text(json.dumps({**document, "categories": [{**document["categories"][0], "name": "walker"}]}))
    assert export(model, frames_json, *words, "--held-out", str(own)) == 2
    assert "'walker'" in capsys.readouterr().err
    monkeypatch.setattr(command, "MAX_LOSS_MAP", -1.0)  # more than a mAP can gain
    assert export(model, frames_json, *words, "--held-out", str(frames_json)) == 2
    assert "nothing was written; give other frames by --calibration" in capsys.readouterr().err
    assert [file.name for file in model.parent.iterdir()] == [model.name]


def test_weights_are_rounded_to_the_nearest_step_of_their_output() -> None:
    weight = np.array([[[[1.27, -0.5]]], [[[0.0, 0.0]]], [[[-254.0, 3.0]]]], np.float32)
    rounded, scales = rounded_weight(weight)
    assert rounded.reshape(3, 2).tolist() == [[127, -50], [0, 0], [-127, 2]]
    np.testing.assert_allclose(scales[[0, 2]], [0.01, 2.0], rtol=1e-6)


def test_ranges_are_those_that_the_convolutions_meet(model: Path, draw_scene: Scene) -> None:
    detector = fuse(load_model(model)[0])
    canvases = [thermal.normalise(draw_scene(np.random.default_rng(seed))[0], ThermalConfig()) for seed in (1, 2)]
    ranges = calibrate(detector, canvases)
    convolutions = {f"{name}.weight" for name, m in detector.named_modules() if isinstance(m, torch.nn.Conv2d)}
    assert set(ranges) == convolutions
    assert ranges["backbone.stem.conv.weight"] == (0.0, 1.0)
    with torch.no_grad():
        values = [detector.backbone.stem(torch.from_numpy(canvas)[None, None]) for canvas in canvases]
    low, high = ranges["backbone.stages.0.0.conv.weight"]
    assert low == pytest.approx(min(float(value.min()) for value in values), abs=1e-5)
    assert high == pytest.approx(max(float(value.max()) for value in values), rel=1e-5)


@pytest.mark.parametrize(
    ("kinds", "activation"),
    [
        (("partial",) * 4, "silu"),
        (("wide",) * 4, "relu"),
        (("pair",) * 4, "hard_swish"),
        (("pair", "partial", "wide", "pair"), "silu"),
    ],
)
def test_every_kind_of_block_and_activation_can_be_exported(
    tmp_path: Path, kinds: tuple[str, ...], activation: str
) -> None:
    needs("onnx")
    from cgdet_core.runtime.backends.from_export import compile_model
    from cgdet_core.runtime.model_file import ModelInfo, save_model

    torch.manual_seed(0)
    config = ModelConfig(
        widths=(8, 16, 16, 32, 32),
        depths=(1, 1, 1, 1),
        head_width=16,
        class_branch="light",
        input_height_width_px=(64, 64),
        blocks=kinds,  # type: ignore[arg-type]
        activation=activation,  # type: ignore[arg-type]
    )
    detector = Detector(config).eval()
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.05)  # type: ignore[union-attr]
    canvas = np.random.default_rng(0).random((64, 64), np.float32)
    with torch.no_grad():
        expected = detector(torch.from_numpy(canvas)[None, None])
    assert expected.class_logits.std() > 0.01
    save_model(tmp_path / "m.safetensors", detector, ModelInfo(model=config))
    sha256 = hashlib.sha256((tmp_path / "m.safetensors").read_bytes()).hexdigest()
    description = ExportInfo(format="onnx", model_sha256=sha256, info=ModelInfo(model=config))
    backend = compile_model(tmp_path / "m.safetensors", description, readers("onnx")[0], "cpu", "fp32", 1)
    found = backend.infer(canvas)
    for part, whole in (
        (found.class_logits, expected.class_logits[0]),
        (found.box_logits, expected.box_logits[0].flatten(1)),
    ):
        np.testing.assert_allclose(part, whole, rtol=1e-4, atol=1e-4 * float(whole.std()))


def test_a_half_precision_model_is_near_the_whole_one(model: Path, draw_scene: Scene) -> None:
    installed = pytest.importorskip("onnxruntime")
    detector = fuse(load_model(model)[0])
    canvas = thermal.normalise(draw_scene(np.random.default_rng(7))[0], ThermalConfig())
    whole, half = (network_onnx(detector, (64, 96), {}, half=half) for half in (False, True))
    assert len(half) < 0.65 * len(whole)
    outputs = [
        installed.InferenceSession(onnx, providers=["CPUExecutionProvider"]).run(None, {"image": canvas[None, None]})
        for onnx in (whole, half)
    ]
    for expected, found in zip(*outputs, strict=True):
        assert found.dtype == np.float32
        assert 0 < np.abs(found - expected).max() < 0.05


def test_nothing_is_left_where_the_work_beside_fails(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out" / "m.onnx"

    def stop() -> None:
        with beside(out) as partial:
            partial.write_bytes(b"half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stop()
    assert list(out.parent.iterdir()) == []
    detector, info = load_model(model)
    description = ExportInfo(format="onnx", model_sha256="0" * 64, info=info)
    with beside(out) as partial:
        write_export(partial, fuse(detector), description)
    assert [file.name for file in out.parent.iterdir()] == ["m.onnx"]
    assert out.stat().st_mode & 0o777 == 0o644


def test_an_export_runs_where_it_can_be_run_alone(model: Path, frames_json: Path) -> None:
    needs("onnx")
    assert export(model, frames_json, "--format", "onnx") == 0
    path = model.with_suffix(".onnx")
    with pytest.raises(InputError, match="backend torch does not run it: use openvino or onnxruntime or tensorrt"):
        open_model(path, "torch", "cpu", "auto", 0)
    assert open_model(path, "auto", "cpu", "auto", 0).backend.name == readers("onnx")[0]


def test_info_tells_what_an_export_is(model: Path, frames_json: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs("onnx")
    assert export(model, frames_json, "--format", "onnx") == 0
    capsys.readouterr()
    assert main(["info", str(model.with_suffix(".onnx"))]) == 0
    said = capsys.readouterr().out
    assert "onnx, fp32, of " in said
    assert "tall, wide" in said
