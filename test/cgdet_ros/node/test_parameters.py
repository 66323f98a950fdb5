"""parameters.py and config/detector.yaml: one list of parameters, the same everywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed: make setup")

from rclpy.node import Node
from rclpy.parameter import Parameter

from cgdet_core.config import PostprocessConfig, ThermalConfig
from cgdet_core.errors import InputError
from cgdet_ros.config import DetectorConfig, LandmarksConfig, NodeConfig, parse_class_thresholds
from cgdet_ros.node import parameters
from cgdet_ros.node.detector_node import postprocess_of, thermal_of

_names = itertools.count()


@pytest.fixture
def make_node(ros: None) -> Iterator[Callable[..., Node]]:
    """Nodes without parameters of their own, started with arguments as on a command line."""
    nodes = []

    def make(*words: str) -> Node:
        arguments = ["--ros-args", *words] if words else []
        nodes.append(Node(f"parameters_{next(_names)}", cli_args=arguments))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


FILES: dict[str, type[NodeConfig]] = {"detector.yaml": DetectorConfig, "landmarks.yaml": LandmarksConfig}


@pytest.mark.parametrize("file", FILES)
def test_the_parameter_file_states_every_parameter_with_its_default_and_none_besides(
    repository: Path, file: str
) -> None:
    document = yaml.safe_load((repository / "config" / file).read_text(encoding="utf-8"))
    values = flat(document["/**"]["ros__parameters"])
    assert values == {default.name: default.value for default, _ in parameters.parameter_specs(FILES[file])}


@pytest.mark.parametrize("file", FILES)
def test_the_parameter_file_says_which_parameters_are_live(repository: Path, file: str) -> None:
    lines, kind = (repository / "config" / file).read_text(encoding="utf-8").splitlines(), FILES[file]
    live = {
        line.split(":")[0].strip() for before, line in itertools.pairwise(lines) if before.strip().startswith("# Live.")
    }
    names = [default.name for default, _ in parameters.parameter_specs(kind)]
    assert live == {name.rpartition(".")[2] for name in names if parameters.is_live(kind, name)}
    assert {"gain_jump", "min_score"} < live


@pytest.mark.parametrize("file", FILES)
def test_a_node_started_with_the_parameter_file_has_the_defaults(repository: Path, make_node: Any, file: str) -> None:
    node = make_node("--params-file", str(repository / "config" / file))
    assert parameters.declare_parameters(node, FILES[file]) == FILES[file]()


def test_every_parameter_is_described_and_the_ranges_are_those_of_the_settings(make_node: Any) -> None:
    node = make_node()
    parameters.declare_parameters(node, DetectorConfig)
    for default, _ in parameters.parameter_specs(DetectorConfig):
        descriptor = node.describe_parameter(default.name)
        assert descriptor.description, default.name
        assert node.get_parameter(default.name).type_ is default.type_, default.name
    (score,) = node.describe_parameter("score_threshold").floating_point_range
    assert (score.from_value, score.to_value) == (-1.0, 1.0)
    (rows,) = node.describe_parameter("telemetry_rows").integer_range
    assert (rows.from_value, rows.to_value) == (-1024, 1024)
    assert (
        node.describe_parameter("backend").additional_constraints
        == "one of auto, torch, openvino, onnxruntime, tensorrt"
    )
    assert node.describe_parameter("precision").additional_constraints == "one of auto, fp32, fp16, bf16, int8"
    assert node.describe_parameter("autostart").read_only


def test_values_of_a_command_line_arrive(make_node: Any) -> None:
    words = ["-p", "score_threshold:=0.5", "-p", "raw_range:=[21000, 25000]", "-p", "overlay.scale:=2.0"]
    node = make_node(
        *words,
        "-p",
        "class_thresholds:=['person:0.3']",
        "-p",
        "class_id:=index",
        "-p",
        "input_height_width_px:=[640, 800]",
    )
    config = parameters.declare_parameters(node, DetectorConfig)
    assert config.score_threshold == 0.5
    assert config.raw_range == (21000.0, 25000.0)
    assert config.input_height_width_px == (640, 800)
    assert config.class_thresholds == ("person:0.3",)
    assert config.overlay.scale == 2.0
    assert config.class_id == "index"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("score_threshold:=2.0", "score_threshold"),
        ("score_threshold:=1", "DOUBLE"),
        ("score_threshold:=-0.5", "score_threshold"),
        ("raw_range:=[5.0, 1.0]", "raw_range"),
        ("raw_range:=[1.0, 2.0, 3.0]", "raw_range"),
        ("raw_range:=7", "raw_range"),
        ("input_height_width_px:=[640]", "input_height_width_px"),
        ("input_height_width_px:=[640.5, 800.0]", "input_height_width_px"),
        ("class_thresholds:=['person=0.3']", "class_thresholds"),
        ("class_thresholds:=[1, 2]", "class_thresholds"),
        ("precision:=fp8", "precision"),
        ("telemetry_rows:=5000", "telemetry_rows"),
        ("autostart:=1", "autostart"),
    ],
)
def test_a_value_that_is_none_is_refused_by_name_in_one_line(word: str, reason: str, make_node: Any) -> None:
    with pytest.raises(InputError) as refusal:
        parameters.declare_parameters(make_node("-p", word), DetectorConfig)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("score_treshold:=0.5", "score_threshold"),
        ("overlay.color_map:=ironbow", "overlay.colour_map"),
        ("overlay.colour_map:=ironbov", "ironbow"),
        ("backend:=opnvino", "openvino"),
        ("class_id:=nmae", "name"),
    ],
)
def test_a_misspelt_parameter_or_value_is_refused_with_what_was_meant(word: str, meant: str, make_node: Any) -> None:
    with pytest.raises(InputError, match=f"did you mean '{meant}'"):
        parameters.declare_parameters(make_node("-p", "use_sim_time:=false", "-p", word), DetectorConfig)


def test_a_quality_of_service_of_no_topic_of_the_node_is_refused(make_node: Any) -> None:
    node = make_node("-p", "qos_overrides./imge.subscription.depth:=5")
    parameters.declare_parameters(node, DetectorConfig)
    with pytest.raises(InputError, match="did you mean '/image'"):
        parameters.check_overridden_topics(node, ["/image", "/detections"])
    parameters.check_overridden_topics(node, ["/imge"])


def test_an_update_is_whole_and_names_what_changed() -> None:
    before = DetectorConfig()
    changes = [Parameter("score_threshold", value=0.5), Parameter("overlay.min_score", value=0.6)]
    after = parameters.updated(before, [*changes, Parameter("qos_overrides./x", value=1)])
    assert (after.score_threshold, after.overlay.min_score) == (0.5, 0.6)
    assert parameters.changed_names(before, after) == {"score_threshold", "overlay.min_score"}
    assert before == DetectorConfig()


def test_the_models_own_settings_are_left_where_nothing_is_given() -> None:
    of_model = PostprocessConfig(score_threshold=0.3, class_thresholds={"car": 0.6}, nms_iou=0.5, max_detections=77)
    assert postprocess_of(DetectorConfig(), of_model) == of_model
    thermal = ThermalConfig(low_percentile=2.0)
    assert thermal_of(DetectorConfig(), thermal) == thermal
    given = DetectorConfig(raw_range=(10.0, 20.0), nms_iou=0.0, max_detections=5)
    assert thermal_of(given, thermal) == ThermalConfig(low_percentile=2.0, raw_range=(10.0, 20.0))
    expected = of_model.model_copy(update={"nms_iou": 0.0, "max_detections": 5})
    assert postprocess_of(given, of_model) == expected


def test_class_thresholds_are_read_from_words() -> None:
    assert parse_class_thresholds(["person:0.3", "", "a:b:1"]) == {"person": 0.3, "a:b": 1.0}
    for word in ("person", "person:", ":0.3", "person:two", "person:1.1", "person:-0.1", "person:nan"):
        with pytest.raises(ValueError, match="must be a class and a threshold"):
            parse_class_thresholds([word])
    with pytest.raises(ValueError, match="two thresholds"):
        parse_class_thresholds(["person:0.3", "person:0.4"])


def test_a_region_in_shares_of_the_image_is_refused() -> None:
    assert LandmarksConfig(region_xyxy_px=(10, 10, 60, 60)).region_xyxy_px == (10, 10, 60, 60)
    for region in ((0.1, 0.1, 0.5, 0.5), (10, 10, 60, 10.5), (60, 10, 10, 60), (10, 10, 60)):
        with pytest.raises(ValueError, match="in pixels"):
            LandmarksConfig(region_xyxy_px=region)
