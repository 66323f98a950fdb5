"""Writes docs/interface.md: what the node offers and takes, asked of the node itself.

    .venv/bin/python tools/write_interface.py

Topics, types, quality of service, services and parameters are those of a node that this starts; only the words beside
them stand here. A topic or service without words, and words without one, end it.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "interface.md"

TOPICS_IN = {
    "image": "with `image_transport` raw: mono8, 8UC1, mono16, 16UC1, rgb8 or bgr8, of any size, step and byte order",
    "image/compressed": "with `image_transport` compressed: JPEG, or PNG of 8 or 16 bits",
    "/clock": "with `use_sim_time` only",
}
TOPICS_OUT = {
    "detections": "one array for every answered image, with its header, unchanged; empty where nothing is found; best "
    "first; boxes in pixels of that image",
    "label_info": "class names by number, and the lowest score that is published; on activate and when that changes",
    "vision_info": "the model; on activate and when label_info comes again",
    "overlay": "rgb8, drawn only while somebody listens; header of the image",
    "overlay/compressed": "the same as JPEG, drawn only while somebody listens",
    "/diagnostics": "one status, named as the node, once in `diagnostics.period_s`",
    "/parameter_events": "of every ROS node",
    "/rosout": "of every ROS node",
    "~/transition_event": "of every lifecycle node",
}
SERVICES = {
    "~/enable": "false: stop detecting and subscribing without a transition; true: go on",
    "~/change_state": "lifecycle: configure, activate, deactivate, cleanup, shutdown",
    "~/get_state": "lifecycle",
    "~/get_available_states": "lifecycle",
    "~/get_available_transitions": "lifecycle",
    "~/get_transition_graph": "lifecycle",
    "~/describe_parameters": "parameters",
    "~/get_parameter_types": "parameters",
    "~/get_parameters": "parameters",
    "~/list_parameters": "parameters",
    "~/set_parameters": "parameters",
    "~/set_parameters_atomically": "parameters; all or none",
    "~/get_type_description": "of every ROS node, from Jazzy on",
}


class Offer:
    """What one started node has: name, as its user would write it -> types; and its parameters."""

    def __init__(self, node: Any) -> None:
        who = (node.get_name(), node.get_namespace())
        self.publishes = self._named(node, node.get_publisher_names_and_types_by_node(*who))
        self.subscribes = self._named(node, node.get_subscriber_names_and_types_by_node(*who))
        self.serves = self._named(node, node.get_service_names_and_types_by_node(*who))
        own = node.get_fully_qualified_name()
        self.qualities = {}
        for name in self.publishes:
            infos = node.get_publishers_info_by_topic(node.resolve_topic_name(name))
            self.qualities.update((name, _quality(info)) for info in infos if _name_of(info) == own)
        for name in self.subscribes:
            infos = node.get_subscriptions_info_by_topic(node.resolve_topic_name(name))
            self.qualities.update((name, _quality(info)) for info in infos if _name_of(info) == own)
        # the graph does not tell how long a history is kept
        for entity in (*node.publishers, *node.subscriptions):
            name = _relative(node, entity.topic_name)
            if name in self.qualities:
                self.qualities[name] += f", depth {entity.qos_profile.depth}"

    @staticmethod
    def _named(node: Any, found: Iterable[tuple[str, list[str]]]) -> dict[str, str]:
        return {_relative(node, name): ", ".join(types) for name, types in found}


def offers() -> tuple[Offer, list[str]]:
    """Of an active node, raw and compressed taken together; the names of its parameters of quality of service."""
    import rclpy
    from rclpy.parameter import Parameter

    from cgdet_ros.node.detector_node import DetectorNode

    context = rclpy.Context()
    context.init(args=[])
    both: list[Offer] = []
    qos_names: set[str] = set()
    try:
        for transport in ("raw", "compressed"):
            values = {"use_sim_time": True, "device": "cpu", "image_transport": transport}
            overrides = [Parameter(name, value=value) for name, value in values.items()]
            node = DetectorNode(context=context, parameter_overrides=overrides)
            node.start()
            both.append(Offer(node))
            qos_names |= set(node.list_parameters(["qos_overrides"], 0).names)
            node.close()
    finally:
        context.try_shutdown()
    raw, compressed = both
    raw.subscribes |= compressed.subscribes
    raw.qualities |= compressed.qualities
    return raw, sorted(qos_names)


def page() -> str:
    """The text of docs/interface.md; SystemExit where words and node do not match."""
    from cgdet_ros.node.diagnostics import KEYS

    offer, qos_names = offers()
    lines = [
        "# What the node `thermal_detector` takes and offers",
        "",
        "Made by `tools/write_interface.py` from the node itself, and checked by a test. What it all is for: "
        "[node.md](node.md). Names without a leading slash are relative to the node's namespace, `~` is the node. "
        "Quality of service is the default.",
        "",
        "## Topics in",
        "",
        *_topics(TOPICS_IN, offer.subscribes, offer.qualities),
        "",
        "## Topics out",
        "",
        *_topics(TOPICS_OUT, offer.publishes, offer.qualities),
        "",
        "## Services",
        "",
        "| service | type | |",
        "|---|---|---|",
        *(f"| `{name}` | {offer.serves[name]} | {words} |" for name, words in _described(SERVICES, offer.serves)),
        "",
        "## Parameters",
        "",
        "Live: may change while the node runs, from the next frame on. Unconfigured: from configure to cleanup a "
        "change is refused with the reason. Start: read when the process starts.",
        "",
        "| parameter | type | default | range | changes | |",
        "|---|---|---|---|---|---|",
        *_parameters(),
        "",
        "Quality of service by the standard parameters, under the full, remapped name of the topic (policies: "
        "history, depth, reliability, durability):",
        "",
        *(f"- `{name}.*`" for name in sorted({name.rpartition(".")[0] for name in qos_names})),
        "",
        "## Values on /diagnostics",
        "",
        "| key | |",
        "|---|---|",
        *(f"| `{key}` | {words} |" for key, words in KEYS.items()),
    ]
    return "\n".join(lines) + "\n"


def _topics(words: dict[str, str], types: dict[str, str], qualities: dict[str, str]) -> Iterator[str]:
    yield "| topic | type | quality of service | |"
    yield "|---|---|---|---|"
    for name, text in _described(words, types):
        yield f"| `{name}` | {types[name]} | {qualities[name]} | {text} |"


def _described(words: dict[str, str], found: dict[str, str]) -> Iterable[tuple[str, str]]:
    if set(words) != set(found):
        sys.exit(f"described, but not there: {set(words) - set(found)}; there, but not: {set(found) - set(words)}")
    return words.items()


def _parameters() -> Iterator[str]:
    from cgdet_ros.node.parameters import LIVE, READ_ONLY, parameter_specs

    for spec in parameter_specs():
        ranges = [*spec.descriptor.floating_point_range, *spec.descriptor.integer_range]
        limits = ", ".join(f"{each.from_value:g} to {each.to_value:g}" for each in ranges)
        allowed = limits or spec.descriptor.additional_constraints.removeprefix("one of ")
        when = "live" if spec.name in LIVE else "start" if spec.name in READ_ONLY else "unconfigured"
        default = str(spec.default).lower() if isinstance(spec.default, bool) else spec.default
        kind = spec.type.name.lower().replace("_", " ")
        shown = "empty" if default in ("", []) else f"`{default}`"
        yield f"| `{spec.name}` | {kind} | {shown} | {allowed} | {when} | {spec.descriptor.description} |"


def _relative(node: Any, name: str) -> str:
    own = node.get_fully_qualified_name() + "/"
    if name.startswith(own):
        return "~/" + name.removeprefix(own)
    return name.lstrip("/") if name.lstrip("/") in (*TOPICS_IN, *TOPICS_OUT) else name


def _quality(info: Any) -> str:
    policies = (info.qos_profile.reliability, info.qos_profile.durability)
    return ", ".join(policy.name.lower().replace("_", " ") for policy in policies)


def _name_of(info: Any) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


def main() -> int:
    """Write the page."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()

    from cgdet_core.files import write_text
    from cgdet_ros.replay.process import isolate

    isolate()
    write_text(PAGE, page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
