"""A node's parameters: a `cgdet_ros.config.NodeConfig` as ROS parameters, and back.

Names, types, defaults, ranges and descriptions are the configuration's; a group of settings becomes a
prefix (`overlay.min_score`). Lists are declared with dynamic typing, as an empty list has no type
in ROS and counts are naturally written as integers; the configuration checks them all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from cgdet_core.config import settings_from_mapping
from cgdet_core.errors import InputError, check_known
from cgdet_ros.cameras import flat
from cgdet_ros.config import NodeConfig

Config = TypeVar("Config", bound=NodeConfig)
READ_ONLY = ("autostart", "diagnostics.period_s")
OF_ROS = ("qos_overrides.", "use_sim_time", "start_type_description_service")

# by the words of a JSON schema for the items
_LIST_TYPES = {
    "integer": Parameter.Type.INTEGER_ARRAY,
    "number": Parameter.Type.DOUBLE_ARRAY,
    "string": Parameter.Type.STRING_ARRAY,
}


def parameter_specs(kind: type[NodeConfig]) -> list[tuple[Parameter, ParameterDescriptor]]:
    """Every parameter of a node with such settings, at its default; groups flattened with dots."""
    schema = kind.model_json_schema()
    defaults = dict(flat(kind().model_dump()))
    return [_spec(name, defaults[name], of_field) for name, of_field in _fields(schema, schema["$defs"])]


def _fields(schema: Mapping[str, Any], groups: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and JSON schema of each setting."""
    for name, of_field in schema["properties"].items():
        if "$ref" in of_field:
            yield from _fields(groups[of_field["$ref"].rpartition("/")[2]], groups, f"{prefix}{name}.")
        else:
            yield prefix + name, of_field


def _spec(name: str, default: Any, of_field: Mapping[str, Any]) -> tuple[Parameter, ParameterDescriptor]:
    descriptor = ParameterDescriptor(description=of_field.get("description", ""), read_only=name in READ_ONLY)
    if of_field["type"] == "array":
        item = of_field["items"]["type"]
        kind, default = _LIST_TYPES[item], list(default)
        descriptor.dynamic_typing = True
        descriptor.additional_constraints = f"a list of {'text' if item == 'string' else 'numbers'}"
    else:
        kind = Parameter.Type.from_parameter_value(default)
        descriptor.additional_constraints = f"one of {', '.join(of_field['enum'])}" if "enum" in of_field else ""
    descriptor.type = kind.value
    if "minimum" in of_field and "maximum" in of_field:
        low, high = of_field["minimum"], of_field["maximum"]
        if kind is Parameter.Type.INTEGER:
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
            ]
    return Parameter(name, kind, default), descriptor


def is_live(kind: type[NodeConfig], name: str) -> bool:
    """Whether the parameter may change while a node with such settings runs."""
    return name.partition(".")[0] in kind.LIVE and name not in READ_ONLY


def declare_parameters(node: Node, kind: type[Config]) -> Config:
    """Declare all on `node`; the values it was started with. InputError for a name or a value that is none."""
    # what it was started with has no public way: to let rclpy declare all of it by itself
    # (`automatically_declare_parameters_from_overrides`) fails at the empty lists of a parameter file
    specs = parameter_specs(kind)
    own = (name for name in node._parameter_overrides if not name.startswith(OF_ROS))
    check_known("the node", "parameter", own, [default.name for default, _ in specs])  # ROS would pass others over
    for default, descriptor in specs:
        # a list has no type where it is empty, in a parameter file too
        value = None if descriptor.dynamic_typing else default.value
        try:
            declared = node.declare_parameter(default.name, value, descriptor)
        except ParameterException as error:
            raise InputError(f"parameter '{default.name}': {error}") from None
        if declared.type_ is Parameter.Type.NOT_SET:
            node.set_parameters([default])
    return updated(kind(), [node.get_parameter(default.name) for default, _ in specs])


def check_overridden_topics(node: Node, topics: Collection[str]) -> None:
    """InputError for a quality of service that `node` was started with, of none of its topics."""
    names = (name.split(".") for name in node._parameter_overrides if name.startswith("qos_overrides."))
    check_known("qos_overrides", "topic", (words[1] for words in names), topics)


def updated(config: Config, parameters: Iterable[Parameter]) -> Config:
    """`config` with the values of `parameters`, all or none; names that are none of its are passed over.

    Raises InputError, naming the key, for a value that is none.
    """
    document: dict[str, Any] = config.model_dump()
    known = dict(flat(document))
    for parameter in parameters:
        if parameter.name in known:
            group, _, last = parameter.name.rpartition(".")
            value = list(parameter.value) if parameter.type_.name.endswith("_ARRAY") else parameter.value
            (document[group] if group else document)[last] = value
    return settings_from_mapping(type(config), document, "parameters")


def changed_names(old: NodeConfig, new: NodeConfig) -> set[str]:
    """Dotted names of the parameters whose values differ."""
    before = dict(flat(old.model_dump()))
    return {name for name, value in flat(new.model_dump()) if before[name] != value}
