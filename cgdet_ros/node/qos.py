"""Quality of service: what the node asks for, and who cannot hear whom because of it."""

from __future__ import annotations

from typing import Any

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QosCallbackResult, QoSOverridingOptions

OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)


def quality_of_service(depth: int, best_effort: bool = False, latched: bool = False) -> QoSProfile:
    """A new profile at each call: rclpy writes the overrides that the user gave into the one that it is handed."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def overridable() -> QoSOverridingOptions:
    """History, depth, reliability and durability by the standard parameters."""
    return QoSOverridingOptions(policy_kinds=OVERRIDABLE, callback=_check_depth)


def _check_depth(profile: QoSProfile) -> QosCallbackResult:
    """rcl refuses such a depth too, but does not say what it is of."""
    result = QosCallbackResult()
    result.successful = profile.depth > 0 or profile.history == HistoryPolicy.KEEP_ALL
    if not result.successful:
        result.reason = f"depth {profile.depth} holds no message: give 1 or more"
    return result


def unheard_publishers(node: Any, topic: str, wanted_type: str) -> list[str]:
    """A line for each publisher of `topic` that `node`'s subscription to `wanted_type` there cannot hear."""
    own = _of_node(node, node.get_subscriptions_info_by_topic(topic))
    lines = []
    for info in node.get_publishers_info_by_topic(topic):
        if info.topic_type != wanted_type:
            lines.append(f"{_name_of(info)} publishes {info.topic_type} on {topic}, {wanted_type} is wanted")
        elif own is not None and (reason := _incompatible(info, own)):
            lines.append(f"{_name_of(info)} offers an incompatible quality of service on {topic}: {reason}")
    return lines


def publishers_elsewhere(node: Any, topic: str, wanted_type: str) -> list[str]:
    """Other topics on which others publish messages of that type: the right name, perhaps."""
    own = {publisher.topic_name for publisher in node.publishers}
    return [
        name
        for name, types in sorted(node.get_topic_names_and_types())
        if wanted_type in types and name not in (topic, *own) and node.count_publishers(name)
    ]


def deaf_subscribers(node: Any, topic: str) -> list[str]:
    """A line for each subscription to `topic` that cannot hear `node`'s publisher there."""
    own = _of_node(node, node.get_publishers_info_by_topic(topic))
    return [
        f"{_name_of(info)} asks for an incompatible quality of service on {topic}: {reason}"
        for info in node.get_subscriptions_info_by_topic(topic)
        if own is not None and info.topic_type == own.topic_type and (reason := _incompatible(own, info))
    ]


def _of_node(node: Any, infos: list[Any]) -> Any:
    """The first endpoint of `node`. As the graph has it: a local profile writes an endless time in other numbers."""
    return next((info for info in infos if _name_of(info) == node.get_fully_qualified_name()), None)


def _incompatible(offered: Any, wanted: Any) -> str:
    """Why, or nothing."""
    compatibility, reason = qos_check_compatible(offered.qos_profile, wanted.qos_profile)
    if compatibility != QoSCompatibility.ERROR:
        return ""
    return ", ".join(part.strip().removeprefix("ERROR: ") for part in reason.split(";") if part.strip())


def _name_of(info: Any) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"
