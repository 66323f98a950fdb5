"""The views: RViz's and Foxglove's files show topics that the node has, by panels that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from interface_page import KEYS


def layout(repository: Path) -> dict[str, Any]:
    content = json.loads((repository / "foxglove" / "detector.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def topics_of_the_page(repository: Path, name: str = "interface.md") -> set[str]:
    """All topics of a page of docs/, which is made from the node, below the root namespace."""
    page = (repository / "docs" / "reference" / name).read_text(encoding="utf-8").partition("## Services")[0]
    return {"/" + name.lstrip("/") for name in re.findall(r"^\| `([\w/]+)` \|", page, re.MULTILINE)}


def test_rviz_shows_topics_of_both_nodes(repository: Path) -> None:
    view = yaml.safe_load((repository / "rviz" / "detector.rviz").read_text(encoding="utf-8"))
    topics = {"/" + item["Topic"]["Value"] for item in view["Visualization Manager"]["Displays"]}
    assert topics == {"/overlay", "/image"}
    assert topics <= topics_of_the_page(repository) & topics_of_the_page(repository, "interface_landmarks.md")


def test_the_layout_shows_topics_of_the_node_or_of_its_own_scripts(repository: Path) -> None:
    content = layout(repository)
    scripts = [script["sourceCode"] for script in content["userNodes"].values()]
    made = {re.findall(r'export const output = "([^"]+)"', script)[0] for script in scripts}
    read = {topic for script in scripts for topic in re.findall(r'export const inputs = \["([^"]+)"\]', script)}
    node = topics_of_the_page(repository)
    assert read == {"/detections", "/diagnostics"}
    assert read <= node
    shown = {
        *(config["imageMode"]["imageTopic"] for config in content["configById"].values() if "imageMode" in config),
        *(config["topicToRender"] for config in content["configById"].values() if "topicToRender" in config),
    }
    assert shown == {"/overlay/compressed", "/image", "/diagnostics"}
    assert shown <= node
    paths = {path["value"] for config in content["configById"].values() for path in config.get("paths", ())}
    assert paths
    assert {path.partition(".")[0] for path in paths} <= made
    annotations = content["configById"]["Image!raw"]["imageMode"]["annotations"]
    assert set(annotations) <= made


def test_plotted_figures_are_returned_by_the_script_from_keys_of_the_diagnostics(repository: Path) -> None:
    content = layout(repository)
    script = content["userNodes"]["times"]["sourceCode"]
    returned = set(re.findall(r"^ {4}(\w+): (?:rank|plain)\(", script, re.MULTILINE))
    plotted = {
        path["value"].partition(".")[2] for panel in content["configById"].values() for path in panel.get("paths", ())
    }
    assert plotted <= returned
    assert set(re.findall(r'(?:rank|plain)\("(\w+)"', script)) <= set(KEYS)


def test_the_scripts_boxes_have_the_colours_of_the_overlay(repository: Path) -> None:
    from cgdet_core.drawing import class_colour

    script = layout(repository)["userNodes"]["detections"]["sourceCode"]
    found = re.findall(r"(person|bicycle|car): \[(\d+), (\d+), (\d+)\]", script)
    assert [(name, tuple(map(int, rgb))) for name, *rgb in found] == [
        (name, class_colour(number)) for number, name in enumerate(("person", "bicycle", "car"))
    ]
