"""Raw frame and boxes in, points out: against each step by hand, in every library, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from face_model import CROP_PX, open_faces, save_face_model

import cgdet_core
from cgdet_core.cli import main
from cgdet_core.data.synthetic.faces.drawing import drawn_face
from cgdet_core.errors import InputError
from cgdet_core.runtime.backends.base import is_installed
from cgdet_core.runtime.landmarks import LandmarkPredictor
from cgdet_core.runtime.model_file import load_model, read_description, save_model
from cgdet_core.runtime.predictor import Predictor

BOXES = np.array([[20, 24, 80, 90], [5, 8, 60, 70], [30, 10, 110, 100]], np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_face_model(tmp_path_factory.mktemp("faces") / "m.safetensors")


@pytest.fixture(scope="module")
def onnx(model: Path) -> Path:
    pytest.importorskip("onnxscript")
    pytest.importorskip("openvino")
    from cgdet_core.runtime.export import write_export

    path = model.with_suffix(".onnx")
    write_export(model, path, read_description(model))
    return path


@pytest.fixture(scope="module")
def predictor(model: Path) -> LandmarkPredictor:
    return open_faces(model)


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    return 6000 + 12 * drawn_face(3, 120).frame.image.astype(np.uint16)


def test_every_face_gives_what_the_steps_by_hand_give(
    model: Path, predictor: LandmarkPredictor, frame: np.ndarray
) -> None:
    found = predictor.predict(frame, BOXES)
    assert len(found) == 3
    network, info = load_model(model)
    counts = np.sort(frame.reshape(-1)).astype(np.float64)
    low, high = (counts[int(np.ceil(counts.size * percent / 100)) - 1] for percent in (0.5, 99.8))
    toned = np.clip((frame - low) / (high - low), 0, 1).astype(np.float32)
    for face, (left, top, right, bottom) in enumerate(BOXES):
        side = max(right - left, bottom - top) * info.postprocess.box_scale
        step = (np.arange(CROP_PX) - (CROP_PX - 1) / 2) * side / CROP_PX
        xs, ys = np.meshgrid((left + right) / 2 - 0.5 + step, (top + bottom) / 2 - 0.5 + step)
        assert side < 2 * CROP_PX  # nothing is averaged over areas
        border = cv2.BORDER_REPLICATE
        crop = cv2.remap(toned, xs.astype(np.float32), ys.astype(np.float32), cv2.INTER_LINEAR, borderMode=border)
        with torch.no_grad():
            shares = network(torch.from_numpy(crop)[None, None])[0].double().flatten(1).softmax(1)
        cells = CROP_PX // 8
        centre = np.arange(cells) * 8 + 3.5
        x, y = (shares.numpy() * each.reshape(-1) for each in np.meshgrid(centre, centre))
        middle = np.stack([x.sum(1), y.sum(1)], 1)
        expected = middle * side / CROP_PX + [xs[0, 0], ys[0, 0]]
        # OpenCV's fixed-point interpolation: a 32nd of a pixel
        np.testing.assert_allclose(found.points_xy_px[face], expected, atol=0.1)
    np.testing.assert_array_equal(found.boxes_xyxy_px, BOXES)
    assert found.confidences.std() > 0.01


def test_several_faces_give_what_each_gives_alone(predictor: LandmarkPredictor, frame: np.ndarray) -> None:
    together = predictor.predict(frame, BOXES)
    for face in range(3):
        alone = predictor(frame, BOXES[face : face + 1])
        np.testing.assert_array_equal(alone.points_xy_px[0], together.points_xy_px[face])
        np.testing.assert_array_equal(alone.confidences[0], together.confidences[face])
    listed = predictor([frame, frame[:100]], [BOXES[:1], BOXES[:2]])
    assert [len(faces) for faces in listed] == [1, 2]
    np.testing.assert_array_equal(listed[0].points_xy_px[0], together.points_xy_px[0])
    assert len(predictor.predict(frame, np.zeros((0, 4), np.float32))) == 0
    stages = predictor.last_stage_ms
    assert stages["infer"] == 0
    assert set(stages) == {"preprocess", "infer", "postprocess", "total"}


@pytest.mark.parametrize(
    ("backend", "precision", "off_px", "off"),
    [("openvino", "fp32", 0.02, 1e-3), ("onnxruntime", "fp32", 0.02, 1e-3), ("openvino", "bf16", 1.5, 0.1)],
)
def test_every_library_gives_the_same_points(
    onnx: Path, predictor: LandmarkPredictor, frame: np.ndarray, backend: str, precision: str, off_px: float, off: float
) -> None:
    if not is_installed(backend):
        pytest.skip(f"{backend} is not installed: pip install {backend}")
    other = LandmarkPredictor(onnx, "cpu", precision, 1, backend)
    assert (other.backend, other.info, other.model_sha256) == (backend, predictor.info, predictor.model_sha256)
    expected, found = predictor.predict(frame, BOXES), other.predict(frame, BOXES)
    np.testing.assert_allclose(found.points_xy_px, expected.points_xy_px, atol=off_px)
    np.testing.assert_allclose(found.confidences, expected.confidences, atol=off)


def test_an_onnx_runs_without_torch(
    onnx: Path, predictor: LandmarkPredictor, frame: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "frame.npy", frame)
    code = (
        "import sys; sys.modules['torch'] = None; import numpy as np; from cgdet_core import Landmarks; "
        "l = Landmarks(sys.argv[1], 'cpu', 'fp32', backend=sys.argv[2]); "
        "found = l(np.load(sys.argv[3]), np.array([[20, 24, 80, 90]])); print(l.backend, *found.points_xy_px[0, 0])"
    )
    expected = predictor.predict(frame, BOXES[:1]).points_xy_px[0, 0]
    for backend in [each for each in ("openvino", "onnxruntime") if is_installed(each)]:
        words = [sys.executable, "-c", code, str(onnx), backend, str(tmp_path / "frame.npy")]
        done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ), check=False)
        assert done.returncode == 0, done.stderr
        name, *point = done.stdout.split()
        assert name == backend
        np.testing.assert_allclose(np.array(point, float), expected, atol=0.02)


@pytest.mark.parametrize("rows", [7, -7])
def test_telemetry_rows_are_no_picture_and_shift_the_points(
    predictor: LandmarkPredictor, frame: np.ndarray, rows: int
) -> None:
    telemetry = np.random.default_rng(0).integers(0, 65536, (7, frame.shape[1])).astype(np.uint16)
    whole = np.concatenate([frame, telemetry] if rows > 0 else [telemetry, frame])
    shift = np.array([0, 0 if rows > 0 else 7] * 2, np.float32)
    bare, found = predictor.predict(frame, BOXES), predictor.predict(whole, BOXES + shift, rows)
    np.testing.assert_allclose(found.points_xy_px, bare.points_xy_px + shift[:2], atol=1e-4)
    np.testing.assert_array_equal(found.confidences, bare.confidences)


@pytest.mark.parametrize(
    "box", [[20, 20, 20, 60], [60, 20, 20, 60], [0, np.nan, 9, 9], [0, 0, np.inf, 9], [0, 0, 1e4, 1e4]]
)
def test_a_box_that_is_none_is_refused_by_its_numbers(
    predictor: LandmarkPredictor, frame: np.ndarray, box: list[float]
) -> None:
    with pytest.raises(InputError, match=r"120x120"):
        predictor.predict(frame, np.array([BOXES[0], box], np.float32))
    assert len(predictor.predict(frame, BOXES)) == 3


@pytest.mark.parametrize("box", [[-40, -30, 60, 50], [100, 100, 200, 190], [200, 10, 260, 70], [40, 40, 40.5, 40.5]])
def test_a_box_beyond_the_frame_or_of_no_pixel_has_points_too(
    predictor: LandmarkPredictor, frame: np.ndarray, box: list[float]
) -> None:
    found = predictor.predict(frame, np.array([box], np.float32))
    left, top, right, bottom = box
    side = 0.6 * max(right - left, bottom - top, 1)
    away = np.abs(found.points_xy_px[0] + 0.5 - [(left + right) / 2, (top + bottom) / 2])
    assert away.max() <= side + 1e-3


def test_what_is_no_image_no_landmark_model_or_overflows_is_refused(
    model: Path, predictor: LandmarkPredictor, tmp_path: Path, frame: np.ndarray
) -> None:
    assert cgdet_core.Landmarks is LandmarkPredictor
    for shape, dtype in (((64, 96), np.float32), ((0, 96), np.uint8), ((64, 96, 4), np.uint8)):
        with pytest.raises(InputError):
            predictor.predict(np.zeros(shape, dtype), BOXES)
    with pytest.raises(InputError, match=r"m\.safetensors.*landmarks"):
        Predictor(model, "cpu", backend="torch")
    network, info = load_model(model)
    with torch.no_grad():
        network.head.leave.weight.fill_(3e38)
    hot = tmp_path / "hot.safetensors"
    save_model(hot, network, info)
    with pytest.raises(InputError, match=r"hot\.safetensors.*fp32"):
        open_faces(hot).predict(frame, BOXES)


def test_an_export_is_checked_by_faces_and_frames_that_are_missing_are_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    out = tmp_path / "face.onnx"
    words = ["export", "--model", str(model)]
    assert main([*words, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert '"points": 544' in said  # of eight drawn faces
    description = read_description(out)
    assert (description.info.task, description.info) == ("landmarks", read_description(model).info)
    assert main(["info", str(out)]) == 0
    assert main([*words, "--calibration", "x.json", "--out", str(tmp_path / "face.int8.onnx")]) == 2
    assert "x.json" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["face.onnx"]


def test_the_shipped_model_finds_the_points_of_drawn_faces_and_not_of_backdrops() -> None:
    predictor = LandmarkPredictor(device="cpu", precision="fp32", backend="torch")
    errors, sure = [], []
    for seed in range(12):
        sample = drawn_face(seed)
        assert sample.truth is not None
        assert sample.truth.points_xy_px is not None
        (truth,) = sample.truth.points_xy_px
        found = predictor.predict(sample.frame.image, sample.truth.boxes_xyxy_px)
        eyes_px = np.hypot(*(truth[36] - truth[45]))
        errors.append(np.hypot(*(found.points_xy_px[0] - truth).T).mean() / eyes_px)
        sure.append(found.confidences.mean())
    assert np.mean(errors) < 0.08
    empty = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (240, 320), np.uint8), (0, 0), 6)
    nobody = predictor.predict(empty, np.array([[40, 20, 200, 180], [100, 60, 260, 220]], np.float32))
    assert min(sure) > predictor.postprocess.lost_below > nobody.confidences.mean(axis=1).max()
