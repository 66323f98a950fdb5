"""Which parameters a file gives a node, as rcl reads it, and the file of several cameras."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from cgdet_core.errors import InputError
from cgdet_ros.cameras import check_words, parameters_for, read_cameras

NODE = "/front/thermal_detector"


def written(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def section(**values: Any) -> dict[str, Any]:
    return {"ros__parameters": values}


SECTIONS = (
    "/**",
    "/*",
    "*",
    "thermal_detector",
    "/thermal_detector",
    "/front/thermal_detector",
    "front/thermal_detector",
    "/*/thermal_detector",
    "/**/thermal_detector",
    "/front/*",
    "/front/**",
    "/rear/thermal_detector",
    "/front/other",
)


def _given_by_rcl(path: Path, namespace: str) -> dict[str, Any]:
    """What a node of that name is really started with."""
    rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed: make setup")
    context = rclpy.Context()
    context.init(args=["--ros-args", "--params-file", str(path), "-r", f"__ns:={namespace}"])
    node = rclpy.create_node("thermal_detector", context=context)
    try:
        return {name: parameter.value for name, parameter in node._parameter_overrides.items()}
    finally:
        node.destroy_node()
        context.try_shutdown()


@pytest.mark.parametrize("namespace", ["/", "/front", "/car/front"])
def test_sections_are_for_the_nodes_that_rcl_takes_them_for(tmp_path: Path, namespace: str) -> None:
    node = f"{namespace.rstrip('/')}/thermal_detector"
    for pattern in SECTIONS:
        path = written(tmp_path / "p.yaml", {pattern: section(device="cpu")})
        if _given_by_rcl(path, namespace):
            assert parameters_for(path, node) == {"device": "cpu"}, pattern
        else:
            with pytest.raises(InputError, match="name it so"):
                parameters_for(path, node)


@pytest.mark.parametrize(
    "content",
    ["a: [", "", "device: 1", "- 1", "ros__parameters: {device: cpu}", "front: {node: {ros__parameters: {}}}"],
)
def test_what_is_no_parameter_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError) as caught:
        parameters_for(written(tmp_path / "p.yaml", content), NODE)
    assert str(tmp_path / "p.yaml") in str(caught.value)


def test_groups_become_dots(tmp_path: Path) -> None:
    content = {NODE: section(overlay={"scale": 2.0}, device="cpu")}
    assert parameters_for(written(tmp_path / "p.yaml", content), NODE) == {"overlay.scale": 2.0, "device": "cpu"}


def cameras(tmp_path: Path, **entries: Any) -> Path:
    return written(tmp_path / "cameras.yaml", {"cameras": entries})


def test_cameras_have_their_own_parameters_and_share_the_cores(tmp_path: Path) -> None:
    written(tmp_path / "threads.yaml", {"/**": section(threads=3)})
    written(tmp_path / "none.yaml", {"/**": section(threads=0)})  # which leaves it to the backend, which takes all
    path = cameras(
        tmp_path,
        front={"image": "/front/image_raw", "parameters": {"device": "cuda:0", "model": "m.onnx"}},
        rear={"image": "/r", "parameters": {"threads": 7}},
        left={"image": "/l", "params_file": "threads.yaml"},
        right={"image": "/i", "params_file": "none.yaml"},
    )
    front, rear, left, right = read_cameras(path)
    share = max(1, len(os.sched_getaffinity(0)) // 4)
    parameters = {"device": "cuda:0", "model": str(tmp_path / "m.onnx"), "threads": share}
    topics = {"image": "/front/image_raw"}
    assert front == {"namespace": "front", "topics": topics, "params_file": None, "parameters": parameters}
    assert rear["parameters"] == {"threads": 7}
    assert (left["params_file"], left["parameters"]) == (tmp_path / "threads.yaml", {})
    assert right["parameters"] == {"threads": share}


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({}, "cameras:"),
        ({"front": {}}, "camera front"),
        ({"front": {"image": "/f", "devcie": "cpu"}}, "camera front"),
        ({"front": {"image": "/f", "params_file": "none.yaml"}}, "none.yaml"),
    ],
)
def test_a_file_of_cameras_is_refused_by_name(tmp_path: Path, entries: Any, named: str) -> None:
    with pytest.raises(InputError) as caught:
        read_cameras(cameras(tmp_path, **entries))
    assert str(tmp_path) in str(caught.value)
    assert named in str(caught.value)


def test_the_shipped_file_of_cameras_is_one(repository: Path) -> None:
    found = read_cameras(repository / "config" / "cameras.yaml")
    assert [camera["namespace"] for camera in found] == ["front", "rear"]


def test_a_word_of_the_command_that_names_no_argument_is_refused() -> None:
    names = ("image", "params_file")
    check_words(["image:=/flir", "params_file:=a:=b", "launch-prefix:=gdb"], names, "x.launch.py")
    for word, meant in (("imgae:=/flir", "did you mean 'image'"), ("thresold:=0.3", "params_file")):
        with pytest.raises(InputError, match=meant):
            check_words(["image:=/flir", word], names, "x.launch.py")
