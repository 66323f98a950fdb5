"""What a launch is refused for, in one line each; and which parameters a file gives a node, as rcl reads it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from cgdet_ros.launch_cameras import read_cameras
from cgdet_ros.launch_checks import (
    LaunchError,
    check_arguments,
    device,
    existing_file,
    flag,
    number,
    one_of,
    overriding,
    parameters_for,
    topic,
    whole_number,
)

NODE = "/front/thermal_detector"
KNOWN = ("device", "model", "threads", "overlay.scale")


def written(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def section(**values: Any) -> dict[str, Any]:
    return {"ros__parameters": values}


@pytest.mark.parametrize(("text", "meant"), [("true", True), ("True", True), ("0", False), ("FALSE", False)])
def test_a_flag_is_taken_in_any_case(text: str, meant: bool) -> None:
    assert flag("rviz", text) is meant


@pytest.mark.parametrize("text", ["yes", "", "ture"])
def test_a_flag_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(LaunchError, match=f"rviz:={text}: give true or false"):
        flag("rviz", text)


@pytest.mark.parametrize("text", ["-1", "two", "1.5", ""])
def test_threads_are_a_whole_number(text: str) -> None:
    assert whole_number("threads", "4") == 4
    with pytest.raises(LaunchError, match="whole number"):
        whole_number("threads", text)


@pytest.mark.parametrize("text", ["image", "/flir/image_raw", "~/image", "a1/b_2/c"])
def test_a_topic_is_taken_as_it_is(text: str) -> None:
    assert topic("image", text) == text


@pytest.mark.parametrize(
    "text", ["", "/", "flir/", "//flir", "/flir image", "/1st", "flir/~", "/flir-left/image", "/kälte"]
)
def test_a_topic_that_ros_would_not_take_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(LaunchError, match=f"^image:={text}: give a topic: .*, such as /flir/image_raw$"):
        topic("image", text)


def test_an_argument_that_is_the_node_s_parameter_is_told_where_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["ros2", "launch", "cgdet_ros", "detector.launch.py"])
    with pytest.raises(
        LaunchError, match=r"'score_threshold', it is a parameter of the node: .*give params_file:=FILE$"
    ):
        check_arguments("detector.launch.py", ["score_threshold:=0.4"], ("image", "params_file"), ("score_threshold",))
    check_arguments("detector.launch.py", ["device:=cpu"], ("image", "device"), ("device",))


@pytest.mark.parametrize("text", ["-1", "fast", "nan", "inf"])
def test_a_rate_is_a_number_from_0(text: str) -> None:
    assert number("rate", "0") == 0
    assert number("rate", "2.5") == 2.5
    with pytest.raises(LaunchError, match="rate:="):
        number("rate", text)


@pytest.mark.parametrize("text", ["auto", "cpu", "cuda", "cuda:3"])
def test_devices_are_taken(text: str) -> None:
    assert device(text) == text


@pytest.mark.parametrize("text", ["gpu", "cuda:", "CPU", "cuda:a"])
def test_what_is_no_device_is_refused(text: str) -> None:
    with pytest.raises(LaunchError, match="cuda:N"):
        device(text)


def test_a_choice_names_the_others() -> None:
    assert one_of("player", "cgdet", ("cgdet", "ros2bag")) == "cgdet"
    with pytest.raises(LaunchError, match="player:=rosbag: give cgdet or ros2bag"):
        one_of("player", "rosbag", ("cgdet", "ros2bag"))


def test_a_file_that_is_not_there_is_named_with_the_place_looked_at(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=rf"model:=m.safetensors: there is no such file \({tmp_path}/m.safetensors\)"):
        existing_file("model", "m.safetensors", tmp_path)
    assert existing_file("model", "m.yaml", written(tmp_path / "m.yaml", "").parent) == tmp_path / "m.yaml"


def test_a_misspelt_argument_is_refused_where_the_file_itself_was_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["ros2", "launch", "cgdet_ros", "detector.launch.py", "imgae:=/x"])
    check_arguments("detector.launch.py", ["image:=/x"], ("image", "model"))
    with pytest.raises(LaunchError, match="no argument 'imgae': did you mean image"):
        check_arguments("detector.launch.py", ["imgae:=/x"], ("image", "model"))
    with pytest.raises(LaunchError, match="no argument 'qq': there are image, model"):
        check_arguments("detector.launch.py", ["qq:=1"], ("image", "model"))


def test_arguments_of_a_file_that_includes_this_one_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["ros2", "launch", "my_car", "car.launch.py", "vehicle:=7"])
    check_arguments("detector.launch.py", ["vehicle:=7"], ("image", "model"))


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
            with pytest.raises(LaunchError, match="name it so"):
                parameters_for(path, node)


def test_a_file_for_another_node_is_refused_with_both_names(tmp_path: Path) -> None:
    path = written(tmp_path / "p.yaml", {"thermal_detector": section(device="cpu")})
    with pytest.raises(LaunchError, match="it is for /thermal_detector, and the node is /front/thermal_detector"):
        parameters_for(path, NODE)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a: [", "no YAML"),
        ("", "no parameter file"),
        ("device: cpu", "no parameter file"),
        ("- 1", "no parameter file"),
        ("ros__parameters: {device: cpu}", "no parameter file"),
    ],
)
def test_what_is_no_parameter_file_is_refused_in_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(LaunchError, match=complaint) as caught:
        parameters_for(written(tmp_path / "p.yaml", content), NODE)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "p.yaml") in str(caught.value)


def test_namespaces_may_be_mappings_and_groups_become_dots(tmp_path: Path) -> None:
    content = {"front": {"thermal_detector": section(overlay={"scale": 2.0}, device="cpu")}}
    assert parameters_for(written(tmp_path / "p.yaml", content), NODE) == {"overlay.scale": 2.0, "device": "cpu"}


def test_arguments_go_before_the_file_in_whatever_order_its_sections_stand(tmp_path: Path) -> None:
    rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed: make setup")
    for names in itertools.permutations(("/**", NODE, "/*/thermal_detector")):
        file = written(tmp_path / "p.yaml", {name: section(device=f"of the file, {name}", kept=1) for name in names})
        over = written(tmp_path / "over.yaml", overriding(file, NODE, {"device": "given"}))
        context = rclpy.Context()
        arguments = ["--ros-args", "--params-file", str(file), "--params-file", str(over), "-r", "__ns:=/front"]
        context.init(args=arguments)
        node = rclpy.create_node("thermal_detector", context=context)
        assert node._parameter_overrides["device"].value == "given", names
        assert node._parameter_overrides["kept"].value == 1
        node.destroy_node()
        context.try_shutdown()


def cameras(tmp_path: Path, **entries: Any) -> Path:
    return written(tmp_path / "cameras.yaml", {"cameras": entries})


def test_cameras_have_their_own_parameters_and_share_the_cores(tmp_path: Path) -> None:
    path = cameras(
        tmp_path,
        front={"image": "/front/image_raw", "parameters": {"device": "cuda:0"}},
        rear={"image": "/rear/image_raw", "parameters": {"device": "cuda:1", "threads": 7}},
    )
    front, rear = read_cameras(path, KNOWN)
    assert (front.namespace, front.image, front.params_file) == ("front", "/front/image_raw", None)
    assert front.parameters == {"device": "cuda:0", "threads": max(1, len(os.sched_getaffinity(0)) // 2)}
    assert rear.parameters == {"device": "cuda:1", "threads": 7}


def test_threads_of_a_cameras_own_parameter_file_hold(tmp_path: Path) -> None:
    written(tmp_path / "front.yaml", {NODE: section(threads=3)})
    written(tmp_path / "rear.yaml", {"/**": section(threads=0)})
    path = cameras(
        tmp_path,
        front={"image": "/f", "params_file": "front.yaml"},
        rear={"image": "/r", "params_file": "rear.yaml"},
    )
    front, rear = read_cameras(path, KNOWN)
    assert front.params_file == tmp_path / "front.yaml"
    assert "threads" not in front.parameters
    assert rear.parameters["threads"] >= 1  # 0 leaves it to the backend, which takes all


def test_a_cameras_model_is_looked_for_beside_the_file(tmp_path: Path) -> None:
    model = written(tmp_path / "m.safetensors", "")
    (camera,) = read_cameras(cameras(tmp_path, front={"image": "/f", "parameters": {"model": model.name}}), KNOWN)
    assert camera.parameters["model"] == str(model)


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({}, "it needs 'cameras:'"),
        ({"front": {}}, "camera front: it needs 'image:'"),
        ({"front": {"image": "/f", "devcie": "cpu"}}, "unknown key 'devcie'"),
        ({"front": {"image": "/f", "parameters": {"overlay.scael": 2.0}}}, "did you mean overlay.scale"),
        ({"front": {"image": "/f", "parameters": ["device"]}}, "name: value"),
        ({"front": {"image": "/f", "parameters": {"model": "none.safetensors"}}}, "camera front: model:=none"),
        ({"front": {"image": "/f", "params_file": "none.yaml"}}, "camera front: params_file:=none.yaml"),
        ({"front camera": {"image": "/f"}}, "its name becomes a namespace"),
    ],
)
def test_a_file_of_cameras_is_refused_in_one_line(tmp_path: Path, entries: Any, complaint: str) -> None:
    with pytest.raises(LaunchError, match=complaint) as caught:
        read_cameras(cameras(tmp_path, **entries), KNOWN)
    assert str(tmp_path / "cameras.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_shipped_file_of_cameras_is_one(repository: Path) -> None:
    shipped = yaml.safe_load((repository / "config" / "detector.yaml").read_text(encoding="utf-8"))
    found = read_cameras(repository / "config" / "cameras.yaml", tuple(shipped["/**"]["ros__parameters"]))
    assert [camera.namespace for camera in found] == ["front", "rear"]
