"""Which bags words lead to, and one function over each of them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from cgdet_core.data.bags.fleet import ATTEMPTS, Bag, bags_in, each_bag, key_of
from cgdet_core.errors import InputError, RunError

WORK = """
import os, signal
from pathlib import Path
from cgdet_core.errors import InputError

def work(settings, path, bag):
    with open(os.environ["FLEET_LOG"], "a") as log:
        log.write(bag.name + "\\n")
    begun = Path(os.environ["FLEET_LOG"]).read_text().split().count(bag.name)
    if 0 < begun <= settings.deadly.get(bag.name, 0):
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name == "bad":
        raise InputError(f"{path}: is bad")
    if path.name == "fault":
        raise ZeroDivisionError
    return bag.name.upper(), len(bag.name)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "fleet_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("FLEET_LOG", str(tmp_path / "log"))
    import fleet_work

    return fleet_work.work


def a_folder(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    return path


def test_folders_patterns_and_files_lead_to_bags_named_by_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a_folder(Path("f"), "one/metadata.yaml", "one/one_0.mcap", "one/one_1.mcap", "two.mcap", "car/three.db3", "x.txt")
    a_folder(Path("f"), "split/split_0.mcap", "split/split_1.mcap", "car/four.bag", "._two.mcap")
    names = {"f/one": "one", "f/two.mcap": "two", "f/car/three.db3": "car/three", "f/car/four.bag": "car/four"}
    names["f/split"] = "split"
    assert {bag.place: bag.name for bag in bags_in(["f"])} == names
    assert {bag.place: bag.name for bag in bags_in(["f/", "f/one"])} == names
    assert bags_in(["f/two.mcap"]) == [Bag("f/two.mcap")]
    assert bags_in(["f/one"]) == [Bag("f/one")]
    assert bags_in(["f/one/one_0.mcap"]) == [Bag("f/one/one_0.mcap")]
    assert bags_in([Path("f/nowhere")]) == [Bag("f/nowhere")]
    assert bags_in(["f/t*"]) == [Bag("f/two.mcap", "two")]
    assert bags_in(["f/*/*.db3", "f/two.mcap"]) == [Bag("f/car/three.db3", "car/three"), Bag("f/two.mcap", "two")]
    assert bags_in(["f/*/*.db3", "f/car/three.db3"]) == [Bag("f/car/three.db3", "car/three")]  # once
    assert [bag.place for bag in bags_in(["f/**/*.bag"])] == ["f/car/four.bag"]
    with pytest.raises(InputError, match="nothing"):
        bags_in(["f/nothing*"])
    a_folder(Path("g"), "two.db3", "five.db3")
    with pytest.raises(InputError, match=r"f/two.mcap and g/two.db3"):
        bags_in(["f", "g"])


def test_a_killed_worker_costs_its_bag_alone_and_is_begun_again(tmp_path, work):
    bags = [Bag(str(tmp_path / name), name) for name in ("a", "fatal", "once", "bad", "fault")]
    settings = Namespace(deadly={"fatal": ATTEMPTS, "once": 1})
    outcomes = {bag.name: outcome for bag, outcome in each_bag(work, settings, bags, workers=2)}
    assert {name: type(outcome.error) for name, outcome in outcomes.items()} == {
        **dict.fromkeys(("a", "once"), type(None)),
        **dict.fromkeys(("fatal", "fault"), RunError),
        "bad": InputError,
    }
    assert (outcomes["once"].told, outcomes["once"].result) == ("ONCE", 4)
    assert "ZeroDivisionError" in outcomes["fault"].said
    begun = (tmp_path / "log").read_text().split()
    assert {name: begun.count(name) for name in outcomes} == dict.fromkeys(outcomes, 1) | {"once": 2, "fatal": ATTEMPTS}


def test_a_bag_alone_is_worked_on_in_this_process_and_a_fault_of_ours_is_told_as_one(tmp_path, work):
    settings = Namespace(deadly={})
    ((_, outcome),) = each_bag(work, settings, [Bag(str(tmp_path / "bad"))])
    assert isinstance(outcome.error, InputError)
    with pytest.raises(ZeroDivisionError):
        list(each_bag(work, settings, [Bag("fault")]))


def test_a_bag_is_known_by_its_files_and_its_own_labels(tmp_path):
    a_folder(tmp_path, "bags/a.mcap", "bags/b.mcap", "labels/a.json", "labels/b.json")
    bag = Bag(str(tmp_path / "bags" / "a.mcap"), "a")

    def key(**settings):
        return key_of(Namespace(**{"labels": tmp_path / "labels", **settings}), bag)

    first = key()
    for other in ("bags/b.mcap", "labels/b.json"):
        (tmp_path / other).write_text("of another bag")
    assert first == key() == key(workers=3)
    assert key(by="record") != first
    (tmp_path / "labels" / "a.json").write_text("other labels")
    assert key() != first
    # a teacher that a setting names, and a folder that is no labels', are told by their files too
    weights, recorded = tmp_path / "weights", tmp_path / "recorded" / "recorded_0.mcap"
    a_folder(tmp_path, "weights", "recorded/recorded_0.mcap")
    given = {"settings": [f"teacher.path={weights}"], "detections": recorded.parent}
    first = key(**given)
    for changed in (weights, recorded):
        changed.write_text("others")
        assert first != (first := key(**given))
