"""The node's parameters: `cgdet_core.config.NodeConfig` as ROS parameters, and back.

Names, types, defaults, ranges and descriptions are NodeConfig's; a group of settings becomes a
prefix (`overlay.min_score`). Lists are declared with dynamic typing, as an empty list has no type
in ROS and counts are naturally written as integers; NodeConfig checks them all the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from cgdet_core.config import PostprocessConfig, Settings, ThermalConfig, settings_from_mapping
from cgdet_core.errors import InputError
from cgdet_ros.config import DiagnosticsConfig, NodeConfig, OverlayConfig, parse_class_thresholds

# what may change while the node runs; all else is fixed from configure to cleanup
LIVE = (
    "score_threshold",
    "class_thresholds",
    "nms_iou",
    "max_detections",
    *(f"overlay.{name}" for name in OverlayConfig.model_fields),
    *(f"diagnostics.{name}" for name in DiagnosticsConfig.model_fields if name != "period_s"),
)
_QOS_PREFIX = "qos_overrides."
_POLICIES = ("history", "depth", "reliability", "durability")  # those of qos.overridable
READ_ONLY = ("autostart", "diagnostics.period_s")

_TYPES: dict[type, Parameter.Type] = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}
_LIST_TYPES: dict[type, Parameter.Type] = {float: Parameter.Type.DOUBLE_ARRAY, str: Parameter.Type.STRING_ARRAY}


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter as it is declared."""

    name: str
    type: Parameter.Type
    default: Any
    descriptor: ParameterDescriptor


def parameter_specs() -> Iterator[ParameterSpec]:
    """Every parameter of NodeConfig, groups flattened with dots."""
    yield from _specs(NodeConfig, NodeConfig(), "")


def _specs(kind: type[Settings], defaults: Settings, prefix: str) -> Iterator[ParameterSpec]:
    for field_name, field in kind.model_fields.items():
        name, value, annotation = prefix + field_name, getattr(defaults, field_name), field.annotation
        if isinstance(value, Settings):
            yield from _specs(type(value), value, f"{name}.")
            continue
        descriptor = ParameterDescriptor(description=field.description or "", read_only=name in READ_ONLY)
        if get_origin(annotation) is Literal:
            parameter_type = Parameter.Type.STRING
            descriptor.additional_constraints = f"one of {', '.join(get_args(annotation))}"
        elif get_origin(annotation) is tuple:
            parameter_type = _LIST_TYPES[get_args(annotation)[0]]
            descriptor.dynamic_typing = True
            descriptor.additional_constraints = f"a list of {'numbers' if get_args(annotation)[0] is float else 'text'}"
            value = list(value)
        else:
            assert isinstance(annotation, type)
            parameter_type = _TYPES[annotation]
        descriptor.type = parameter_type.value
        _set_range(descriptor, parameter_type, field.metadata)
        yield ParameterSpec(name, parameter_type, value, descriptor)


def _set_range(descriptor: ParameterDescriptor, parameter_type: Parameter.Type, metadata: Iterable[Any]) -> None:
    low: Any = None
    high: Any = None
    for bound in metadata:
        if isinstance(bound, (Ge, Gt)):
            low = bound.ge if isinstance(bound, Ge) else bound.gt
        elif isinstance(bound, (Le, Lt)):
            high = bound.le if isinstance(bound, Le) else bound.lt
    if low is None or high is None:
        return
    if parameter_type is Parameter.Type.INTEGER:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    else:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]


def declare_parameters(node: Node) -> NodeConfig:
    """Declare all on `node`; the values it was started with. InputError for a value that is none."""
    for spec in parameter_specs():
        try:
            if spec.descriptor.dynamic_typing:
                _declare_list(node, spec)
            else:
                node.declare_parameter(spec.name, spec.default, spec.descriptor)
        except InvalidParameterTypeException:
            given = getattr(node, "_parameter_overrides", {}).get(spec.name)
            found = "" if given is None else f" = {given.value!r}, of type {given.type_.name}"
            point = ", with a decimal point" if spec.type is Parameter.Type.DOUBLE else ""
            raise InputError(f"parameter '{spec.name}'{found}: give it the type {spec.type.name}{point}") from None
        except InvalidParameterValueException as error:
            reason = str(error).partition("Reason: ")[2].removesuffix(f": {spec.name}") or str(error)
            raise InputError(f"parameter '{spec.name}': {reason}") from None
    return updated(NodeConfig(), [node.get_parameter(spec.name) for spec in parameter_specs()])


def _declare_list(node: Node, spec: ParameterSpec) -> None:
    """With its type where nothing is given for it; an empty list in a parameter file arrives without one."""
    declared = node.declare_parameter(spec.name, None, spec.descriptor)
    if declared.type_ is Parameter.Type.NOT_SET:
        node.set_parameters([Parameter(spec.name, spec.type, spec.default)])


def unknown_overrides(node: Node) -> list[str]:
    """Names that the node was started with and that are none of its parameters: misspelt, as a rule."""
    known = {spec.name for spec in parameter_specs()}
    # rclpy keeps what it was given here only, and is silent about what nobody declares
    given = getattr(node, "_parameter_overrides", {})
    return sorted(name for name in given if not (name in known or node.has_parameter(name) or _is_of_ros(name)))


def idle_qos_overrides(node: Node, image_topics: Iterable[str]) -> list[str]:
    """Overrides of quality of service that the node was started with and that, active, it has no use for.

    Those for a policy of `image_topics`, of which it takes one, may be for the other; those for /clock hold with
    use_sim_time only.
    """
    others = tuple(f"{topic}.subscription.{policy}" for topic in image_topics for policy in _POLICIES)
    return sorted(
        name
        for name in getattr(node, "_parameter_overrides", {})
        if (topic := name.removeprefix(_QOS_PREFIX)) != name
        and not (node.has_parameter(name) or topic in others or topic.startswith("/clock."))
    )


def check_name(name: str) -> None:
    """InputError where the node has no parameter `name`, which it would pass over."""
    known = [spec.name for spec in parameter_specs()]
    if name not in known and not _is_of_ros(name):
        remedy = did_you_mean(name) or f": the node has {', '.join(known)}"
        raise InputError(f"'{name}' is no parameter of the node{remedy}")


def did_you_mean(name: str) -> str:
    """A question with the parameter that is written much like `name`; empty where there is none."""
    near = difflib.get_close_matches(name, [spec.name for spec in parameter_specs()], n=1)
    return f": did you mean {near[0]}?" if near else ""


def _is_of_ros(name: str) -> bool:
    return name.startswith(_QOS_PREFIX) or name in ("use_sim_time", "start_type_description_service")


def updated(config: NodeConfig, parameters: Iterable[Parameter]) -> NodeConfig:
    """`config` with the values of `parameters`, all or none; names that are not NodeConfig's are passed over.

    Raises InputError, naming the key, for a value that is none.
    """
    known = {spec.name for spec in parameter_specs()}
    document: dict[str, Any] = config.model_dump()
    for parameter in parameters:
        if parameter.name not in known:
            continue
        group: dict[str, Any] = document
        *parents, last = parameter.name.split(".")
        for parent in parents:
            group = group[parent]
        value = parameter.value
        group[last] = list(value) if parameter.type_.name.endswith("_ARRAY") else value
    return settings_from_mapping(NodeConfig, document, "parameters")


def changed_names(old: NodeConfig, new: NodeConfig) -> set[str]:
    """Dotted names of the parameters whose values differ."""
    before = dict(_leaves(old))
    return {name for name, value in _leaves(new) if before[name] != value}


def _leaves(config: Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Settings):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def postprocess_of(config: NodeConfig, of_model: PostprocessConfig) -> PostprocessConfig:
    """The model's own settings with those laid over them that the parameters give.

    A score_threshold that is given stands for every class; the model's own thresholds of single
    classes would silently go before it.
    """
    update: dict[str, Any] = {}
    if config.score_threshold >= 0:
        update["score_threshold"] = config.score_threshold
        update["class_thresholds"] = {}
    if config.class_thresholds:
        own = update.get("class_thresholds", of_model.class_thresholds)
        update["class_thresholds"] = {**own, **parse_class_thresholds(config.class_thresholds)}
    if config.nms_iou >= 0:
        update["nms_iou"] = config.nms_iou
    if config.max_detections > 0:
        update["max_detections"] = config.max_detections
    return settings_from_mapping(PostprocessConfig, {**of_model.model_dump(), **update}, "parameters")


def thermal_of(config: NodeConfig, of_model: ThermalConfig) -> ThermalConfig:
    """The model's own input settings, with the fixed range where the parameters give one."""
    if not config.raw_range:
        return of_model
    mapping = {**of_model.model_dump(), "raw_range": config.raw_range}
    return settings_from_mapping(ThermalConfig, mapping, "parameters")
