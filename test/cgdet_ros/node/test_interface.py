"""docs/interface.md and config/sros2_policy.xml: exactly what the node has."""

from __future__ import annotations

import importlib.util
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
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def offer(tool: Any) -> tuple[Any, list[str]]:
    """What a real node in a context of its own has."""
    return tool.offers()


def test_the_interface_page_is_that_of_the_node(tool: Any, offer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "offers", lambda: offer)
    text = tool.PAGE.read_text(encoding="utf-8")
    assert text == tool.page(), "run tools/write_interface.py"


def test_help_and_words_that_are_none_write_nothing(
    tool: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "PAGE", tmp_path / "interface.md")
    for words, code, said in ((["--help"], 0, "Writes docs/interface.md"), (["page.md"], 2, "unrecognized arguments")):
        monkeypatch.setattr("sys.argv", ["write_interface.py", *words])
        with pytest.raises(SystemExit) as ended:
            tool.main()
        assert ended.value.code == code
        heard = capsys.readouterr()
        assert said in heard.out + heard.err
    assert not list(tmp_path.iterdir())


def test_the_policy_allows_exactly_what_the_node_does(repository: Path, offer: Any) -> None:
    found, _ = offer
    root = ElementTree.parse(repository / "config" / "sros2_policy.xml").getroot()
    (profile,) = root.iter("profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", "thermal_detector")
    allowed: dict[str, list[str]] = {}
    for rule in profile:
        ((verb, word),) = rule.attrib.items()
        assert word == "ALLOW"
        allowed.setdefault(verb, []).extend(str(name.text) for name in rule)
    assert allowed.keys() == {"subscribe", "publish", "reply"}
    assert all(len(names) == len(set(names)) for names in allowed.values())
    assert set(allowed["subscribe"]) == set(found.subscribes)
    assert set(allowed["publish"]) == set(found.publishes)
    assert set(allowed["reply"]) == set(found.serves)
    assert not any("*" in name for names in allowed.values() for name in names)
