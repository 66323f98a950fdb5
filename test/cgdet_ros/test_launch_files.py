"""The launch files: what they name exists, and, where ROS's launch is installed, they describe the right processes."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from cgdet_ros.parameters import parameter_specs

FILES = ("detector.launch.py", "replay.launch.py")


def executables(repository: Path) -> set[str]:
    """Those that the package installs."""
    return set(re.findall(r'"([\w-]+) = cgdet\w+[.\w]*:main"', (repository / "setup.py").read_text(encoding="utf-8")))


def keywords(repository: Path, file: str, call: str) -> list[dict[str, Any]]:
    """The constant keyword arguments of every call of `call` in a launch file."""
    tree = ast.parse((repository / "launch" / file).read_text(encoding="utf-8"))
    return [
        {item.arg: item.value.value for item in node.keywords if item.arg and isinstance(item.value, ast.Constant)}
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == call
    ]


@pytest.mark.parametrize("file", FILES)
def test_every_executable_that_is_launched_is_installed(file: str, repository: Path) -> None:
    own = [node for node in keywords(repository, file, "Node") if node["package"] == "cgdet_ros"]
    assert own
    assert {node["executable"] for node in own} <= executables(repository)


def test_every_file_that_is_named_lies_in_the_share_folder(repository: Path) -> None:
    source = (repository / "launch" / "detector.launch.py").read_text(encoding="utf-8")
    named = re.findall(r'SHARE((?: / "[^"]+")+)', source)
    assert len(named) == 3
    for path in named:
        assert (repository / Path(*re.findall(r'"([^"]+)"', path))).is_file(), path


def test_the_view_shows_the_overlay(repository: Path) -> None:
    view = yaml.safe_load((repository / "rviz" / "detector.rviz").read_text(encoding="utf-8"))
    shown = [item for item in view["Visualization Manager"]["Displays"] if item["Enabled"]]
    assert [(item["Class"], item["Topic"]["Value"]) for item in shown] == [("rviz_default_plugins/Image", "overlay")]


def load(repository: Path, file: str) -> Any:
    pytest.importorskip("launch_ros", reason="ROS's launch is not on PyPI; a ROS installation has it")
    spec = importlib.util.spec_from_file_location("launch_file", repository / "launch" / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", FILES)
def test_every_launch_argument_is_described(file: str, repository: Path) -> None:
    description = load(repository, file).generate_launch_description()
    arguments = description.get_launch_arguments()
    assert arguments
    assert all(argument.description for argument in arguments)


def test_launch_arguments_become_parameters_of_the_node(repository: Path) -> None:
    module = load(repository, "detector.launch.py")
    from launch import LaunchContext

    context = LaunchContext()
    context.launch_configurations.update({name: default for name, (default, _) in module.ARGUMENTS.items()})
    context.launch_configurations.update({"device": "cpu", "autostart": "false", "image": "/flir/image_raw"})
    (node,) = module.detector(context)
    assert node.node_package == "cgdet_ros"
    assert node.node_executable == "detector"
    written = [node for node in ast.walk(ast.parse(Path(module.__file__).read_text())) if isinstance(node, ast.Tuple)]
    words = {item.value for entry in written for item in entry.elts if isinstance(item, ast.Constant)}
    declared = {spec.name for spec in parameter_specs()} | {"use_sim_time"}
    assert {"model", "device", "autostart", "use_sim_time"} <= words & declared
