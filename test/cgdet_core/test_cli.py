"""The command `cgdet`: its help, and the exit code of wrong arguments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cgdet_core.cli import main, parse
from cgdet_core.errors import InputError, RunError, run_command
from cgdet_core.files import replacing, replacing_folder


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
        *(["detect"], ["evaluate"], ["compare"], ["train"], ["thresholds"], ["landmarks"], ["teacher"], ["info"]),
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
        ["bag", "info", "a", "b", "--workers", "-1"],
    ],
)
def test_wrong_arguments_end_with_usage_and_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_nothing_half_written_and_no_traceback(
    number: int, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        with replacing_folder(tmp_path / "bag", "metadata.yaml") as folder, replacing(tmp_path / "file") as partial:
            (folder / "half").touch()
            partial.touch()
            os.kill(os.getpid(), number)
            time.sleep(10)
        return 0

    outside = signal.getsignal(number)
    before = signal.SIG_DFL if number == signal.SIGHUP else outside  # the tests may run under nohup
    signal.signal(number, before)
    try:
        assert run_command("cgdet", work) == code
        assert list(tmp_path.iterdir()) == []
        assert capsys.readouterr().err == "cgdet: interrupted\n"
        assert signal.getsignal(number) == before
    finally:
        signal.signal(number, outside)


def test_a_hangup_that_nohup_has_ignored_ends_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_command("cgdet", lambda: os.kill(os.getpid(), signal.SIGHUP) or 0) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_data_and_class_maps_given_twice_add_to_the_first() -> None:
    words = ["evaluate", "--data", "a", "b", "--data", "c", "--class-map", "x=car", "--class-map", "y=ignore"]
    arguments = parse(words)
    assert (arguments.data, arguments.class_map) == (["a", "b", "c"], {"x": "car", "y": "ignore"})
    with pytest.raises(InputError, match="x is car already"):
        parse([*words, "x=person"])


def test_errors_are_a_line_with_the_command_and_an_exit_code_of_their_kind(capsys: pytest.CaptureFixture[str]) -> None:
    def failing(error: Exception) -> int:
        raise error

    for error, code in ((InputError("a: b"), 2), (RunError("a: b"), 1)):
        assert run_command("cgdet-replay", lambda error=error: failing(error)) == code
        assert capsys.readouterr().err == "cgdet-replay: error: a: b\n"
