"""The set-up of .venv: what it refuses, what it does again and what it does not, and what it built."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from environment import machine, plan, stamps, vision_msgs
from environment.progress import SetupError, run_logged


def _checkout(repository: Path, folder: Path) -> Path:
    """What the set-up reads, copied."""
    for name in ("tools", "requirements", "interfaces"):
        shutil.copytree(repository / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "setup.py", "setup.cfg", "pyproject.toml"):
        shutil.copy(repository / name, folder / name)
    (folder / "cgdet_core").mkdir()
    shutil.copy(repository / "cgdet_core/__init__.py", folder / "cgdet_core")
    return folder


def _without_ros() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("ROS_DISTRO", "AMENT_PREFIX_PATH")}


def _set_up(folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(machine.base_python()), "-S", "tools/setup_environment.py", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_python_too_old_is_refused_in_one_line_that_names_the_remedy(repository: Path) -> None:
    probe = (
        "import sys, runpy\n"
        "class Version(tuple):\n    pass\n"
        "sys.version_info = Version((3, 8, 10, 'final', 0))\n"
        f"runpy.run_path({str(repository / 'tools/setup_environment.py')!r})"
    )
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert answer.stderr.count("\n") == 1
    assert "is Python 3.8, and cgdet needs 3.10 to 3.13" in answer.stderr
    assert "make PYTHON=" in answer.stderr


def test_the_version_check_is_written_so_that_an_old_python_can_read_it(repository: Path) -> None:
    import ast

    source = (repository / "tools/setup_environment.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 4))
    assert 'f"' not in source


def test_a_machine_without_a_compiler_is_told_the_package_before_anything_is_made(
    repository: Path, tmp_path: Path
) -> None:
    folder = _checkout(repository, tmp_path)
    (tmp_path / "empty").mkdir()
    environment = {**_without_ros(), "PATH": str(tmp_path / "empty"), "CC": "", "CXX": ""}
    answer = _set_up(folder, environment)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "a C compiler" in answer.stderr
    assert "a C++ compiler" in answer.stderr
    assert "sudo apt install" in answer.stderr
    assert "build-essential" in answer.stderr
    assert not (folder / ".venv").exists()


def test_missing_headers_and_venv_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "_include_folders", lambda: [tmp_path])
    monkeypatch.setattr(machine, "can_import", lambda python, module: module != "ensurepip")
    with pytest.raises(SetupError, match=r"sudo apt install python3\S*-venv( \S+)* python3\S*-dev") as refusal:
        machine.check_tools(build_messages=True)
    assert "the Python headers" in str(refusal.value)


def test_a_python_that_is_not_there_is_named_by_make(repository: Path, tmp_path: Path) -> None:
    answer = _make(_checkout(repository, tmp_path), "setup", "PYTHON=python3.99")
    assert answer.returncode != 0
    assert answer.stderr.splitlines()[0].startswith("cgdet set-up: python3.99 is not on PATH")


@pytest.mark.parametrize("word", ["BAG=no/such bag", "MODEL=no.safetensors"])
def test_a_bag_or_model_that_is_not_there_ends_the_demo_before_the_set_up(
    word: str, repository: Path, tmp_path: Path
) -> None:
    folder = _checkout(repository, tmp_path)
    answer = _make(folder, "demo", word)
    assert answer.returncode != 0
    assert answer.stderr.splitlines()[0].startswith(f"cgdet demo: {word}: there is no such file or folder")
    assert not (folder / ".venv").exists()


def _make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    environment = {name: value for name, value in _without_ros().items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_ros_whose_rclpy_this_python_cannot_import_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/jazzy")
    monkeypatch.setattr(machine, "can_import", lambda python, module: False)
    with pytest.raises(SetupError, match="cannot import its rclpy"):
        machine.sourced_ros(tmp_path / ".venv")


def test_a_sourced_ros_without_vision_msgs_is_told_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/jazzy")
    monkeypatch.setattr(machine, "can_import", lambda python, module: module == "rclpy")
    with pytest.raises(SetupError, match="sudo apt install ros-jazzy-vision-msgs"):
        machine.sourced_ros(tmp_path / ".venv")


def test_with_a_sourced_ros_no_wheel_of_ros_and_no_message_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/jazzy")
    monkeypatch.setattr(machine, "can_import", lambda python, module: True)
    monkeypatch.setattr(machine, "_numpy_major", lambda python: 1)
    venv = tmp_path / ".venv"
    environment = plan.Environment(venv, machine.sourced_ros(venv))
    assert [step[0] for step in environment.steps(with_tests=True)] == ["venv", "core", "package", "test"]
    asked: list[list[str | Path]] = []
    monkeypatch.setattr(environment, "_run", lambda command, what, log: asked.append(command))
    environment.make_venv()
    environment.install_core()
    assert "--system-site-packages" in asked[0]
    assert "numpy<2" in asked[1]


def test_the_environment_as_its_own_prefix_is_no_ros_installation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / ".venv"))
    assert machine.sourced_ros(tmp_path / ".venv") is None


def _stamp_everything(folder: Path) -> None:
    probe = (
        "import sys; sys.path.insert(0, 'tools')\n"
        "from environment import plan\n"
        "e = plan.Environment(plan.ROOT / '.venv', None)\n"
        "for name, key, _ in e.steps(True): e.stamps.finish(name, key)"
    )
    subprocess.run([str(machine.base_python()), "-S", "-c", probe], cwd=folder, check=True)


def test_a_complete_set_up_is_not_done_again(repository: Path, tmp_path: Path) -> None:
    folder = _checkout(repository, tmp_path)
    _stamp_everything(folder)
    answer = _set_up(folder, _without_ros(), "--with-tests")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("file", "steps"),
    [
        ("requirements/core.txt", "core, test"),
        ("requirements/openvino.txt", "core, test"),
        ("requirements/ros-wheels.txt", "ros, vision_msgs"),
        ("requirements/test.txt", "test"),
        ("interfaces/vision_msgs/msg/Detection2D.msg", "vision_msgs"),
        ("setup.py", "package"),
    ],
)
def test_a_changed_file_brings_back_the_steps_that_read_it_alone(
    repository: Path, tmp_path: Path, file: str, steps: str
) -> None:
    folder = _checkout(repository, tmp_path)
    _stamp_everything(folder)
    with (folder / file).open("a", encoding="utf-8") as changed:
        changed.write("# changed\n")
    answer = _set_up(folder, _without_ros(), "--with-tests", "--check")
    assert answer.returncode == 1
    assert answer.stdout.strip() == f"to do: {steps}"


def test_a_step_that_was_begun_and_not_finished_is_not_done(tmp_path: Path) -> None:
    kept = stamps.Stamps(tmp_path)
    kept.finish("core", "key")
    assert kept.is_done("core", "key")
    assert not kept.is_done("core", "another key")
    kept.begin("core")
    assert not kept.is_done("core", "key")


def test_what_a_killed_pip_left_half_installed_is_taken_away(tmp_path: Path) -> None:
    site = tmp_path / "lib/python3.11/site-packages"
    for name, files in {"whole-1.dist-info": ("METADATA", "RECORD"), "half-1.dist-info": ("METADATA",)}.items():
        (site / name).mkdir(parents=True)
        for file in files:
            (site / name / file).touch()
    plan.Environment(tmp_path, None)._drop_half_installed()
    assert [path.name for path in site.iterdir()] == ["whole-1.dist-info"]


def test_two_set_ups_of_one_checkout_take_turns(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lock"
    file.touch()
    order: list[str] = []

    def second() -> None:
        with stamps.one_at_a_time(file):
            order.append("second")

    with stamps.one_at_a_time(file):
        waiting = threading.Thread(target=second)
        waiting.start()
        while "waiting" not in capfd.readouterr().out:
            time.sleep(0.01)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_a_failing_command_ends_in_one_line_with_its_reason_and_its_log(tmp_path: Path) -> None:
    script = "print('ERROR: No matching distribution found for torch'); print('and more'); raise SystemExit(3)"
    log = tmp_path / "log" / "core.log"
    with pytest.raises(SetupError, match="No matching distribution found for torch") as failure:
        run_logged([sys.executable, "-c", script], "installing", log)
    assert "\n" not in str(failure.value)
    assert str(log) in str(failure.value)
    assert "and more" in log.read_text()


def test_messages_with_another_type_hash_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "share/vision_msgs/msg"
    folder.mkdir(parents=True)
    for name, expected in vision_msgs.TYPE_HASHES.items():
        entry = {"type_name": name, "hash_string": expected}
        (folder / f"{name.split('/')[-1]}.json").write_text(json.dumps({"type_hashes": [entry]}))
    vision_msgs.check_type_hashes(tmp_path)
    entry = {"type_name": "vision_msgs/msg/Detection2D", "hash_string": "RIHS01_00"}
    (folder / "Detection2D.json").write_text(json.dumps({"type_hashes": [entry]}))
    with pytest.raises(SetupError, match=r"Detection2D has type hash RIHS01_00 and not RIHS01_0d12b6"):
        vision_msgs.check_type_hashes(tmp_path)


def test_the_installed_messages_are_those_of_vision_msgs_4_1_1() -> None:
    found = importlib.util.find_spec("vision_msgs")
    if found is None or found.origin is None:
        pytest.skip("vision_msgs is not installed")
    prefix = next((p for p in Path(found.origin).parents if (p / "share/vision_msgs/msg").is_dir()), None)
    if prefix is None:
        pytest.skip("the installed vision_msgs carries no type hashes (ROS 2 Humble)")
    vision_msgs.check_type_hashes(prefix)


def test_a_message_array_crosses_the_wire_as_it_was(repository: Path) -> None:
    """Serialised by the middleware and read back, in a process of its own."""
    probe = (
        "from rclpy.serialization import deserialize_message, serialize_message\n"
        "from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose\n"
        "array = Detection2DArray()\n"
        "array.header.frame_id = 'thermal'\n"
        "box = Detection2D(id='7')\n"
        "box.bbox.center.position.x, box.bbox.size_y = 12.5, 30.25\n"
        "result = ObjectHypothesisWithPose()\n"
        "result.hypothesis.class_id, result.hypothesis.score = 'person', 0.75\n"
        "box.results.append(result)\n"
        "array.detections.append(box)\n"
        "assert deserialize_message(serialize_message(array), Detection2DArray) == array"
    )
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
