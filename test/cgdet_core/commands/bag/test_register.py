"""`cgdet bag register`: what it writes and prints, and what it refuses, in one line and with nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from pan_scene import Pan, make_pan_bag
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.data.registration.homography import load_registration

SHIFTED = np.array([[1.0, 0, -16], [0, 1, -8], [0, 0, 1]])
QUICK = "pairs=6", "candidates=2", "rgb_view_range=[1.0,1.5]"
PAN = Pan(
    SHIFTED,
    offset_ns=-250_000_000,
    thermal_height_width_px=(96, 128),
    rgb_height_width_px=(112, 160),
    thermal_hz=20.0,
    rgb_hz=20.0,
    seconds_per_shot=4.0,
    sway_px=(24.0, 18.0),
    seed=3,
)


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of random greys in a thermal picture, of random colours in an RGB one."""
    rng = np.random.default_rng(seed)
    thermal, rgb = np.full((180, 240), 80, np.uint8), np.full((180, 240, 3), 120, np.uint8)
    for left, top, wide, high in rng.integers((0, 0, 8, 8), (230, 170, 40, 40), (50, 4)):
        thermal[top : top + high, left : left + wide] = rng.integers(20, 240)
        rgb[top : top + high, left : left + wide] = rng.integers(20, 240, 3)
    return thermal, rgb


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("register") / "bag"
    make_pan_bag(path, [scene(1)], PAN)
    return path


def register(*words: object) -> int:
    return main(["bag", "register", *(str(word) for word in words)])


def test_it_writes_registration_and_preview_and_prints_the_figures(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture, figures = tmp_path / "r" / "registration.yaml", tmp_path / "preview.png", tmp_path / "figures.json"
    assert register(bag, "--out", out, "--preview", picture, "--json", figures, *QUICK) == 0
    printed = capsys.readouterr().out
    for word in ("/thermal/image_raw", "/rgb/image_raw/compressed", "offset", "pairs", "20.00 Hz", "dropped", str(out)):
        assert word in printed
    registration = load_registration(out)
    assert abs(registration.offset_ns + 250_000_000) < 1e9 / 20 / 3
    np.testing.assert_allclose(registration.homography[:2, 2], SHIFTED[:2, 2], atol=2)
    shown = cv2.imread(str(picture))
    assert shown.shape[1] == 2 * 128
    assert shown.shape[0] % 96 == 0
    document = json.loads(figures.read_text())
    assert document["offset_ns"] == registration.offset_ns
    assert document["pairs"] > 60
    assert document["quality"]["offset_confidence"] > 0.35
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", "preview.png", "r"]


def with_camera_infos(path: Path) -> Path:
    """Ten frames of two cameras with CameraInfos: focal lengths 100 px (thermal) and 120 px (RGB)."""
    thermal, rgb = scene(1)
    with BagWriter(path) as writer:
        for index in range(10):
            stamp_ns = 1_000_000_000 + index * 100_000_000
            writer.image("/thermal/image_raw", thermal[:96, :128], stamp_ns, "t")
            writer.image("/rgb/image_raw", rgb[:112, :160], stamp_ns, "r")
            writer.camera_info("/thermal/camera_info", 100.0, (96, 128), stamp_ns, "t")
            writer.camera_info("/rgb/camera_info", 120.0, (112, 160), stamp_ns, "r")
    return path


def test_camera_infos_and_an_extrinsic_give_the_homography(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = with_camera_infos(tmp_path / "bag")
    mount = tmp_path / "mount.yaml"
    mount.write_text(yaml.safe_dump({"rotation": np.eye(3).tolist(), "translation_m": [0.2, 0, 0]}))
    out = tmp_path / "r.yaml"
    assert register(recorded, "--out", out, "--extrinsic", mount, "--offset", 0.02) == 0
    assert "camera_info" in capsys.readouterr().out
    registration = load_registration(out)
    # the axes meet in the middle of either picture, and a pixel of RGB spans 1/120 of the distance
    scale = 100 / 120
    by_hand = [[scale, 0, 64 - scale * 80], [0, scale, 48 - scale * 56], [0, 0, 1]]
    np.testing.assert_allclose(registration.homography, by_hand, atol=1e-9)
    assert (registration.how, registration.offset_ns) == ("camera_info", 20_000_000)
    # 0.2 m to the right at 10 m is 2 px of the thermal camera
    mount.write_text(mount.read_text() + "plane_distance_m: 10.0\n")
    assert register(recorded, "--out", out, "--extrinsic", mount, "--offset", 0.02) == 0
    moved = load_registration(out).homography - registration.homography
    np.testing.assert_allclose(moved, [[0, 0, 2], [0, 0, 0], [0, 0, 0]], atol=1e-9)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--tolerance", "-1"], "tolerance_s"),
        (["--offset", "nan"], "offset_s"),
        (["max_offset=3"], "max_offset"),
        (["rgb_view_range=[2, 1]"], "rgb_view_range"),
        (["--rgb-topic", "/thermal/image_raw"], "/thermal/image_raw"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_written(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], named: str
) -> None:
    assert named in refusal(capsys, "bag", "register", bag, "--out", tmp_path / "r.yaml", *words)
    assert list(tmp_path.iterdir()) == []


def test_images_of_one_stamp_and_a_bag_without_rgb_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thermal, rgb = scene(1)
    for name in ("bag", "alone"):
        with BagWriter(tmp_path / name) as writer:
            for index in range(5):
                writer.image("/thermal/image_raw", thermal, 7_000_000_000, "t")
                if name == "bag":
                    writer.image("/rgb/image_raw", rgb, 7_000_000_000 + index, "r")
        said = refusal(capsys, "bag", "register", tmp_path / name, "--out", tmp_path / "r.yaml")
        assert ("/thermal/image_raw holds 5 images of 1 stamps" if name == "bag" else "RGB") in said


@pytest.mark.parametrize(
    ("mount", "named"),
    [
        ({"translation_m": [0, 0, 0]}, "rotation"),
        ({"rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 2]]}, "rotation"),
        ({"rotation": np.eye(3).tolist(), "rotate": 1}, "rotate"),
        ({"rotation": np.diag([-1, 1, -1]).tolist()}, "extrinsic"),
        ({"rotation": np.eye(3).tolist(), "plane_distance_m": 0}, "plane_distance_m"),
    ],
)
def test_an_extrinsic_that_is_none_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mount: dict[str, object], named: str
) -> None:
    path = tmp_path / "mount.yaml"
    path.write_text(yaml.safe_dump(mount))
    words = ["--out", tmp_path / "r.yaml", "--extrinsic", path, "--offset", 0]
    said = refusal(capsys, "bag", "register", with_camera_infos(tmp_path / "bag"), *words)
    assert named in said
    assert str(path) in said
    assert not (tmp_path / "r.yaml").exists()
