"""docs/reference/interface.md and config/sros2_policy.xml: exactly what the node has."""

from __future__ import annotations

import importlib.util
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")
pytest.importorskip("rclpy.type_description_service", reason="Humble has one service less than the page: make setup")


@pytest.fixture(scope="module")
def tool(repository: Path) -> Any:
    spec = importlib.util.spec_from_file_location("write_interface", repository / "tools" / "write_interface.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # its dataclass looks for it there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["detector", "landmarks"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "landmarks":
        pytest.importorskip("hri_msgs", reason="hri_msgs is not installed: make setup")
    return str(request.param)


@pytest.fixture(scope="module")
def offer(tool: Any, kind: str, disc_model: Path) -> Any:
    """What a real node in a context of its own has."""
    return tool.offer(kind, str(disc_model) if kind == "landmarks" else "")


def test_the_interface_page_is_that_of_the_node(tool: Any, kind: str, offer: Any) -> None:
    assert tool.PAGES[kind].read_text(encoding="utf-8") == tool.page(kind, offer), "run tools/write_interface.py"


def test_the_policy_allows_exactly_what_the_node_does(repository: Path, kind: str, offer: Any) -> None:
    root = ElementTree.parse(repository / "config" / "sros2_policy.xml").getroot()
    (enclave,) = (each for each in root.iter("enclave") if each.get("path") == f"/thermal_{kind}")
    (profile,) = enclave.iter("profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", f"thermal_{kind}")
    allowed: dict[str, list[str]] = {}
    for rule in profile:
        ((verb, word),) = rule.attrib.items()
        assert word == "ALLOW"
        allowed.setdefault(verb, []).extend(str(name.text) for name in rule)
    assert allowed.keys() == {"subscribe", "publish", "reply"}
    assert all(len(names) == len(set(names)) for names in allowed.values())
    assert set(allowed["subscribe"]) == set(offer.subscribes)
    assert set(allowed["publish"]) == set(offer.publishes)
    assert set(allowed["reply"]) == set(offer.serves)
    assert not any("*" in name for names in allowed.values() for name in names)
