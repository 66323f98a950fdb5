"""Which bags words lead to, and one function over each of them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from cgdet_core.data.bags.fleet import ATTEMPTS, Bag, Spread, bags_in, each_bag
from cgdet_core.errors import InputError, RunError

WORK = """
import os, signal
from pathlib import Path
from cgdet_core.errors import InputError

def work(settings, path, bag):
    with open(os.environ["FLEET_LOG"], "a") as log:
        log.write(bag.name + "\\n")
    begun = Path(os.environ["FLEET_LOG"]).read_text().split().count(bag.name)
    if bag.name in settings.deadly and begun <= settings.times:
        os.kill(os.getpid(), signal.SIGKILL)
    if bag.name == "bad":
        raise InputError(f"{path}: is bad")
    if bag.name == "fault":
        raise ZeroDivisionError
    return {"told": bag.name.upper()}
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
    assert [bag.place for bag in bags_in(["f/**/*.bag"])] == ["f/car/four.bag"]
    with pytest.raises(InputError, match="nothing"):
        bags_in(["f/nothing*"])
    a_folder(Path("g"), "two.db3", "five.db3")
    with pytest.raises(InputError, match=r"f/two.mcap and g/two.db3"):
        bags_in(["f", "g"])


def test_a_killed_worker_costs_its_bag_alone_and_is_begun_again(tmp_path, work):
    bags = [Bag(str(tmp_path / name), name) for name in ("a", "fatal", "once", "bad", "fault")]
    log = tmp_path / "log"
    settings = Namespace(deadly=("fatal", "once"), times=1)
    outcomes = dict(each_bag(work, settings, bags, Spread(workers=2)))
    assert {bag.name: outcome.fate for bag, outcome in outcomes.items()} == {
        **dict.fromkeys(("a", "fatal", "once"), "done"),
        **dict.fromkeys(("bad", "fault"), "failed"),
    }
    assert outcomes[bags[2]].document == {"told": "ONCE"}
    assert isinstance(outcomes[bags[3]].error, InputError)
    assert isinstance(outcomes[bags[4]].error, RunError)
    assert "ZeroDivisionError" in outcomes[bags[4]].said
    assert sorted(log.read_text().split()) == ["a", "bad", "fatal", "fatal", "fault", "once", "once"]

    settings.times = 9
    outcomes = dict(each_bag(work, settings, bags[:2], Spread(workers=1)))
    assert [outcomes[bag].fate for bag in bags[:2]] == ["done", "failed"]
    assert isinstance(outcomes[bags[1]].error, RunError)
    assert log.read_text().split().count("fatal") == 2 + ATTEMPTS


def test_a_bag_alone_is_worked_on_in_this_process_and_a_fault_of_ours_is_told_as_one(tmp_path, work):
    settings = Namespace(deadly=(), times=0)
    ((_, outcome),) = each_bag(work, settings, [Bag(str(tmp_path / "bad"), "bad")])
    assert isinstance(outcome.error, InputError)
    with pytest.raises(ZeroDivisionError):
        list(each_bag(work, settings, [Bag("fault", "fault")]))


def test_finished_work_is_kept_by_bag_and_settings(tmp_path, work):
    bag = Bag(str(a_folder(tmp_path, "a.mcap") / "a.mcap"), "a")
    out = a_folder(tmp_path, "out") / "out"
    labels = a_folder(tmp_path, "labels/a.json", "labels/b.json") / "labels"

    def fate(resume: bool = True, **settings: object) -> str:
        given = Namespace(**{"deadly": (), "times": 0, "by": "stamp", "labels": labels, **settings})
        spread = Spread(fates=str(tmp_path / "fates.json"), resume=resume)
        ((_, outcome),) = each_bag(work, given, [bag], spread, lambda _: str(out))
        assert outcome.told == "A"
        return outcome.fate

    assert [fate(), fate(), fate(workers=3), fate(resume=False)] == ["done", "kept", "kept", "done"]
    assert [fate(by="record"), fate(by="record"), fate()] == ["done", "kept", "kept"]
    (labels / "b.json").write_text("of another bag")
    assert fate() == "kept"
    (labels / "a.json").write_text("other labels")
    assert [fate(), fate()] == ["done", "kept"]
    Path(bag.place).write_text("another bag")
    assert [fate(), fate()] == ["done", "kept"]
    out.unlink()
    assert fate() == "done"
