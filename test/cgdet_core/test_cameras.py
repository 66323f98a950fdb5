"""config/cameras: what the frames of known cameras look like, by one word."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgdet_core.cli import parse
from cgdet_core.config.cameras import CameraConfig, load_camera
from cgdet_core.errors import InputError

# rows and columns of the picture, as the makers' documents give them
PICTURES = {
    "flir_lepton_2": (60, 80),
    "flir_lepton_3": (120, 160),
    "flir_boson_320": (256, 320),
    "flir_boson_640": (512, 640),
}


def test_every_shipped_camera_has_the_picture_of_its_kind_between_its_telemetry(repository: Path) -> None:
    names = [path.stem for path in (repository / "config" / "cameras").iterdir()]
    assert set(PICTURES) <= set(names)
    for name in names:
        camera, where = load_camera(name), name.rpartition("_")[2]
        assert camera.height_width_px is not None
        height, width = camera.height_width_px
        kind = name.removesuffix("_footer").removesuffix("_header")
        assert (height - abs(camera.telemetry_rows), width) == PICTURES[kind]
        assert (camera.telemetry_rows > 0, camera.telemetry_rows < 0) == (where == "footer", where == "header")


def test_no_camera_is_any_and_an_unknown_one_is_an_error_with_what_was_meant() -> None:
    assert load_camera("") == CameraConfig()
    assert CameraConfig().gives("7x5 bgr8")
    with pytest.raises(InputError, match="did you mean 'flir_lepton_3_footer'"):
        load_camera("flir_lepton_3_foter")


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("160x122 mono16", True),
        ("160x122 16UC1; png compressed ", True),
        ("160x120 mono16", False),
        ("122x160 mono16", False),
        ("160x122 rgb8", False),
    ],
)
def test_frames_of_another_size_or_encoding_are_not_the_cameras(kind: str, given: bool) -> None:
    assert load_camera("flir_lepton_3_footer").gives(kind) == given


def test_commands_take_the_rows_of_a_camera_or_a_number_and_not_both(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["detect", "x.png", "--out", "found"]
    assert parse([*words, "--camera", "flir_lepton_3_header"]).telemetry_rows == -2
    assert parse([*words, "--telemetry-rows", "1"]).telemetry_rows == 1
    assert parse(words).telemetry_rows == 0
    with pytest.raises(InputError, match="flir_boson_64"):
        parse([*words, "--camera", "flir_boson_64"])
    with pytest.raises(SystemExit) as ended:
        parse([*words, "--camera", "flir_boson_640", "--telemetry-rows", "1"])
    assert ended.value.code == 2
    assert "--camera" in capsys.readouterr().err
