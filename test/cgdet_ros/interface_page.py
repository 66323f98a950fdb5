"""The text of docs/reference/interface.md and interface_landmarks.md, asked of each node itself.

    .venv/bin/python test/cgdet_ros/interface_page.py    # writes both

Topics, types, quality of service, services and parameters are those of nodes that this starts; only the words beside
them stand here. A topic or service without words, and words without one, end it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from rclpy.parameter import Parameter

from cgdet_ros.node.detector_node import DetectorNode
from cgdet_ros.node.landmarks_node import LandmarksNode
from cgdet_ros.node.parameters import READ_ONLY, is_live, parameter_specs
from cgdet_ros.replay.process import isolate

NODES: dict[str, Any] = {"detector": DetectorNode, "landmarks": LandmarksNode}
REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
WORDS = {"detector": "node.md", "landmarks": "../guides/landmarks.md"}
PAGES = {"detector": REFERENCE / "interface.md", "landmarks": REFERENCE / "interface_landmarks.md"}

IMAGES_IN = {
    "image": "with `image_transport` raw: mono8, 8UC1, mono16, 16UC1, rgb8 or bgr8, of any size, step and byte order",
    "image/compressed": "with `image_transport` compressed: JPEG, or PNG of 8 or 16 bits",
    "/clock": "with `use_sim_time` only",
}
FACES_IN = {
    "faces": "without `region_xyxy_px` only: boxes of the faces in an image, with its header's stamp; all classes are "
    "taken for faces",
}
DETECTIONS_OUT = {
    "detections": "one array for every answered image, with its header, unchanged; empty where nothing is found; best "
    "first; boxes in pixels of that image",
    "label_info": "class names by number, and the lowest score that is published; on activate and when that changes",
    "vision_info": "the model; on activate and when label_info comes again",
}
LANDMARKS_OUT = {
    "landmarks": "one message for each face of an answered image, with its header, unchanged; 68 points in iBUG's "
    "order as shares of the image's width and height, and two pupils of confidence 0; nothing where there is no face",
}
ANYWAY_OUT = {
    "overlay": "rgb8, drawn only while somebody listens; header of the image",
    "overlay/compressed": "the same as JPEG, drawn only while somebody listens",
    "/diagnostics": "one status, named as the node, once in `diagnostics.period_s`",
}
TOPICS_IN = {"detector": IMAGES_IN, "landmarks": IMAGES_IN | FACES_IN}
TOPICS_OUT = {"detector": DETECTIONS_OUT | ANYWAY_OUT, "landmarks": LANDMARKS_OUT | ANYWAY_OUT}
SERVICES = {"~/enable": "false: stop working and subscribing without a transition; true: go on"}
# every key of the report on /diagnostics, in its order
KEYS = {
    "model": "path of the model file that is loaded, or that is to be",
    "model_sha256": "its hash",
    "device": "what executes the network",
    "precision": "the arithmetic that is executed, not the one asked for",
    "backend": "what runs the network",
    "parameters": "weights of the network",
    "fallback": "why the CPU executes in place of the GPU; left out where it does not",
    "state": "of the lifecycle",
    "image_topic": "the topic of the images, remapped",
    "image_type": "the message type that is taken there",
    "image_publishers": "how many publish there",
    "image_kind": "size and type of the last answered image",
    "unheard": "publishers and subscribers that a type or a quality of service keeps apart from the node",
    "received": "images that came since the node started = refused + overtaken + answered + failed + in work",
    "refused": "malformed ones",
    "overtaken": "dropped: a newer one came while it waited",
    "answered": "those whose answer was published",
    "failed": "errors in the network or the device",
    "frozen_frames": "answered ones whose picture is that of the one before, byte for byte",
    "flat_frames": "answered ones without tones: a closed shutter, fog",
    "gain_jumps": "answered ones whose tones lie elsewhere than those before",
    "resolution_changes": "answered ones of another size or type than the one before",
    "clock_jumps_back": "how often the ROS clock went back between two answers",
    "stamp_jumps_back": "how often a stamp lay before that of the answer before",
    "foreign_stamps": "answers whose stamp and clock cannot be of one clock",
    "input_rate_hz": "images that came, per second, over the last two seconds or more",
    "output_rate_hz": "the same of answers",
    "receive_to_publish_ms": "p50, p95, p99 over the last 256 answers, steady clock",
    "preprocess_ms": "p50, p95, p99 of that stage of the predictor",
    "infer_ms": "the same",
    "postprocess_ms": "the same",
    "total_ms": "the predictor altogether",
    "stamp_to_publish_ms": "the same from the image's stamp, ROS clock; in its place the reason where there is none",
    "clock": "ROS clock in use: system or simulated",
    "last_error": "the last thing that went wrong",
}
# of types of these packages every lifecycle node has some
STANDARD = ("lifecycle_msgs/", "rcl_interfaces/", "type_description_interfaces/")


@dataclass
class Offer:
    """What the node has: names, as its user would write them, to types, and of topics to quality of service."""

    subscribes: dict[str, str] = field(default_factory=dict)
    publishes: dict[str, str] = field(default_factory=dict)
    serves: dict[str, str] = field(default_factory=dict)
    qos_names: set[str] = field(default_factory=set)


def offer(kind: str, model: str = "") -> Offer:
    """Of an active node, raw and compressed taken together; model: its file, by default the shipped one."""
    context, found = rclpy.Context(), Offer()
    context.init(args=[])
    try:
        for transport in ("raw", "compressed"):
            values = {"use_sim_time": True, "device": "cpu", "image_transport": transport, "model": model}
            overrides = [Parameter(name, value=value) for name, value in values.items()]
            node = NODES[kind](context=context, parameter_overrides=overrides)
            node.start()
            _note(node, found, {*TOPICS_IN[kind], *TOPICS_OUT[kind]})
            node.close()
    finally:
        context.try_shutdown()
    return found


def _note(node: Any, found: Offer, relative: set[str]) -> None:
    who = (node.get_name(), node.get_namespace())
    # the graph does not tell how long a history is kept
    depths = {each.topic_name: f", depth {each.qos_profile.depth}" for each in (*node.publishers, *node.subscriptions)}
    for into, topics, infos in (
        (found.publishes, node.get_publisher_names_and_types_by_node(*who), node.get_publishers_info_by_topic),
        (found.subscribes, node.get_subscriber_names_and_types_by_node(*who), node.get_subscriptions_info_by_topic),
    ):
        for topic, types in topics:
            profile = next(info.qos_profile for info in infos(topic) if (info.node_name, info.node_namespace) == who)
            policies = (profile.reliability, profile.durability)
            words = ", ".join(policy.name.lower().replace("_", " ") for policy in policies)
            into[_relative(node, topic, relative)] = f"{', '.join(types)} | {words}{depths.get(topic, '')}"
    for service, types in node.get_service_names_and_types_by_node(*who):
        found.serves[_relative(node, service, relative)] = ", ".join(types)
    found.qos_names.update(node.list_parameters(["qos_overrides"], 0).names)


def page(kind: str, found: Offer) -> str:
    """The text of its page; SystemExit where words and node do not match."""
    topic_columns = ("| topic | type | quality of service | |", "|---|---|---|---|")
    lines = [
        f"# What the node `{NODES[kind].NAME}` takes and offers",
        "",
        "This page is made from the node itself, and a test checks it. "
        f"[{WORDS[kind].rpartition('/')[2]}]({WORDS[kind]}) says what it is for. Names without a leading slash are "
        "relative to the node's namespace. `~` is the node. Quality of service is the default. What every lifecycle "
        "node has, for its states and parameters, is left out.",
        "",
        "## Topics in",
        "",
        *topic_columns,
        *_rows(TOPICS_IN[kind], found.subscribes),
        "",
        "## Topics out",
        "",
        *topic_columns,
        *_rows(TOPICS_OUT[kind], found.publishes),
        "",
        "## Services",
        "",
        "| service | type | |",
        "|---|---|---|",
        *_rows(SERVICES, found.serves),
        "",
        "## Parameters",
        "",
        "- Live: may change while the node runs, from the next frame on.\n"
        "- Unconfigured: a change is refused, with the reason, from configure to cleanup.\n"
        "- Start: read when the process starts.",
        "",
        "| parameter | type | default | range | changes | |",
        "|---|---|---|---|---|---|",
        *_parameters(NODES[kind].CONFIG),
        "",
        "Quality of service is set by the standard parameters, under the full, remapped name of the topic. The "
        "policies are history, depth, reliability and durability.",
        "",
        *(f"- `{name}.*`" for name in sorted({name.rpartition(".")[0] for name in found.qos_names})),
        "",
        "## Values on /diagnostics",
        "",
        "| key | |",
        "|---|---|",
        *(f"| `{key}` | {words} |" for key, words in KEYS.items()),
    ]
    return "\n".join(lines) + "\n"


def _rows(words: dict[str, str], found: dict[str, str]) -> Iterator[str]:
    found = {name: types for name, types in found.items() if not types.startswith(STANDARD)}
    if set(words) != set(found):
        sys.exit(f"described, but not there: {set(words) - set(found)}; there, but not: {set(found) - set(words)}")
    yield from (f"| `{name}` | {found[name]} | {text} |" for name, text in words.items())


def _parameters(config: Any) -> Iterator[str]:
    for parameter, descriptor in parameter_specs(config):
        ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
        limits = ", ".join(f"{each.from_value:g} to {each.to_value:g}" for each in ranges)
        allowed = limits or descriptor.additional_constraints.removeprefix("one of ")
        when = "live" if is_live(config, parameter.name) else "start" if parameter.name in READ_ONLY else "unconfigured"
        default = str(parameter.value).lower() if isinstance(parameter.value, bool) else parameter.value
        kind = parameter.type_.name.lower().replace("_", " ")
        shown = "empty" if default in ("", []) else f"`{default}`"
        yield f"| `{parameter.name}` | {kind} | {shown} | {allowed} | {when} | {descriptor.description} |"


def _relative(node: Any, name: str, relative: set[str]) -> str:
    own = node.get_fully_qualified_name() + "/"
    if name.startswith(own):
        return "~/" + name.removeprefix(own)
    return name.lstrip("/") if name.lstrip("/") in relative else name


if __name__ == "__main__":
    isolate()
    for name, path in PAGES.items():
        path.write_text(page(name, offer(name)), encoding="utf-8")
