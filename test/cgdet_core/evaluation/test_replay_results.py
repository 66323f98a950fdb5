"""What a replay recorded: every frame is accounted for, measured, compared and written, without ROS."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cgdet_core.data.bags.frames import StampedLabels, load_stamped_labels
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.evaluation.replay import (
    CAUSES,
    OfflineAnswers,
    Replay,
    ReplayedFrame,
    measure_replay,
)
from cgdet_core.evaluation.report.replay_report import RESULT_NAMES, write_results
from cgdet_core.types import CLASS_NAMES, Detections, GroundTruth

TOPIC = "/thermal/image_raw"
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 100_000_000
BOX = np.array([[10.0, 10, 30, 50]])
FOUND = Detections(BOX, np.array([0.9]), np.array([0]))
FLOOR = np.full(3, 0.2)


def counted(**node: int) -> dict[str, str]:
    counts = {"received": 0, "refused": 0, "overtaken": 0, "answered": 0, "failed": 0, **node}
    return {name: str(count) for name, count in counts.items()}


def accounts(node: dict[str, str], in_bag: int = 110, node_is_final: bool = True) -> dict[str, Any]:
    """Of 100 frames that were sent, 80 of them answered."""
    frame = ReplayedFrame(START_NS, (64, 96), 0.0, 0.0)
    frames = (*[frame] * 20, *[replace(frame, detections=FOUND)] * 80)
    changes = {"in_bag": in_bag, "repeated_stamps": 5, "not_sendable": ("cut",), "frames": frames, "node": node}
    return replay_of(Path("bag"), node_is_final=node_is_final, **changes).accounts


def test_bag_replay_and_node_together_name_every_frame() -> None:
    found = accounts(counted(received=97, refused=2, overtaken=13, answered=81, failed=1))
    assert found == {
        "in_bag": 110,
        "repeated_stamps": 5,
        "not_sendable": 1,
        "not_played": 4,
        "sent": 100,
        "answered": 80,
        "unanswered": 20,
        "lost_before_node": 3,
        "overtaken": 13,
        "refused": 2,
        "failed": 1,
        "in_work": 0,
        "lost_answers": 1,
        "consistent": True,
    }
    assert sum(found[cause] for cause in CAUSES) == found["unanswered"]


@pytest.mark.parametrize(
    ("node", "in_bag"),
    [
        (counted(received=101, overtaken=20, answered=81), 110),  # more than were sent
        (counted(received=100, overtaken=21, answered=79), 110),  # fewer answers than came
        (counted(received=100, overtaken=10, answered=80), 110),  # ten in work for ever
        (counted(received=100, overtaken=30, answered=80), 110),  # more outcomes than frames
        (counted(received=100, overtaken=20, answered=80), 105),  # more than the bag's index says
    ],
)
def test_counts_that_contradict_each_other_are_not_called_consistent(node: dict[str, str], in_bag: int) -> None:
    assert not accounts(node, in_bag)["consistent"]
    assert accounts(counted(received=100, overtaken=20, answered=80))["consistent"]


def test_a_node_that_ended_leaves_its_causes_open() -> None:
    for found in (accounts({}), accounts(counted(received=90), node_is_final=False)):
        assert (found["unanswered"], found["overtaken"], found["lost_before_node"]) == (20, None, None)
        assert found["consistent"]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of 64 x 96 pixels, a tenth of a second apart."""
    path = tmp_path_factory.mktemp("bags") / "six"
    with BagWriter(path) as writer:
        for index in range(6):
            image = np.random.default_rng(index).normal(21000, 300, (64, 96)).astype(np.uint16)
            writer.image(TOPIC, image, START_NS + index * PERIOD_NS, "lens")
    return path


def replay_of(bag: Path, dropped: tuple[int, ...] = (4,), **changes: object) -> Replay:
    """A person is in every frame, found in all that were answered, each 30 ms after it was sent."""
    frames = []
    for index in range(6):
        frame = ReplayedFrame(START_NS + index * PERIOD_NS, (64, 96), index / 10, 5 + index / 10, START_NS + index)
        frames.append(
            frame if index in dropped else replace(frame, latency_ms=30.0, detections=FOUND, answer=b"\0\1\0\0")
        )
    truth = GroundTruth(BOX, np.array([0]), np.zeros(1, bool))
    labels = StampedLabels("/truth", {frame.stamp_ns: truth for frame in frames}, {}, {})
    answered = 6 - len(dropped)
    node = counted(received=6, answered=answered, overtaken=len(dropped)) | {"model": "a", "device": "cpu"}
    made = Replay(
        bag=bag,
        topic=TOPIC,
        rate=1.0,
        lockstep=False,
        command="",
        in_bag=6,
        repeated_stamps=0,
        not_sendable=(),
        frames=tuple(frames),
        late_ms=(0.5,) * 6,
        class_names=CLASS_NAMES,
        threshold=0.2,
        node=node,
        node_is_final=True,
        stages_ms={"infer": {"p50": 7.0, "p95": 8.0, "p99": 9.0}},
        anomalies={"gaps_in_bag": 0},
        ended=None,
        interrupted=False,
        truth_topic="/truth",
        labels=labels,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def offline_of(replay: Replay, found: Detections = FOUND) -> OfflineAnswers:
    detections = {frame.stamp_ns: found for frame in replay.frames}
    return OfflineAnswers(detections, FLOOR, {"infer": [5.0] * 6}, {"device": "cpu"})


def test_live_and_offline_are_measured_over_the_same_labelled_frames(bag: Path) -> None:
    replay = replay_of(bag)
    document = measure_replay(replay, offline_of(replay)).document
    assert (document["frames_sent"], document["detections_received"], document["dropped"]) == (6, 5, 1)
    assert document["dropped_stamps_ns"] == [START_NS + 4 * PERIOD_NS]
    assert document["latency_ms"] == {"p50": 30.0, "p95": 30.0, "p99": 30.0}
    assert document["map50"] == pytest.approx(1.0)
    assert (document["frames_evaluated"], document["score_threshold"]) == (5, 0.2)
    offline = document["offline"]
    assert offline["labelled_frames"] == 6
    steps = [step["map50"] for step in offline["steps"]]
    # the dropped frame's person is missed: precision is 1 up to a recall of 5 of 6
    recall = np.count_nonzero(np.linspace(0, 1, 101) <= 5 / 6) / 101
    assert steps == pytest.approx([1.0, 1.0, recall, recall])
    assert (offline["answers"]["compared"], offline["answers"]["same"]) == (5, 5)
    assert document["warnings"] == []


def test_an_answer_that_differs_is_named_in_the_document(bag: Path) -> None:
    replay = replay_of(bag)
    moved = Detections(BOX + 3, FOUND.scores, FOUND.class_ids)
    offline = offline_of(replay)
    offline = replace(offline, detections={**offline.detections, START_NS: moved})
    document = measure_replay(replay, offline).document
    assert document["warnings"] == []
    answers = document["offline"]["answers"]
    assert (answers["same"], answers["different"], answers["different_stamps_ns"]) == (4, 1, [START_NS])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"interrupted": True}, "interrupted"),
        ({"ended": "the node ended by itself"}, "5 frames were answered before"),
        ({"node_exit_code": 7}, "exit code 7"),
        ({"in_bag": 7, "not_sendable": ("stamp 7: cut",)}, "stamp 7: cut"),
        ({"labels": StampedLabels("x", {1: GroundTruth.empty()}, {}, {})}, "--truth-topic"),
        ({"warnings": ("noticed before",)}, "noticed before"),
        ({"node": counted(received=101)}, "do not count the same frames"),
    ],
)
def test_what_makes_results_less_than_they_seem_is_a_warning(changes: dict[str, object], named: str, bag: Path) -> None:
    document = measure_replay(replay_of(bag, **changes), None).document  # type: ignore[arg-type]
    assert any(named in warning for warning in document["warnings"])
    assert document["offline"] is None
    assert ("map50" in document) == ("labels" not in changes)


def test_a_replay_of_which_nothing_was_answered_has_failed_for_the_node_s_reason(bag: Path) -> None:
    replay = replay_of(bag, dropped=tuple(range(6)))
    assert replay.failure is not None
    assert "the node gave no reason" in replay.failure
    assert "no device" in str(replace(replay, node_log=("ERROR: no device",)).failure)
    assert replay_of(bag).failure is None
    assert measure_replay(replay, None).document["latency_ms"] is None


def test_results_appear_together_and_answers_go_into_a_bag(bag: Path, tmp_path: Path) -> None:
    replay = replay_of(bag)
    measured = measure_replay(replay, offline_of(replay))
    lines = write_results(tmp_path, measured, True, BagWriter(tmp_path / "found"))
    assert {path.name for path in tmp_path.iterdir()} == {*RESULT_NAMES, "found"}
    assert {line.strip() for line in lines} >= {str(tmp_path / name) for name in (*RESULT_NAMES, "found")}
    answers = json.loads((tmp_path / "detections.json").read_text())
    # one numbering: image and category ids are the file's own, as in every COCO JSON that is written
    assert [image["stamp_ns"] for image in answers["images"]] == [START_NS + i * PERIOD_NS for i in (0, 1, 2, 3, 5)]
    names = {category["id"]: category["name"] for category in answers["categories"]}
    assert names == {1: "person", 2: "bicycle", 3: "car"}
    found = [(each["image_id"], names[each["category_id"]], each["bbox"]) for each in answers["annotations"]]
    assert found == [(image["id"], "person", [10, 10, 20, 40]) for image in answers["images"]]
    labels = load_stamped_labels(tmp_path / "detections.json")  # what was found can be read as labels by stamp
    assert labels.truth[START_NS].class_ids.tolist() == [0]
    assert "annotated.webm" in (tmp_path / "report.html").read_text()
    with BagReader(tmp_path / "found") as found:
        assert {name: topic.count for name, topic in found.topics.items()} == {"/detections": 5}
    write_results(tmp_path, measured, False, None)
    assert not (tmp_path / "annotated.webm").exists()
