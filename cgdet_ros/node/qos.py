"""Quality of service: what the node asks for, and who cannot hear whom because of it."""

from __future__ import annotations

import itertools
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


def mismatches(node: Any, topic: str) -> list[str]:
    """A line for each publisher or subscriber of `topic` that a type or a quality of service keeps apart from `node`'s
    own end there."""
    own_name, lines = node.get_fully_qualified_name(), []
    subscribers = node.get_subscriptions_info_by_topic(topic)
    for publisher, subscriber in itertools.product(node.get_publishers_info_by_topic(topic), subscribers):
        names = _name_of(publisher), _name_of(subscriber)
        if names.count(own_name) != 1:
            continue
        other, own = (publisher, subscriber) if names[1] == own_name else (subscriber, publisher)
        if other.topic_type != own.topic_type:
            lines.append(f"{_name_of(other)} has {other.topic_type} on {topic}, where {own.topic_type} is wanted")
            continue
        compatibility, reason = qos_check_compatible(publisher.qos_profile, subscriber.qos_profile)
        if compatibility == QoSCompatibility.ERROR:
            why = reason.strip("; ").replace("ERROR: ", "").replace(";", ", ")
            lines.append(f"{_name_of(other)} has an incompatible quality of service on {topic}: {why}")
    return lines


def publishers_elsewhere(node: Any, topic: str, wanted_type: str) -> list[str]:
    """Other topics on which others publish messages of that type: the right name, perhaps."""
    own = {publisher.topic_name for publisher in node.publishers}
    return [
        name
        for name, types in sorted(node.get_topic_names_and_types())
        if wanted_type in types and name not in (topic, *own) and node.count_publishers(name)
    ]


def _name_of(info: Any) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"
