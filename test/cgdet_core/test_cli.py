"""The command `cgdet`: its help, and the exit code of wrong arguments."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cgdet_core.cli import main


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys; from cgdet_core.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'cv2', 'matplotlib', 'rosbags', 'pycocotools', 'numpy', 'rclpy')\n"
        "print([module for module in heavy if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    "command",
    [
        *(["detect"], ["evaluate"], ["compare"], ["train"], ["thresholds"], ["teacher"], ["info"]),
        *(["bag", "make"], ["bag", "info"], ["bag", "label"], ["convert"]),
    ],
)
def test_every_command_has_help_with_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    assert f"example:\n  cgdet {' '.join(command)} " in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["--bogus"],
        ["detect"],
        ["info", "a", "b"],
        ["train", "r", "--out", "x"],
        ["detect", "a", "--out", "b", "--threads", "-3"],
    ],
)
def test_wrong_arguments_end_with_usage_and_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage:" in capsys.readouterr().err
