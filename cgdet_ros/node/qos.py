"""Quality of service, and the graph: what the node asks for, who cannot hear whom, and what reaches nobody."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
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

from cgdet_core.errors import InputError
from cgdet_ros.cameras import parameters_for


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
    kinds = QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY
    return QoSOverridingOptions(policy_kinds=kinds, callback=_check_depth)


def _check_depth(profile: QoSProfile) -> QosCallbackResult:
    """rcl refuses such a depth too, but does not say what it is of."""
    result = QosCallbackResult()
    result.successful = profile.depth > 0 or profile.history == HistoryPolicy.KEEP_ALL
    if not result.successful:
        result.reason = f"depth {profile.depth} holds no message: give 1 or more"
    return result


def mismatches(node: Any, topic: str) -> list[str]:
    """A line for each other end of `topic` that type or quality of service keeps apart from `node`'s own."""
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


def published_by_others(node: Any, types: Collection[str]) -> list[tuple[str, str]]:
    """Topics on which other nodes publish one of the types, with that type, in the order of `types`, then of names."""
    own_name = node.get_fully_qualified_name()
    found: set[tuple[str, str]] = set()
    for topic, published in node.get_topic_names_and_types():
        if not set(published).isdisjoint(types):
            infos = node.get_publishers_info_by_topic(topic)
            found.update((topic, info.topic_type) for info in infos if _name_of(info) != own_name)
    return [(topic, kind) for kind in types for topic, its_type in sorted(found) if its_type == kind]


def has_namesake(node: Any) -> bool:
    """Whether another node of the graph has the full name of `node`: parameters and transitions reach either."""
    own_name = node.get_fully_qualified_name()
    names = [f"{namespace.rstrip('/')}/{name}" for name, namespace in node.get_node_names_and_namespaces()]
    return names.count(own_name) > 1


def idle_arguments(node: Any, words: Sequence[str], topics: Collection[str]) -> Iterator[str]:
    """A line for each remapping and parameter file of a command line that touches nothing of `node`, which ROS would
    pass over; topics: its own that it has at times only."""
    names = {*topics, *(each.topic_name for each in (*node.publishers, *node.subscriptions))}
    names |= {node.resolve_service_name(each.srv_name) for each in node.services}
    for flag, word in itertools.pairwise(words):
        if flag in ("-r", "--remap"):
            left, _, right = word.partition(":=")
            only_for, _, name = left.rpartition(":")
            mine = only_for in ("", node.get_name()) and not name.startswith("__")
            if mine and node.resolve_topic_name(right, only_expand=True) not in names:
                yield f"the remapping {word} is of no topic or service of this node"
        elif flag == "--params-file":
            try:
                parameters_for(Path(word), node.get_fully_qualified_name())
            except InputError as error:
                yield str(error)


def _name_of(info: Any) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"
