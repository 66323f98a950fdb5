"""docs/reference/interface.md and config/sros2_policy.xml: exactly what the node has."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")
pytest.importorskip("rclpy.type_description_service", reason="Humble has one service less than the page: make setup")

import interface_page


@pytest.fixture(scope="module", params=["detector", "landmarks"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "landmarks":
        pytest.importorskip("hri_msgs", reason="hri_msgs is not installed: make setup")
    return str(request.param)


@pytest.fixture(scope="module")
def offer(kind: str, disc_model: Path) -> Any:
    """What a real node in a context of its own has."""
    return interface_page.offer(kind, str(disc_model) if kind == "landmarks" else "")


def test_the_interface_page_is_that_of_the_node(kind: str, offer: Any) -> None:
    assert interface_page.PAGES[kind].read_text(encoding="utf-8") == interface_page.page(kind, offer), (
        "run interface_page.py"
    )


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
