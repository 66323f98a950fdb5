"""The set-up of .venv: what it refuses, when it has nothing to do, and what it built."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import setup_environment
from setup_environment import SetupError

# Of vision_msgs 4.1.1 and hri_msgs 2.0.0 (REP 2011): they depend on the names, types and order of all fields alone.
TYPE_HASHES = {
    "vision_msgs/msg/Detection2DArray": "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    "vision_msgs/msg/Detection2D": "RIHS01_0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea",
    "hri_msgs/msg/FacialLandmarks": "RIHS01_f1d6b0ba159f4d6be1632e5dfc9cb79ce5e35da73888da2a4789bd9b35112a63",
}


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """What the set-up reads, copied."""
    folder = tmp_path / "checkout"
    for name in ("tools", "requirements", "interfaces"):
        shutil.copytree(repository / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "setup.py", "setup.cfg", "pyproject.toml"):
        shutil.copy(repository / name, folder / name)
    (folder / "cgdet_core").mkdir()
    shutil.copy(repository / "cgdet_core/__init__.py", folder / "cgdet_core")
    return folder


def _make(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    hidden = ("ROS_DISTRO", "AMENT_PREFIX_PATH")
    environment = {n: v for n, v in os.environ.items() if n not in hidden and not n.startswith("MAKE")} | variables
    command = [shutil.which("make") or pytest.skip("make is not installed"), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", [(3, 8, 10), (3, 9, 0), (3, 14, 0)])
def test_a_python_that_is_too_old_or_too_new_is_refused_in_one_line(
    repository: Path, version: tuple[int, int, int]
) -> None:
    program = f"import sys, runpy; sys.version_info = {version}; runpy.run_path('tools/setup_environment.py')"
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert f"is Python {version[0]}.{version[1]}" in answer.stderr


def test_a_machine_without_a_compiler_is_told_the_package_before_anything_is_made(checkout: Path) -> None:
    bare = checkout.parent / "bin"
    bare.mkdir()
    for tool in ("sh", "make"):
        (bare / tool).symlink_to(shutil.which(tool) or pytest.skip(f"{tool} is not installed"))
    answer = _make(checkout, "setup", f"PYTHON={sys.executable}", PATH=str(bare), CC="", CXX="")
    assert answer.returncode != 0
    first = answer.stderr.splitlines()[0]
    assert "build-essential" in first
    assert not (checkout / ".venv").exists()


def test_what_is_named_on_the_command_line_and_is_not_there_ends_it_before_the_set_up(checkout: Path) -> None:
    for goal, word in (("setup", "PYTHON=python3.99"), ("demo", "BAG=no/such bag"), ("demo", "MODEL=no.onnx")):
        answer = _make(checkout, goal, word)
        assert answer.returncode != 0
        assert word.partition("=")[2] in answer.stderr.splitlines()[0]
        assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(("importable", "named"), [((), "rclpy"), (("rclpy",), "ros-jazzy-vision-msgs")])
def test_a_sourced_ros_that_cannot_be_used_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, importable: tuple[str, ...], named: str
) -> None:
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/jazzy")
    can = {f"import {module}" for module in importable}
    monkeypatch.setattr(setup_environment, "answer_of", lambda python, code: "" if code in can else None)
    with pytest.raises(SetupError, match=named):
        setup_environment.sourced_ros()


def test_a_sourced_ros_is_used_and_the_environment_itself_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setattr(setup_environment, "answer_of", lambda python, code: "")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(setup_environment.VENV))
    assert setup_environment.sourced_ros() is None
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{setup_environment.VENV}{os.pathsep}/opt/ros/jazzy")
    assert setup_environment.sourced_ros() == "jazzy"


def test_with_a_sourced_ros_no_wheel_of_ros_and_no_message_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(setup_environment, "pip_install", lambda what, *words: asked.extend(map(str, words)))
    monkeypatch.setattr(setup_environment, "build_messages", lambda: asked.append("messages"))
    monkeypatch.setattr(setup_environment, "answer_of", lambda python, code: "1.26.4")
    setup_environment.install(ros="jazzy", with_tests=True)
    assert "numpy<2" in asked, "compiled for NumPy 1, cv_bridge crashes under NumPy 2"
    assert not [word for word in asked if "ros-wheels" in word or word == "messages"]
    asked.clear()
    setup_environment.install(ros=None, with_tests=False)
    assert "messages" in asked
    assert [word for word in asked if "ros-wheels" in word]
    assert not [word for word in asked if word.endswith("test.txt")]


def test_a_complete_set_up_is_not_done_again_until_a_file_that_it_reads_changes(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[bool] = []
    for name, path in {"ROOT": ".", "VENV": ".venv", "STAMP": ".venv/stamp", "REQUIREMENTS": "requirements"}.items():
        monkeypatch.setattr(setup_environment, name, checkout / path)
    monkeypatch.setattr(setup_environment, "MESSAGES", checkout / "interfaces")
    monkeypatch.setattr(setup_environment, "sourced_ros", lambda: None)
    monkeypatch.setattr(setup_environment, "make_venv", lambda ros: (checkout / ".venv").mkdir(exist_ok=True))
    monkeypatch.setattr(setup_environment, "install", lambda ros, with_tests: done.append(with_tests))
    for with_tests in (False, False, True, True, False):
        setup_environment.main(with_tests)
    assert done == [False, True], "what the tests need serves the rest too"
    for name in ("requirements/core.txt", "interfaces/vision_msgs/msg/Detection2D.msg", "setup.py"):
        with (checkout / name).open("a", encoding="utf-8") as changed:
            changed.write("# changed\n")
        setup_environment.main(True)
        setup_environment.main(True)
    assert done == [False, True, True, True, True]


def test_what_was_interrupted_is_not_complete(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(ros: str | None, with_tests: bool) -> None:
        raise KeyboardInterrupt

    stamp = checkout / ".venv" / "stamp"
    stamp.parent.mkdir()
    stamp.write_text("of something else")
    for name, value in {"VENV": stamp.parent, "STAMP": stamp}.items():
        monkeypatch.setattr(setup_environment, name, value)
    monkeypatch.setattr(setup_environment, "sourced_ros", lambda: None)
    monkeypatch.setattr(setup_environment, "make_venv", lambda ros: None)
    monkeypatch.setattr(setup_environment, "install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        setup_environment.main(with_tests=False)
    assert not stamp.exists()


def test_a_failing_command_ends_in_one_line_with_its_reason_and_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_environment, "LOG", tmp_path / "log" / "setup.log")
    script = "print('ERROR: No matching distribution found for torch'); print('and more'); raise SystemExit(3)"
    with pytest.raises(SetupError, match="No matching distribution found for torch") as failure:
        setup_environment.run("installing", sys.executable, "-c", script)
    assert "\n" not in str(failure.value)
    assert "and more" in (tmp_path / "log" / "setup.log").read_text()


@pytest.mark.parametrize("package", ["vision_msgs", "hri_msgs"])
def test_the_installed_messages_are_those_of_the_release(package: str) -> None:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package} is not installed")
    prefix = next((p for p in Path(found.origin).parents if (p / f"share/{package}/msg").is_dir()), None)
    if prefix is None:
        pytest.skip(f"the installed {package} carries no type hashes (ROS 2 Humble)")
    if package == "hri_msgs" and "<version>2.0.0<" not in (prefix / "share/hri_msgs/package.xml").read_text():
        pytest.skip("another release of hri_msgs is installed, which may have other fields")
    for name in (name for name in TYPE_HASHES if name.startswith(package)):
        hashes = json.loads((prefix / "share" / f"{name}.json").read_text(encoding="utf-8"))["type_hashes"]
        assert {entry["type_name"]: entry["hash_string"] for entry in hashes}[name] == TYPE_HASHES[name]


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
