"""The replay from end to end: a bag, the node as a process of its own, DDS between them, and the results."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from cgdet_core.config import PostprocessConfig
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.types import IMAGE, header, typestore
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.evaluation.metrics.metrics import EvaluatedFrame, evaluate
from cgdet_core.model.detector import Detector
from cgdet_core.runtime.model_file import load_model, read_info, save_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.types import CLASS_NAMES, GroundTruth
from cgdet_ros.replay import cli as replay

TOPIC, TRUTH = "/thermal/image_raw", "/ground_truth"
START_NS, PERIOD_NS = 1_700_000_000_500_000_000, 50_000_000
SETTINGS = PostprocessConfig(score_threshold=0.001, nms_iou=0.55, max_detections=50)


@pytest.fixture(scope="module")
def frames() -> list[Any]:
    """Sixteen frames uint16 [64, 96] with a warm blob that walks to the right."""
    generator = np.random.default_rng(2)
    made = []
    for index in range(16):
        counts = generator.normal(21000, 30, (64, 96))
        counts[20:50, 4 + 4 * index : 16 + 4 * index] += 800
        made.append(counts.astype(np.uint16))
    return made


@pytest.fixture(scope="module")
def sure_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with scores from near 0 to near 1."""
    detector, info = load_model(tiny_model)
    detector.eval()
    last = [branch[2] for branch in detector.head.class_branches]
    with torch.no_grad():
        for layer in last:
            layer.bias.zero_()
        spread = detector(torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(1))).class_logits.std()
        for layer in last:
            layer.weight.mul_(1.5 / spread)
    path = tmp_path_factory.mktemp("model") / "sure.safetensors"
    save_model(path, detector, info)
    return path


@pytest.fixture(scope="module")
def truths(frames: list[Any], sure_model: Path) -> list[GroundTruth]:
    """Labels that the sure model partly agrees with: two of its boxes, shifted in every third frame."""
    predictor = Predictor(sure_model, postprocess=SETTINGS)
    made = []
    for index, image in enumerate(frames):
        found = predictor.predict(image)
        chosen = np.array([1, 30])
        shift = np.array([9, 0, 9, 0], np.float32) if index % 3 == 0 else np.zeros(4, np.float32)
        made.append(GroundTruth(found.boxes_xyxy_px[chosen] + shift, found.class_ids[chosen], np.zeros(2, np.bool_)))
    return made


@pytest.fixture(scope="module")
def labelled_bag(frames: list[Any], truths: list[GroundTruth], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "labelled"
    with BagWriter(path) as bag:
        for index, (image, truth) in enumerate(zip(frames, truths, strict=True)):
            stamp_ns = START_NS + index * PERIOD_NS
            bag.image(TOPIC, image, stamp_ns, "lens")
            if index != 7:  # a frame without labels, which is not one without objects
                bag.truth(TRUTH, truth, CLASS_NAMES, stamp_ns, "lens")
    return path


@pytest.fixture(scope="module")
def plain_bag(frames: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without labels, with one stamp twice, and a long pause."""
    path = tmp_path_factory.mktemp("bags") / "plain"
    with BagWriter(path) as bag:
        for index, image in enumerate(frames):
            bag.image(TOPIC, image, START_NS + index * PERIOD_NS + (3_600_000_000_000 if index > 11 else 0), "lens")
        bag.image(TOPIC, frames[0], START_NS, "lens")
    return path


@pytest.fixture(scope="module")
def odd_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of an encoding that is not supported."""
    path = tmp_path_factory.mktemp("bags") / "odd"
    with BagWriter(path) as bag:
        types = typestore().types
        message = types[IMAGE](
            header=header(START_NS, "lens"),
            height=2,
            width=2,
            encoding="yuv422",
            is_bigendian=0,
            step=4,
            data=np.zeros(8, np.uint8),
        )
        bag._write(TOPIC, message, IMAGE, START_NS)
    return path


@pytest.fixture(scope="module")
def empty_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image topic that nothing came on."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    path = tmp_path_factory.mktemp("bags") / "empty"
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.add_connection("/camera", IMAGE, typestore=typestore())
    return path


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory, python_path: str) -> Path:
    """An executable of the node in this checkout, as an installation writes it."""
    path = tmp_path_factory.mktemp("bin") / "cgdet-detector"
    path.write_text(f"#!{python_path}\nimport sys\nfrom cgdet_ros.node.detector_node import main\nsys.exit(main())\n")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def python_path() -> str:
    import sys

    return sys.executable


def start_replay(python: str, *words: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "ROS_DOMAIN_ID"}
    return subprocess.Popen(
        [python, "-m", "cgdet_ros.replay.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, error = process.communicate(timeout=120)
    return process.returncode, out, error


def test_a_bag_without_labels_gives_figures_video_and_report_in_real_time(
    plain_bag: Path, detector: Path, tiny_model: Path, tmp_path: Path, python_path: str
) -> None:
    out = tmp_path / "out"
    code, said, error = finish(
        start_replay(
            *(python_path, "--bag", str(plain_bag), "--out", str(out), "--detector", str(detector)),
            *("--model", str(tiny_model), "--rate", "0.5", "--param", "score_threshold:=0.2"),
        )
    )
    assert code == 0, error
    figures = json.loads((out / "metrics.json").read_text())
    assert figures["frames_sent"] == 16
    assert figures["frames_sent"] == figures["detections_received"] + figures["dropped"]
    assert len(figures["dropped_stamps_ns"]) == figures["dropped"]
    assert figures["detections_received"] >= 1
    times = figures["latency_ms"]
    assert 0 < times["p50"] <= times["p95"] <= times["p99"]
    assert figures["anomalies"] == {
        "answers_of_unknown_stamps": 0,
        "repeated_answers": 0,
        "repeated_stamps_in_bag": 1,
        "gaps_in_bag": 1,
        "backward_jumps_in_bag": 0,
        "images_not_sendable": 0,
    }
    (warning,) = figures["warnings"]
    assert "1 of 17 frames were left out, as their header stamps repeat" in warning
    assert f"warning: {warning}" in said
    assert "header stamps repeat" in (out / "report.html").read_text()
    node = figures["node"]
    assert (node["model"], node["device"], node["exit_code"]) == (str(tiny_model), "cpu", 0)
    assert node["precision"] in ("fp32", "bf16")
    assert int(node["received"]) == int(node["answered"]) + int(node["overtaken"])
    assert int(node["answered"]) == figures["detections_received"]
    assert figures["score_threshold"] == 0.2
    assert "map50" not in figures
    # at half the speed fifteen steps of 0.05 s, the hour's pause taken for one of them, last at least this long
    assert figures["seconds"] >= 15 * 0.05 / 0.5 - 0.1
    page = (out / "report.html").read_text()
    assert page.lstrip().startswith("<!DOCTYPE html>") or page.lstrip().startswith("<!doctype html>")
    assert "annotated.webm" in page
    video = cv2.VideoCapture(str(out / "annotated.webm"))
    assert sum(1 for _ in iter(lambda: video.read()[0], False)) == 16
    assert str(out / "report.html") in said
    assert sorted(path.name for path in out.iterdir()) == [
        "annotated.webm",
        "detections.json",
        "frames.csv",
        "metrics.json",
        "report.html",
    ]
    frames = figures["frames"]
    assert frames["consistent"] is True
    assert (frames["in_bag"], frames["repeated_stamps"], frames["sent"]) == (17, 1, 16)
    assert frames["overtaken"] == int(node["overtaken"])
    assert frames["lost_before_node"] == 16 - int(node["received"])
    assert figures["detections_received"] + frames["overtaken"] + frames["lost_before_node"] == 16
    answers = figures["offline"]["answers"]
    assert answers["compared"] == answers["same"] == figures["detections_received"]
    assert figures["offline"]["steps"] == []


def test_live_and_offline_are_told_beside_each_other_and_every_answer_is_the_predictor_s(
    *,
    labelled_bag: Path,
    detector: Path,
    sure_model: Path,
    tmp_path: Path,
    python_path: str,
    frames: list[Any],
    truths: list[GroundTruth],
) -> None:
    out, found_bag = tmp_path / "out", tmp_path / "found"
    out.mkdir()
    (out / "annotated.webm").write_bytes(b"the video of another run")
    code, said, error = finish(
        start_replay(
            *(python_path, "--bag", str(labelled_bag), "--topic", TOPIC, "--truth-topic", TRUTH, "--lockstep"),
            *("--model", str(sure_model), "--out", str(out), "--detector", str(detector), "--no-video"),
            *("--param", "score_threshold:=0.7", "--limit-frames", "15", "--write-bag", str(found_bag)),
        )
    )
    assert code == 0, error
    figures = json.loads((out / "metrics.json").read_text())
    assert (figures["frames_sent"], figures["detections_received"], figures["dropped"]) == (15, 15, 0)
    assert figures["frames_evaluated"] == 14
    assert figures["accuracy_over"] == {"frames": 14, "of": 15, "least_score": 0.7}
    assert figures["warnings"] == []
    assert "node: WARN" not in said
    assert "node: ERROR" not in said
    assert "over the 14 labelled frames that were answered, of 15 sent, at score >= 0.7" in said
    predictor = Predictor(sure_model, postprocess=SETTINGS)
    offline = [predictor.predict(image) for image in frames]
    live = [found.above(0.7) for found in offline]
    expected = []
    for found in (offline, live):
        labelled = [EvaluatedFrame(str(i), found[i], truths[i], (64, 96)) for i in range(15) if i != 7]
        expected.append(evaluate(labelled, CLASS_NAMES))
    assert expected[0].map50 is not None
    assert expected[1].map50 is not None
    assert 0.01 < expected[1].map50 < expected[0].map50 < 0.99
    assert figures["map50"] == pytest.approx(expected[1].map50, abs=1e-6)
    assert figures["map"] == pytest.approx(expected[1].map, abs=1e-3)
    steps = {step["step"]: step["map50"] for step in figures["offline"]["steps"]}
    assert list(steps) == ["offline", "thresholds", "drops", "live"]
    assert steps["offline"] == pytest.approx(expected[0].map50, abs=1e-6)
    for name in ("thresholds", "drops", "live"):
        assert steps[name] == pytest.approx(expected[1].map50, abs=1e-6)
    answers = figures["offline"]["answers"]
    assert (answers["compared"], answers["same"], answers["different"]) == (15, 15, 0)
    assert answers["greatest_box_px"] < 0.01
    assert "15 of 15 answers are what the predictor gives offline" in said
    assert figures["params"] == predictor.info.parameters
    assert not (out / "annotated.webm").exists()
    results = json.loads((out / "detections.json").read_text())
    first = [result for result in results if result["image_id"] == START_NS]
    assert [result["category_id"] for result in first] == live[0].class_ids.tolist()
    np.testing.assert_allclose([result["score"] for result in first], live[0].scores, atol=1e-5)
    lines = list(csv.DictReader((out / "frames.csv").read_text().splitlines()))
    assert [int(line["stamp_ns"]) for line in lines] == [START_NS + i * PERIOD_NS for i in range(15)]
    assert [int(line["answered"]) for line in lines] == [len(found) for found in live[:15]]
    assert [int(line["offline"]) for line in lines] == [len(found) for found in live[:15]]
    assert {line["same"] for line in lines} == {"1"}
    check_detections_bag(found_bag, "/detections", live[:15])


def check_detections_bag(path: Path, topic: str, expected: list[Any]) -> None:
    """The bag holds the node's arrays: header, boxes, scores and names of the detections `expected`."""
    with BagReader(path) as bag:
        assert list(bag.topics) == [topic]
        messages = list(bag.messages([topic]))
    assert [item.stamp_ns for item in messages] == [START_NS + i * PERIOD_NS for i in range(len(expected))]
    for item, found in zip(messages, expected, strict=True):
        assert item.message.header.frame_id == "lens"
        assert item.record_time_ns == item.stamp_ns  # that of the image, for which everything waited
        hypotheses = [detection.results[0].hypothesis for detection in item.message.detections]
        assert [each.class_id for each in hypotheses] == [CLASS_NAMES[class_id] for class_id in found.class_ids]
        np.testing.assert_allclose([each.score for each in hypotheses], found.scores, atol=1e-6)


def test_frames_that_a_slow_node_drops_are_named_by_their_cause_and_cost_what_the_report_says(
    labelled_bag: Path, sure_model: Path, tmp_path: Path, python_path: str
) -> None:
    slow = tmp_path / "cgdet-detector"
    slow.write_text(
        f"#!{python_path}\n"
        "import sys, time\n"
        "from cgdet_ros import detector_node as module\n"
        "from cgdet_ros.node.pipeline import Pipeline\n"
        "process = Pipeline._process\n"
        "def slowly(self, frame):\n"
        "    time.sleep(0.17)\n"
        "    process(self, frame)\n"
        "Pipeline._process = slowly\n"
        "sys.exit(module.main())\n"
    )
    slow.chmod(0o755)
    out = tmp_path / "out"
    code, said, error = finish(
        start_replay(
            *(python_path, "--bag", str(labelled_bag), "--out", str(out), "--detector", str(slow), "--no-video"),
            *("--model", str(sure_model), "--truth-topic", TRUTH, "--param", "score_threshold:=0.7"),
            *("--write-bag", str(tmp_path / "found")),
        )
    )
    assert code == 0, error
    figures = json.loads((out / "metrics.json").read_text())
    frames, node = figures["frames"], figures["node"]
    # a frame comes every 0.05 s and takes more than 0.17 s
    assert 1 <= frames["answered"] <= 7
    assert frames["overtaken"] + frames["lost_before_node"] == 16 - frames["answered"] == figures["dropped"]
    assert frames["consistent"] is True
    assert int(node["received"]) == int(node["answered"]) + int(node["overtaken"])
    assert f"{frames['overtaken']} overtaken" in said
    steps = [step["map50"] for step in figures["offline"]["steps"]]
    assert steps[0] >= steps[1] > steps[2]
    assert steps[2] == pytest.approx(steps[3], abs=1e-6)
    assert figures["held_ms"]["p50"] > 170
    lines = list(csv.DictReader((out / "frames.csv").read_text().splitlines()))
    dropped = [int(line["stamp_ns"]) for line in lines if line["answered"] == ""]
    assert dropped == figures["dropped_stamps_ns"]
    assert all(line["offline"] != "" for line in lines)
    with BagReader(tmp_path / "found") as bag:
        later_ms = [(item.record_time_ns - item.stamp_ns) / 1e6 for item in bag.messages(["/detections"])]
    assert later_ms == pytest.approx([float(line["latency_ms"]) for line in lines if line["answered"] != ""], abs=0.001)


def test_two_models_are_played_in_turn_and_compared_in_one_report(
    labelled_bag: Path, detector: Path, sure_model: Path, tmp_path: Path, python_path: str
) -> None:
    other = tmp_path / "other.safetensors"
    info = read_info(sure_model)
    torch.manual_seed(8)
    save_model(other, Detector(info.model), info)
    out, found_bag = tmp_path / "out", tmp_path / "found"
    code, said, error = finish(
        start_replay(
            *(python_path, "--bag", str(labelled_bag), "--out", str(out), "--detector", str(detector), "--no-video"),
            *("--model", str(sure_model), str(other), "--lockstep", "--write-bag", str(found_bag)),
        )
    )
    assert code == 0, error
    document = json.loads((out / "metrics.json").read_text())
    a, b = document["models"]
    assert (a["node"]["model"], b["node"]["model"]) == (str(sure_model), str(other))
    assert a["node"]["model_sha256"] != b["node"]["model_sha256"]
    comparison = document["comparison"]
    assert comparison["over"] == "every frame, offline"
    assert comparison["images"] == 15
    for letter, figures in (("a", a), ("b", b)):
        assert figures["offline"]["answers"]["different"] == 0
        offline = figures["offline"]["steps"][0]
        assert comparison["overall"]["map50"][letter] == pytest.approx(offline["map50"], abs=1e-9)
    assert comparison["words"] in said
    assert any(line.startswith("B  ") and "answers are what" in line for line in said.splitlines())
    assert sorted(path.name for path in out.iterdir()) == [
        *("detections.json", "detections_b.json", "frames.csv", "frames_b.csv", "metrics.json", "report.html")
    ]
    page = (out / "report.html").read_text()
    assert "Model A: sure.safetensors" in page
    assert "Model B: other.safetensors" in page
    with BagReader(found_bag) as bag:
        assert {name: topic.count for name, topic in bag.topics.items()} == {"/a/detections": 16, "/b/detections": 16}


def test_a_broken_model_is_one_line_with_the_node_s_reason_and_nothing_is_written(
    plain_bag: Path, detector: Path, tiny_model: Path, tmp_path: Path, python_path: str
) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny_model.read_bytes()[:-64])
    out = tmp_path / "out"
    code, _, error = finish(
        start_replay(
            *(python_path, "--bag", str(plain_bag), "--out", str(out)),
            *("--model", str(cut), "--detector", str(detector), "--write-bag", str(tmp_path / "found")),
        )
    )
    assert code == 2
    (line,) = [line for line in error.splitlines() if line.strip()]
    assert "cut.safetensors: is not a whole safetensors file" in line
    assert list(out.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.safetensors", "out"]


def test_where_nothing_is_answered_the_exit_code_is_1_with_the_node_s_reason(
    labelled_bag: Path, detector: Path, tiny_model: Path, tmp_path: Path, python_path: str
) -> None:
    code, said, error = finish(
        start_replay(
            *(python_path, "--bag", str(labelled_bag), "--out", str(tmp_path), "--detector", str(detector)),
            *("--model", str(tiny_model), "--lockstep", "--param", "telemetry_rows:=64", "--limit-frames", "3"),
        )
    )
    assert code == 1
    (line,) = [line for line in error.splitlines() if line.strip()]
    assert "none of the 3 frames was answered: telemetry_rows 64 leave nothing of 64 rows" in line
    assert any(line.startswith("node: ERROR: a frame of") for line in said.splitlines())
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert (figures["frames_sent"], figures["detections_received"], figures["node"]["failed"]) == (3, 0, "3")
    assert "none of the 3 frames was answered" in (tmp_path / "report.html").read_text()


def test_a_node_that_dies_in_the_middle_fails_the_replay_and_what_was_answered_is_written(
    labelled_bag: Path, tiny_model: Path, tmp_path: Path, python_path: str
) -> None:
    mortal = tmp_path / "cgdet-detector"
    mortal.write_text(
        f"#!{python_path}\n"
        "import os, sys\n"
        "from cgdet_ros import detector_node as module\n"
        "from cgdet_ros.node.pipeline import Pipeline\n"
        "process, done = Pipeline._process, []\n"
        "def dying(self, frame):\n"
        "    if len(done) == 3:\n"
        "        os._exit(7)\n"
        "    process(self, frame)\n"
        "    done.append(frame)\n"
        "Pipeline._process = dying\n"
        "sys.exit(module.main())\n"
    )
    mortal.chmod(0o755)
    out = tmp_path / "out"
    code, _, error = finish(
        start_replay(
            *(python_path, "--bag", str(labelled_bag), "--out", str(out), "--detector", str(mortal)),
            *("--model", str(tiny_model), "--lockstep", "--no-video"),
        )
    )
    assert code == 1
    assert "the node ended by itself (exit code 7)" in error
    assert "3 frames were answered before" in error
    figures = json.loads((out / "metrics.json").read_text())
    assert figures["detections_received"] == 3
    assert figures["frames_sent"] == 4
    assert any("the node ended by itself" in warning for warning in figures["warnings"])


@pytest.fixture(scope="module")
def foreign_bag(frames: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images, and one cut, all compressed and labelled, in another vocabulary."""
    path = tmp_path_factory.mktemp("bags") / "foreign"
    truth = GroundTruth(np.array([[8, 20, 20, 50]], np.float32), np.array([0]), np.zeros(1, np.bool_))
    with BagWriter(path) as bag:
        for index in range(3):
            data = cv2.imencode(".png", frames[index])[1].tobytes()
            stamp_ns = START_NS + index * PERIOD_NS
            bag.compressed_image(TOPIC, data[: 60 if index == 1 else None], "png", stamp_ns, "lens")
            bag.truth(TRUTH, truth, ("rider", "dog", "truck"), stamp_ns, "lens")
    return path


def test_labels_of_another_vocabulary_and_a_cut_image_are_warnings_and_the_replay_goes_on(
    foreign_bag: Path, detector: Path, tiny_model: Path, tmp_path: Path, python_path: str
) -> None:
    words = ("--bag", str(foreign_bag), "--detector", str(detector), "--model", str(tiny_model), "--lockstep")
    code, said, error = finish(start_replay(python_path, *words, "--out", str(tmp_path / "a")))
    assert code == 0, error
    figures = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert (figures["frames_sent"], figures["detections_received"]) == (2, 2)
    assert figures["anomalies"]["images_not_sendable"] == 1
    assert figures["truth_topic"] is None
    assert "map50" not in figures
    labels, cut = figures["warnings"]
    assert "class 'rider' is none of" in labels
    assert "--class-map rider=ignore" in labels
    assert f"{foreign_bag}: {TOPIC}, image of stamp {START_NS + PERIOD_NS} ns" in cut
    page = (tmp_path / "a" / "report.html").read_text()
    for warning in (labels, cut):
        assert f"warning: {warning}" in said
    assert "image of stamp" in page
    assert "is none of the classes" in page


def test_labels_that_were_asked_for_and_cannot_be_read_are_refused_and_mapped_ones_are_measured(
    foreign_bag: Path, detector: Path, tiny_model: Path, tmp_path: Path, python_path: str
) -> None:
    words = ("--bag", str(foreign_bag), "--detector", str(detector), "--model", str(tiny_model), "--lockstep")
    refused = start_replay(python_path, *words, "--out", str(tmp_path / "a"), "--truth-topic", TRUTH)
    mapped = start_replay(python_path, *words, "--out", str(tmp_path / "b"), "--class-map", "rider=car")
    code, _, error = finish(refused)
    assert code == 2
    (line,) = [line for line in error.splitlines() if line.strip()]
    assert "class 'rider' is none of" in line
    assert list((tmp_path / "a").iterdir()) == []
    code, _, error = finish(mapped)
    assert code == 0, error
    figures = json.loads((tmp_path / "b" / "metrics.json").read_text())
    assert figures["accuracy_over"]["frames"] == 2
    assert "--class-map rider=car" in (tmp_path / "b" / "report.html").read_text()


def test_a_class_map_onto_no_class_is_refused_though_nobody_named_the_topic(
    foreign_bag: Path, detector: Path, tiny_model: Path, tmp_path: Path, python_path: str
) -> None:
    words = ("--bag", str(foreign_bag), "--detector", str(detector), "--model", str(tiny_model), "--lockstep")
    code, _, error = finish(
        start_replay(python_path, *words, "--out", str(tmp_path / "a"), "--class-map", "rider=human")
    )
    assert code == 2
    (line,) = [line for line in error.splitlines() if line.strip()]
    assert "--class-map rider=human: 'human' is none of the classes person, bicycle, car" in line


def test_labels_may_be_a_coco_json_keyed_by_stamp_and_give_what_the_topic_gives(
    labelled_bag: Path, truths: list[GroundTruth], detector: Path, sure_model: Path, tmp_path: Path, python_path: str
) -> None:
    images, annotations = [], []
    for index, truth in enumerate(truths[:6]):
        stamp_ns = START_NS + index * PERIOD_NS
        images.append({"id": index + 1, "file_name": f"{stamp_ns}.png", "height": 64, "width": 96})
        for (x0, y0, x1, y1), class_id in zip(truth.boxes_xyxy_px.tolist(), truth.class_ids.tolist(), strict=True):
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": index + 1, "category_id": class_id + 1, "bbox": box}
                | {"area": box[2] * box[3], "iscrowd": 0}
            )
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASS_NAMES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "labels.json").write_text(json.dumps(document))
    for image in images:
        image["width"] = 97
    (tmp_path / "wider.json").write_text(json.dumps(document))
    figures = {}
    for name, labels in (
        ("topic", TRUTH),
        ("json", str(tmp_path / "labels.json")),
        ("wider", str(tmp_path / "wider.json")),
    ):
        words = ("--bag", str(labelled_bag), "--detector", str(detector), "--model", str(sure_model), "--lockstep")
        more = ("--no-video", "--no-offline", "--limit-frames", "6", "--truth-topic", labels)
        code, said, error = finish(start_replay(python_path, *words, *more, "--out", str(tmp_path / name)))
        assert code == 0, error
        figures[name] = json.loads((tmp_path / name / "metrics.json").read_text())
    assert figures["json"]["truth_topic"] == str(tmp_path / "labels.json")
    assert figures["json"]["frames_evaluated"] == figures["topic"]["frames_evaluated"] == 6
    assert figures["json"]["map50"] == pytest.approx(figures["topic"]["map50"], abs=1e-6)
    # labels of a frame of another size are no reason to lose what was played
    assert "map50" not in figures["wider"]
    (warning,) = figures["wider"]["warnings"]
    assert "says 97x64 pixels" in warning
    assert f"warning: {warning}" in said


def test_a_node_that_ends_by_itself_is_named_with_its_last_words(
    plain_bag: Path, tmp_path: Path, python_path: str
) -> None:
    broken = tmp_path / "cgdet-detector"
    broken.write_text("#!/bin/sh\necho 'no such device' >&2\nexit 3\n")
    broken.chmod(0o755)
    code, _, error = finish(
        start_replay(python_path, "--bag", str(plain_bag), "--out", str(tmp_path / "out"), "--detector", str(broken))
    )
    assert code == 2
    assert "the node ended by itself (exit code 3): no such device" in error
    assert "Traceback" not in error


def test_an_interrupted_replay_takes_its_node_with_it_and_writes_what_was_measured(
    labelled_bag: Path, detector: Path, tiny_model: Path, tmp_path: Path, python_path: str
) -> None:
    pid_file = tmp_path / "pid"
    wrapper = tmp_path / "cgdet-detector"
    wrapper.write_text(f'#!/bin/sh\necho $$ > {pid_file}\nexec {detector} "$@"\n')
    wrapper.chmod(0o755)
    process = start_replay(
        *(python_path, "--bag", str(labelled_bag), "--out", str(tmp_path / "out"), "--model", str(tiny_model)),
        *("--detector", str(wrapper), "--rate", "0.05", "--no-video", "--write-bag", str(tmp_path / "found")),
    )
    until_it_plays(process)
    time.sleep(1.5)  # a frame each second
    process.send_signal(signal.SIGTERM)
    code, said, error = finish(process)
    assert code == 130
    assert error.strip() == "cgdet-replay: interrupted: writing what was measured (once more: nothing)"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    frames = figures["frames"]
    assert frames["in_bag"] == 16
    assert 1 <= frames["sent"] < 16
    assert frames["not_played"] == 16 - frames["sent"]
    assert frames["consistent"] is True
    assert figures["interrupted"] is True
    # every frame is offline only where there was the patience for it
    assert figures["offline"] is None
    warning = f"interrupted: {frames['not_played']} of 16 frames were not played"
    assert warning in figures["warnings"]
    assert f"warning: {warning}" in said
    assert warning in (tmp_path / "out" / "report.html").read_text()
    with BagReader(tmp_path / "found") as bag:
        assert bag.topics["/detections"].count == frames["answered"]


def until_it_plays(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("playing"):
            return
    raise AssertionError("it never played")


def test_labels_of_another_camera_are_named_and_the_replay_goes_on_without_accuracy(
    frames: list[Any], truths: list[GroundTruth], detector: Path, tiny_model: Path, tmp_path: Path, python_path: str
) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for index, (image, truth) in enumerate(zip(frames[:3], truths, strict=False)):
            stamp_ns = START_NS + index * PERIOD_NS
            bag.image("/rear/thermal", image, stamp_ns + 5_000_000, "rear")
            bag.truth("/front/labels", truth, CLASS_NAMES, stamp_ns, "front")
    code, said, error = finish(
        start_replay(
            *(python_path, "--bag", str(tmp_path / "bag"), "--out", str(tmp_path / "out"), "--detector", str(detector)),
            *("--model", str(tiny_model), "--lockstep", "--no-video", "--no-offline"),
        )
    )
    assert code == 0, error
    assert "none of the 3 labelled stamps of /front/labels is the header stamp of a frame of /rear/thermal" in said
    assert "no labels to measure accuracy against" in said
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert "map50" not in figures
    assert figures["offline"] is None


def test_a_second_ctrl_c_ends_at_once_and_nothing_is_written(
    plain_bag: Path, detector: Path, tiny_model: Path, tmp_path: Path, python_path: str
) -> None:
    stuck = tmp_path / "cgdet-detector"
    stuck.write_text(
        f"#!{python_path}\n"
        "import sys, time\n"
        "from cgdet_ros import detector_node as module\n"
        "from cgdet_ros.node.pipeline import Pipeline\n"
        "Pipeline._process = lambda self, frame: time.sleep(6)\n"
        "sys.exit(module.main())\n"
    )
    stuck.chmod(0o755)
    process = start_replay(
        *(python_path, "--bag", str(plain_bag), "--out", str(tmp_path / "out"), "--model", str(tiny_model)),
        *("--detector", str(stuck), "--write-bag", str(tmp_path / "found")),
    )
    until_it_plays(process)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(1.1)
    process.send_signal(signal.SIGINT)
    code, _, error = finish(process)
    assert code == 130
    assert "interrupted, nothing was written" in error
    assert "Traceback" not in error
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "found").exists()


@pytest.fixture
def handlers() -> Iterator[None]:
    """The command sets a handler for SIGTERM; the tests' own comes back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--bag", "{tmp}/none"], "none: no such bag"),
        (["--bag", "{bag}", "--topic", "/visible"], "no topic '/visible'"),
        (["--bag", "{bag}", "--truth-topic", "/labels"], "no topic '/labels'"),
        (["--bag", "{bag}", "--detector", "{tmp}/none"], "none: is no executable"),
        (["--bag", "{bag}", "--model", "{tmp}/none.safetensors"], "none.safetensors: model file is missing"),
        (["--bag", "{bag}", "--out", "{tmp}/file/out"], "out: cannot be made a folder"),
        (["--bag", "{bag}", "--out", "{tmp}/taken"], "report.html: is a folder where a result belongs"),
        (["--bag", "{bag}", "--param", "score_treshold:=0.001"], "did you mean score_threshold?"),
        (["--bag", "{bag}", "--class-map", "truck"], "--class-map 'truck': give name=class"),
        (["--bag", "{odd}"], "encoding 'yuv422' is not supported"),
        (["--bag", "{empty}", "--topic", "/camera"], "topic '/camera' holds no message"),
        (["--bag", "{empty}"], "none of its image topics holds images that cgdet reads: /camera (0 messages)"),
        (["--bag", "{bag}", "--write-bag", "{bag}"], "exists already: remove it, or give another --write-bag"),
        (["--bag", "{bag}", "--write-bag", "{tmp}/file/bag"], "bag: cannot be written, {tmp}/file is a file"),
        (["--bag", "{bag}", "--truth-topic", "{tmp}/none.json"], "none.json: there is no such file"),
        (["--bag", "{bag}", "--write-bag", "{tmp}/file"], "file: exists already"),
        (["--bag", "{bag}", "--model", "{model}", "{tmp}/none.safetensors"], "none.safetensors: model file is missing"),
        (["--bag", "{bag}", "--model", "{model}", "{other}"], "knows cat, dog, car"),
        (["--bag", "{bag}", "--rate", "-1"], "--rate: key 'rate' = -1.0"),
    ],
)
def test_what_cannot_be_replayed_is_refused_in_one_line_before_anything_starts(
    words: list[str],
    reason: str,
    plain_bag: Path,
    odd_bag: Path,
    empty_bag: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "taken" / "report.html").mkdir(parents=True)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.chdir(tmp_path)
    places = {"bag": plain_bag, "odd": odd_bag, "empty": empty_bag, "tmp": tmp_path, "model": tiny_model}
    if any("{other}" in word for word in words):
        info = read_info(tiny_model)
        other = info.model_copy(update={"model": info.model.model_copy(update={"class_names": ("cat", "dog", "car")})})
        places["other"] = tmp_path / "animals.safetensors"
        save_model(
            places["other"], Detector(other.model), other.model_copy(update={"postprocess": PostprocessConfig()})
        )
    given = [word.format(**places) for word in words]
    if "{odd}" in words:
        given += ["--topic", TOPIC]
    assert replay.main(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cgdet-replay: error: ")
    assert reason.format(**places) in line


@pytest.mark.parametrize("namespace", ["my ns", "", "/", "1st", "a//b"])
def test_a_namespace_that_ros_would_not_take_is_refused(
    namespace: str, plain_bag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        replay.main(["--bag", str(plain_bag), "--namespace", namespace])
    assert ended.value.code == 2
    assert f"--namespace '{namespace}': give letters" in capsys.readouterr().err


def test_a_truncated_bag_is_refused_in_one_line(
    handlers: None, plain_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (whole,) = plain_bag.glob("*.mcap")
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert replay.main(["--bag", str(cut), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cut.mcap" in line
