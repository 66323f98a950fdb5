"""The replay from end to end: a bag, the node as a process of its own, DDS between them, and the results."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from cgdet_core.config import PostprocessConfig
from cgdet_core.data.bags.messages import IMAGE, header, typestore
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.runtime.model_file import load_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.types import GroundTruth
from cgdet_ros.replay import cli as replay

TOPIC, TRUTH = "/thermal/image_raw", "/ground_truth"
NAMES = ("worker", "forklift", "pallet")
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
    """The tiny model with scores from near 0 to near 1, and classes of its own."""
    detector, _ = load_model(tiny_model.with_suffix(".safetensors"))
    image = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        spread = float(detector.eval()(image).class_logits.std())
    network = onnx.load(tiny_model)
    for tensor in network.graph.initializer:
        if re.search(r"class_branches\.\d\.2\.", tensor.name):
            factor = 0 if tensor.name.endswith("bias") else 1.5 / spread
            values = np.asarray(onnx.numpy_helper.to_array(tensor) * factor, np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    described = {entry.key: entry for entry in network.metadata_props}
    described["cgdet_sha256"].value = "0" * 64
    info = json.loads(described["cgdet"].value)
    info["model"]["class_names"], info["postprocess"]["class_thresholds"] = NAMES, {}
    described["cgdet"].value = json.dumps(info)
    path = tmp_path_factory.mktemp("model") / "sure.onnx"
    onnx.save(network, path)
    return path


@pytest.fixture(scope="module")
def truths(frames: list[Any], sure_model: Path) -> list[GroundTruth]:
    """Labels that the sure model partly agrees with: two of its boxes, shifted in every third frame."""
    predictor = Predictor(sure_model)
    predictor.postprocess = SETTINGS
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
                bag.truth(TRUTH, truth, NAMES, stamp_ns, "lens")
    return path


@pytest.fixture(scope="module")
def plain_bag(frames: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compressed, one stamp twice, a long pause, a cut image, and labels in another vocabulary."""
    path = tmp_path_factory.mktemp("bags") / "plain"
    truth = GroundTruth(np.array([[8, 20, 20, 50]], np.float32), np.array([0]), np.zeros(1, np.bool_))
    with BagWriter(path) as bag:
        for index, image in enumerate([*frames, frames[0]]):
            stamp_ns = START_NS + index % 16 * PERIOD_NS + (3_600_000_000_000 if 11 < index < 16 else 0)
            data = cv2.imencode(".png", image)[1].tobytes()
            bag.compressed_image(TOPIC, data[: 60 if index == 5 else None], "png", stamp_ns, "lens")
            bag.truth(TRUTH, truth, ("rider", "dog", "truck"), stamp_ns, "lens")
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


def executable(path: Path, patch: str = "") -> Path:
    """The node of this checkout as an executable; patch: what is changed about `Pipeline` before it runs."""
    path.write_text(
        f"#!{sys.executable}\nimport os, sys, time\nfrom cgdet_ros.node.pipeline import Pipeline\n{patch}\n"
        "from cgdet_ros.node.detector_node import main\nsys.exit(main())\n"
    )
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return executable(tmp_path_factory.mktemp("bin") / "cgdet-detector")


def start_replay(*words: object) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "ROS_DOMAIN_ID"}
    return subprocess.Popen(
        [sys.executable, "-m", "cgdet_ros.replay.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, error = process.communicate(timeout=120)
    return process.returncode, out, error


def document_of(out: Path) -> Any:
    return json.loads((out / "metrics.json").read_text())


def test_a_bag_in_real_time_gives_figures_video_and_report_and_names_what_is_odd_about_it(
    plain_bag: Path, detector: Path, sure_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("--bag", plain_bag, "--out", out, "--detector", detector, "--model", sure_model)
    code, said, error = finish(start_replay(*words, "--param", "score_threshold:=0.2"))
    assert code == 0, error
    figures = document_of(out)
    assert figures["frames_sent"] == 15
    assert figures["frames_sent"] == figures["detections_received"] + figures["dropped"]
    assert figures["detections_received"] >= 1
    times = figures["latency_ms"]
    assert 0 < times["p50"] <= times["p95"] <= times["p99"]
    assert figures["anomalies"] == {
        "answers_of_unknown_stamps": 0,
        "repeated_answers": 0,
        "gaps_in_bag": 1,
        "backward_jumps_in_bag": 0,
    }
    labels, repeated, cut, *others = figures["warnings"]
    assert "1 gaps in bag" in others
    assert "rider" in labels
    assert "1 of 17 frames" in repeated
    assert f"{plain_bag}: {TOPIC}, image of stamp {START_NS + 5 * PERIOD_NS} ns" in cut
    assert all(f"warning: {warning}" in said for warning in figures["warnings"])
    assert figures["truth_topic"] is None
    assert "map50" not in figures
    node = figures["node"]
    assert (node["model"], node["device"], node["exit_code"]) == (str(sure_model), "cpu", 0)
    assert int(node["received"]) == int(node["answered"]) + int(node["overtaken"])
    assert int(node["answered"]) == figures["detections_received"]
    assert figures["score_threshold"] == 0.2
    # fourteen steps of 0.05 s, the hour's pause taken for one of them, last at least this long
    assert figures["seconds"] >= 14 * 0.05 - 0.05
    video = cv2.VideoCapture(str(out / "annotated.webm"))
    assert sum(1 for _ in iter(lambda: video.read()[0], False)) == 15
    names = ["annotated.webm", "detections.json", "metrics.json", "report.html"]
    assert sorted(path.name for path in out.iterdir()) == names
    frames = figures["frames"]
    assert frames["consistent"] is True
    assert (frames["in_bag"], frames["repeated_stamps"], frames["not_sendable"], frames["sent"]) == (17, 1, 1, 15)
    assert frames["overtaken"] == int(node["overtaken"])
    assert figures["detections_received"] + frames["overtaken"] + frames["lost_before_node"] == 15
    answers = figures["offline"]["answers"]
    assert answers["compared"] == answers["same"] == figures["detections_received"]
    assert figures["offline"]["steps"] == []


def test_a_bag_of_own_classes_in_lockstep_is_measured_live_and_offline(
    *,
    labelled_bag: Path,
    detector: Path,
    sure_model: Path,
    tmp_path: Path,
    frames: list[Any],
    truths: list[GroundTruth],
) -> None:
    out, found_bag = tmp_path / "out", tmp_path / "found"
    out.mkdir()
    (out / "annotated.webm").write_bytes(b"the video of another run")
    words = ("--bag", labelled_bag, "--topic", TOPIC, "--truth-topic", TRUTH, "--lockstep", "--out", out)
    more = ("--detector", detector, "--no-video", "--param", "score_threshold:=0.7", "--limit-frames", 15)
    code, _, error = finish(start_replay(*words, *more, "--model", sure_model, "--write-bag", found_bag))
    assert code == 0, error
    figures = document_of(out)
    assert (figures["frames_sent"], figures["detections_received"], figures["dropped"]) == (15, 15, 0)
    assert (figures["frames_evaluated"], figures["score_threshold"]) == (14, 0.7)
    assert figures["warnings"] == []
    assert figures["class_names"] == list(figures["per_class"]) == list(NAMES)
    predictor = Predictor(sure_model)
    predictor.postprocess = SETTINGS
    offline = [predictor.predict(image) for image in frames]
    live = [found.above(0.7) for found in offline]
    expected = []
    cut = [replace(each, boxes_xyxy_px=each.boxes_xyxy_px.clip(0, np.float32([96, 64, 96, 64]))) for each in truths]
    for found in (offline, live):
        labelled = [EvaluatedFrame(str(i), found[i], cut[i], (64, 96)) for i in range(15) if i != 7]
        expected.append(evaluate(labelled, NAMES))
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
    assert figures["params"] == predictor.info.parameters
    results = json.loads((out / "detections.json").read_text())
    assert results["images"][0]["stamp_ns"] == START_NS
    first = [result for result in results["annotations"] if result["image_id"] == results["images"][0]["id"]]
    named = {category["id"]: category["name"] for category in results["categories"]}
    assert [named[result["category_id"]] for result in first] == [NAMES[class_id] for class_id in live[0].class_ids]
    np.testing.assert_allclose([result["score"] for result in first], live[0].scores, atol=1e-5)
    assert sorted(path.name for path in out.iterdir()) == ["detections.json", "metrics.json", "report.html"]
    page = (out / "report.html").read_text()
    assert all(f"</span>{name}</td>" in page for name in NAMES)
    check_detections_bag(found_bag, live[:15])


def check_detections_bag(path: Path, expected: list[Any]) -> None:
    """The bag holds the node's arrays: header, boxes, scores and names of the detections `expected`."""
    with BagReader(path) as bag:
        messages = list(bag.messages(["/detections"]))
    assert [item.stamp_ns for item in messages] == [START_NS + i * PERIOD_NS for i in range(len(expected))]
    for item, found in zip(messages, expected, strict=True):
        assert item.message.header.frame_id == "lens"
        assert item.record_time_ns == item.stamp_ns  # that of the image, for which everything waited
        hypotheses = [detection.results[0].hypothesis for detection in item.message.detections]
        assert [each.class_id for each in hypotheses] == [NAMES[class_id] for class_id in found.class_ids]
        np.testing.assert_allclose([each.score for each in hypotheses], found.scores, atol=1e-6)


@pytest.fixture(scope="module")
def labels_json(truths: list[GroundTruth], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labels of `labelled_bag` as a COCO JSON keyed by stamp."""
    images, annotations = [], []
    for index, truth in enumerate(truths):
        stamp_ns = START_NS + index * PERIOD_NS
        images.append({"id": index + 1, "file_name": f"{stamp_ns}.png", "height": 64, "width": 96})
        for (x0, y0, x1, y1), class_id in zip(truth.boxes_xyxy_px.tolist(), truth.class_ids.tolist(), strict=True):
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": index + 1, "category_id": class_id + 1, "bbox": box}
                | {"area": box[2] * box[3], "iscrowd": 0}
            )
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(NAMES)]
    path = tmp_path_factory.mktemp("labels") / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def test_frames_that_a_slow_node_drops_are_named_by_their_cause_and_cost_what_the_report_says(
    labelled_bag: Path, labels_json: Path, sure_model: Path, tmp_path: Path
) -> None:
    slowly = "process = Pipeline._process\nPipeline._process = lambda *given: (time.sleep(0.17), process(*given))"
    slow, out = executable(tmp_path / "cgdet-detector", slowly), tmp_path / "out"
    words = ("--bag", labelled_bag, "--out", out, "--detector", slow, "--no-video", "--truth-topic", labels_json)
    more = ("--model", sure_model, "--param", "score_threshold:=0.7", "--write-bag", tmp_path / "found")
    code, _, error = finish(start_replay(*words, *more))
    assert code == 0, error
    figures = document_of(out)
    assert figures["truth_topic"] == str(labels_json)
    assert figures["offline"]["labelled_frames"] == 16
    frames, node = figures["frames"], figures["node"]
    # a frame comes every 0.05 s and takes more than 0.17 s
    assert 1 <= frames["answered"] <= 7
    assert frames["overtaken"] + frames["lost_before_node"] == 16 - frames["answered"] == figures["dropped"]
    assert frames["consistent"] is True
    assert int(node["received"]) == int(node["answered"]) + int(node["overtaken"])
    steps = [step["map50"] for step in figures["offline"]["steps"]]
    assert steps[0] >= steps[1] > steps[2]
    assert steps[2] == pytest.approx(steps[3], abs=1e-6)
    with BagReader(tmp_path / "found") as bag:
        later_ms = [(item.record_time_ns - item.stamp_ns) / 1e6 for item in bag.messages(["/detections"])]
    assert np.median(later_ms) == pytest.approx(figures["latency_ms"]["p50"], abs=0.002)


def test_a_node_that_dies_in_the_middle_fails_the_replay_and_what_was_answered_is_written(
    labelled_bag: Path, sure_model: Path, tmp_path: Path
) -> None:
    dying = (
        "process, done = Pipeline._process, []\n"
        "def dying(self, frame):\n"
        "    if len(done) == 3:\n"
        "        os._exit(7)\n"
        "    process(self, frame)\n"
        "    done.append(frame)\n"
        "Pipeline._process = dying"
    )
    mortal, out = executable(tmp_path / "cgdet-detector", dying), tmp_path / "out"
    words = ("--bag", labelled_bag, "--out", out, "--detector", mortal, "--model", sure_model, "--lockstep")
    code, _, error = finish(start_replay(*words, "--no-video"))
    assert code == 1
    assert "exit code 7" in error
    figures = document_of(out)
    assert (figures["detections_received"], figures["frames_sent"]) == (3, 4)
    assert any("exit code 7" in warning for warning in figures["warnings"])


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["--model", "{model}", "--device", "tpu"], 2, "tpu"),
        (["--model", "{model}", "--truth-topic", TRUTH], 2, "rider"),
        (["--detector", "{broken}"], 1, "(exit code 3): no such device"),
    ],
)
def test_what_fails_before_the_first_frame_is_one_line_and_nothing_is_written(
    *, words: list[str], code: int, named: str, plain_bag: Path, detector: Path, sure_model: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no such device' >&2\nexit 3\n")
    broken.chmod(0o755)
    places = {"broken": broken, "model": sure_model}
    given = ("--bag", plain_bag, "--out", tmp_path / "out", "--detector", detector, "--write-bag", tmp_path / "found")
    found, _, error = finish(start_replay(*given, *(word.format(**places) for word in words)))
    (line,) = [line for line in error.splitlines() if line.strip()]
    assert named in line
    assert found == code
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "found").exists()


def test_an_interrupted_replay_takes_its_node_with_it_and_writes_what_was_measured(
    labelled_bag: Path, detector: Path, sure_model: Path, tmp_path: Path
) -> None:
    pid_file, wrapper, out = tmp_path / "pid", tmp_path / "cgdet-detector", tmp_path / "out"
    wrapper.write_text(f'#!/bin/sh\necho $$ > {pid_file}\nexec {detector} "$@"\n')
    wrapper.chmod(0o755)
    words = ("--bag", labelled_bag, "--out", out, "--model", sure_model, "--detector", wrapper, "--rate", 0.1)
    process = start_replay(*words, "--no-video", "--write-bag", tmp_path / "found")
    assert process.stdout is not None
    assert any(line.startswith("playing") for line in process.stdout)
    time.sleep(0.8)  # a frame each half second
    process.send_signal(signal.SIGTERM)
    code, _, error = finish(process)
    assert code == 130
    assert error.strip() == "cgdet-replay: interrupted: writing what was measured (once more: nothing)"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    figures = document_of(out)
    frames = figures["frames"]
    assert frames["in_bag"] == 16
    assert 1 <= frames["sent"] < 16
    assert frames["not_played"] == 16 - frames["sent"]
    assert frames["consistent"] is True
    assert figures["interrupted"] is True
    # every frame is offline only where there was the patience for it
    assert figures["offline"] is None
    with BagReader(tmp_path / "found") as bag:
        assert bag.topics["/detections"].count == frames["answered"]


def test_a_replay_that_is_killed_outright_takes_its_node_along(
    labelled_bag: Path, detector: Path, sure_model: Path, tmp_path: Path
) -> None:
    pid_file, wrapper = tmp_path / "pid", tmp_path / "cgdet-detector"
    wrapper.write_text(f'#!/bin/sh\necho $$ > {pid_file}\nexec {detector} "$@"\n')
    wrapper.chmod(0o755)
    words = ("--bag", labelled_bag, "--out", tmp_path / "out", "--model", sure_model, "--detector", wrapper)
    process = start_replay(*words, "--rate", 0.1)
    assert process.stdout is not None
    assert any(line.startswith("playing") for line in process.stdout)
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL
    status, deadline_s = Path("/proc") / pid_file.read_text().strip() / "status", time.monotonic() + 20
    with suppress(FileNotFoundError, ProcessLookupError):
        while "State:\tZ" not in status.read_text():  # one that nobody waits for
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--bag", "{tmp}/none"], "{tmp}/none"),
        (["--bag", "{bag}", "--topic", "/visible"], "/visible"),
        (["--bag", "{bag}", "--truth-topic", "/labels"], "/labels"),
        (["--bag", "{bag}", "--truth-topic", "{tmp}/none.json"], "{tmp}/none.json"),
        (["--bag", "{bag}", "--detector", "{tmp}/none"], "{tmp}/none"),
        (["--bag", "{bag}", "--model", "{tmp}/none.safetensors"], "{tmp}/none.safetensors"),
        (["--bag", "{bag}", "--out", "{tmp}/file/out"], "{tmp}/file/out"),
        (["--bag", "{bag}", "--param", "score_treshold:=0.001"], "score_threshold"),
        (["--bag", "{bag}", "--class-map", "truck"], "--class-map 'truck'"),
        (["--bag", "{odd}"], "yuv422"),
        (["--bag", "{empty}", "--topic", "/camera"], "/camera"),
        (["--bag", "{empty}"], "/camera"),
        (["--bag", "{bag}", "--write-bag", "{bag}"], "{bag}"),
        (["--bag", "{bag}", "--write-bag", "{tmp}/file/bag"], "{tmp}/file/bag"),
        (["--bag", "{bag}", "--write-bag", "{tmp}/file"], "{tmp}/file"),
        (["--bag", "{cut}"], "cut.mcap"),
    ],
)
def test_what_cannot_be_replayed_is_refused_in_one_line_before_anything_starts(
    words: list[str],
    named: str,
    plain_bag: Path,
    odd_bag: Path,
    empty_bag: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.chdir(tmp_path)
    (whole,) = plain_bag.glob("*.mcap")
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    places = {"bag": plain_bag, "odd": odd_bag, "empty": empty_bag, "tmp": tmp_path, "model": tiny_model, "cut": cut}
    given = [word.format(**places) for word in words]
    if "{odd}" in words:
        given += ["--topic", TOPIC]
    assert replay.main(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cgdet-replay: error: ")
    assert named.format(**places) in line
