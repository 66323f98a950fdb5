"""The launch files: what they name exists, on every machine; and where ROS's launch is installed, they really run."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from cgdet_ros.config import DetectorConfig, LandmarksConfig
from cgdet_ros.node.parameters import parameter_specs

# how a launch is asked for in docs, docstrings and the files' own words
_COMMAND = re.compile(r"ros2 launch cgdet_ros (\S+\.launch\.py)((?: +[\w-]+:=\S+)*)")


def source(repository: Path, file: str) -> str:
    return (repository / "launch" / file).read_text(encoding="utf-8")


def arguments_of(repository: Path, file: str) -> set[str]:
    """Of a launch file, those that it shares with others too."""
    text = source(repository, file)
    shared = (repository / "cgdet_ros" / "launching.py").read_text(encoding="utf-8")
    if "beside_a_driver" in text:
        text += shared
    elif "*PROCESS" in text:
        text += shared.partition("PROCESS = (")[2].partition("\n)")[0]
    return set(re.findall(r'argument\(\s*"(\w+)"', text))


def test_every_parameter_that_is_set_is_one_of_a_node(repository: Path) -> None:
    text = (repository / "cgdet_ros" / "launching.py").read_text(encoding="utf-8")
    (names,) = re.findall(r"^PARAMETERS = (\{.*?^\})", text, re.MULTILINE | re.DOTALL)
    set_by_launch = ast.literal_eval(names)
    specs = {
        default.name: descriptor.additional_constraints
        for config in (LandmarksConfig, DetectorConfig)
        for default, descriptor in parameter_specs(config)
    }
    assert set(set_by_launch.values()) <= set(specs)
    arguments = {*arguments_of(repository, "detector.launch.py"), *arguments_of(repository, "landmarks.launch.py")}
    assert set(set_by_launch) <= arguments
    for choices in re.findall(r'\(("", [^)]*)\)', text):
        values = [word for word in re.findall(r'"(\w*)"', choices) if word]
        assert f"one of {', '.join(values)}" in specs.values()


def test_what_the_launch_files_import_needs_none_of_the_libraries(repository: Path) -> None:
    # launch runs under the Python of the ROS installation, which has few of them, and old ones
    probe = (
        "import sys\n"
        "import cgdet_ros.cameras\n"
        "print(sorted({'cv2', 'numpy', 'pydantic', 'rclpy', 'torch'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", probe], cwd=repository, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_documented_launches_use_arguments_that_there_are(repository: Path) -> None:
    pages = [repository / "README.md", *(repository / "docs").rglob("*.md"), *(repository / "launch").glob("*.py")]
    pages += [*(repository / "config").glob("*.yaml")]
    commands = [match for page in pages for match in _COMMAND.finditer(page.read_text(encoding="utf-8"))]
    assert len(commands) > 5
    for command in commands:
        assert set(re.findall(r"([\w-]+):=", command[2])) <= arguments_of(repository, command[1]), command[0]


# the real thing


@pytest.fixture
def launch(repository: Path, tmp_path: Path) -> Launcher:
    pytest.importorskip("launch_ros", reason="ROS's launch is not on PyPI; a ROS 2 installation has it")
    return Launcher(repository, tmp_path)


RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource
service = LaunchService(argv=sys.argv[2:])
words = [tuple(word.split(":=", 1)) for word in sys.argv[2:]]
include = IncludeLaunchDescription(AnyLaunchDescriptionSource(sys.argv[1]), launch_arguments=words)
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""


class Launcher:
    """Runs a launch file as `ros2 launch` does, in a process of its own, with the package's executables."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.repository = repository
        prefix = folder / "prefix"
        index = prefix / "share/ament_index/resource_index/packages"
        index.mkdir(parents=True)
        (index / "cgdet_ros").touch()
        (prefix / "lib/cgdet_ros").mkdir(parents=True)
        for name in ("detector", "landmarks"):
            (prefix / "lib/cgdet_ros" / name).symlink_to(Path(sys.executable).parent / f"cgdet-{name}")
        before = os.environ.get("AMENT_PREFIX_PATH")
        self.environment = {
            **os.environ,
            "AMENT_PREFIX_PATH": os.pathsep.join([str(prefix), *([before] if before else [])]),
            "ROS_LOG_DIR": str(folder / "log"),
            "RCUTILS_LOGGING_BUFFERED_STREAM": "0",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, file: str, *words: str, until: str = "", limit_s: float = 300) -> str:
        """What it prints, up to a line with `until`, after which it is interrupted as by a terminal, which sends its
        Ctrl-C to the launch and to all that it started; or to its own end."""
        command = [sys.executable, "-c", RUN, str(self.repository / "launch" / file), *words]
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        # the launch and all that it started
        limit = threading.Timer(limit_s, os.killpg, (process.pid, signal.SIGKILL))
        limit.start()
        lines: list[str] = []
        seen = not until
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if not seen and until in line:
                    seen = True
                    os.killpg(process.pid, signal.SIGINT)
        limit.cancel()
        said = "".join(lines)
        assert seen, said
        return said


def test_a_launched_detector_becomes_active_on_its_image(launch: Launcher, tiny_model: Path) -> None:
    words = ("image:=/flir/image_raw", "namespace:=front", "device:=cpu", f"model:={tiny_model}", "threads:=1")
    said = launch.run("detector.launch.py", *words, until="active: detecting on /flir/image_raw")
    assert "[front.thermal_detector]" in said
    assert str(tiny_model) in said
    assert "Traceback" not in said
    assert "process has finished cleanly" in said


def test_a_launched_node_of_landmarks_becomes_active_on_its_image(launch: Launcher, disc_model: Path) -> None:
    words = ("image:=/cabin/image", "device:=cpu", f"model:={disc_model}", "region_xyxy_px:=[0, 0, 50, 50]")
    said = launch.run("landmarks.launch.py", *words, until="active: finding points of faces on /cabin/image")
    assert "Traceback" not in said


def test_two_cameras_run_from_one_file(launch: Launcher, tiny_model: Path, tmp_path: Path) -> None:
    cameras = {
        name: {"image": f"/{name}/flir", "parameters": {"device": "cpu", "model": str(tiny_model)}}
        for name in ("left", "right")
    }
    file = tmp_path / "cameras.yaml"
    file.write_text(yaml.safe_dump({"cameras": cameras}), encoding="utf-8")
    for name in cameras:
        launch.run("cameras.launch.py", f"cameras:={file}", until=f"[{name}.thermal_detector]: active: detecting on")


@pytest.mark.parametrize(
    ("file", "words", "complaint"),
    [
        ("detector.launch.py", ("params_file:=no.yaml",), "no.yaml"),
        ("detector.launch.py", ("rviz:=yes",), "rviz"),
        ("detector.launch.py", ("thresold:=0.3",), "unknown argument 'thresold'"),
        ("cameras.launch.py", ("camera:=no.yaml",), "did you mean 'cameras'"),
        ("cameras.launch.py", ("cameras:=no.yaml",), "no.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(
    launch: Launcher, file: str, words: tuple[str, ...], complaint: str
) -> None:
    said = launch.run(file, *words)
    assert complaint in said
    assert "Traceback" not in said
    assert "process started" not in said


def test_the_arguments_of_a_file_that_includes_one_are_its_own(launch: Launcher, tmp_path: Path) -> None:
    whole = f"""
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.substitutions import LaunchConfiguration

def generate_launch_description():
    file = {str(launch.repository / "launch" / "detector.launch.py")!r}
    given = [("params_file", LaunchConfiguration("robot"))]
    return LaunchDescription([DeclareLaunchArgument("robot"), IncludeLaunchDescription(file, launch_arguments=given)])
"""
    (tmp_path / "whole.launch.py").write_text(whole, encoding="utf-8")
    said = launch.run(str(tmp_path / "whole.launch.py"), "robot:=no.yaml")
    assert "no.yaml" in said
    assert "unknown argument" not in said
