"""One command over many bags: on this machine, on a Ray cluster, from and into object storage. The same files to the
byte as bag by bag, and every bag's fate told."""

from __future__ import annotations

import gzip
import importlib.util
import json
import pickle
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import GenericAlias

import cv2
import numpy as np
import pytest
import torch
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.commands import many
from cgdet_core.config import LandmarkPostprocessConfig
from cgdet_core.data.bags.fleet import Bag
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.distill.teachers.yolox_network import Yolox, YoloxShape
from cgdet_core.evaluation.detection import DETECTION
from cgdet_core.evaluation.landmarks import LANDMARKS
from cgdet_core.evaluation.metrics.faces import FaceRecord
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.evaluation.offline import OfflineRun, run_in_turns, select_frames
from cgdet_core.evaluation.task import MeasuredTask
from cgdet_core.files import write_tensors
from cgdet_core.runtime.model_file import load_model, save_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.types import CLASS_NAMES, Detections, GroundTruth, Landmarks

SIZE = (64, 96)
START = 1_700_000_000_000_000_000
GOOD = ["a", "deeper/c", "cut"]
BAD = ["broken", "other"]
SETTINGS = ["ignore_score=0.001", "score_threshold=0.002"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, models: list[Path]) -> Path:
    """Five bags, one of them in a folder, labelled with what a model sees best: one lacks its end, one all but its
    beginning, one the images."""
    folder = tmp_path_factory.mktemp("fleet")
    rng = np.random.default_rng(1)
    model = Predictor(models[0], "cpu", "fp32", backend="torch", threads=1)
    for number, name in enumerate([*GOOD, *BAD]):
        (folder / name).parent.mkdir(exist_ok=True)
        with BagWriter(folder / name) as bag:
            for place in range(2):
                stamp = START + (number * 10 + place) * 100_000_000
                frame = rng.integers(7000, 7400, SIZE).astype(np.uint16)
                seen = model.predict(frame, postprocess=model.postprocess.at_score(0.001))
                truth = GroundTruth(seen.boxes_xyxy_px[:3], seen.class_ids[:3], np.zeros(3, np.bool_))
                if name != "other":
                    bag.image("/thermal/image", frame, stamp, "thermal")
                    rgb = cv2.resize(rng.integers(0, 240, (8, 12, 3)).astype(np.uint8), SIZE[::-1])
                    bag.image("/rgb/image", rgb, stamp, "rgb")
                bag.truth("/ground_truth", truth, CLASS_NAMES, stamp, "thermal")
    for name, kept in (("cut", -20), ("broken", 300)):
        (storage,) = (folder / name).glob("*.mcap")
        storage.write_bytes(storage.read_bytes()[:kept])
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "yolox.safetensors"
    write_tensors(path, Yolox(YoloxShape(4, 1, True, 80)).state_dict(), {})
    return path


@pytest.fixture(scope="module")
def bag_by_bag(fleet: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels and set of each good bag, by a command of its own."""
    alone = tmp_path_factory.mktemp("alone")
    for name in GOOD:
        labels, bag = alone / "labels" / f"{name}.json", str(fleet / name)
        label = ["bag", "label", bag, "--teacher", str(weights), "--out", str(labels), "--threads", "1", *SETTINGS]
        assert main(label) == 0
        out = str(alone / "sets" / name)
        assert main(["bag", "extract", bag, "--labels", str(labels), "--out", out]) == 0
    return alone


def files(folder: Path) -> dict[str, bytes]:
    """What bags gave, without what is told of them."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("fates")}


def fates(file: Path) -> dict[str, str]:
    told = json.loads(file.read_text())["fates"]
    assert [each["name"] for each in told] == sorted(each["name"] for each in told)
    return {each["name"]: each["fate"] for each in told}


def label_and_extract(fleet: object, weights: Path, out: object, how: list[str], of_extract: list[str]) -> None:
    label = ["bag", "label", fleet, "--teacher", weights, "--out", f"{out}/labels", *how, *SETTINGS]
    assert main([str(word) for word in label]) == 2
    extract = ["bag", "extract", fleet, "--labels", f"{out}/labels", "--out", f"{out}/sets", *of_extract]
    assert main([str(word) for word in extract]) == 2


def test_workers_write_what_bag_by_bag_gives_and_a_bad_bag_costs_itself_alone(
    fleet: Path, weights: Path, bag_by_bag: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    label_and_extract(fleet, weights, tmp_path / "many", ["--workers", "1"], ["--workers", "2"])
    said = capfd.readouterr().err
    for kind in ("labels", "sets"):
        assert files(tmp_path / "many" / kind) == files(bag_by_bag / kind)
        assert fates(tmp_path / "many" / kind / "fates.json") == dict.fromkeys(GOOD, "done") | dict.fromkeys(
            BAD, "failed"
        )
    # each bag is named, with what is wrong; what is left out of a damaged one is told by its worker
    assert all(f"{fleet / name}" in said for name in (*BAD, "cut"))

    shutil.rmtree(tmp_path / "many" / "sets" / "a")
    known = {path: path.stat().st_mtime_ns for path in (tmp_path / "many" / "sets").rglob("*.png")}
    again = ["bag", "extract", fleet, "--labels", tmp_path / "many" / "labels", "--out", tmp_path / "many" / "sets"]
    assert main([str(word) for word in (*again, "--resume", "--workers", "1")]) == 2
    kept = {name: "kept" for name in GOOD if name != "a"}
    assert fates(tmp_path / "many" / "sets" / "fates.json") == kept | {"a": "done"} | dict.fromkeys(BAD, "failed")
    assert files(tmp_path / "many" / "sets") == files(bag_by_bag / "sets")
    assert known == {path: path.stat().st_mtime_ns for path in known}


def test_finished_work_is_kept_by_bag_and_settings(tmp_path: Path) -> None:
    place, out, labels = tmp_path / "a.mcap", tmp_path / "out", tmp_path / "labels.json"
    place.touch()
    labels.touch()
    bags = [Bag(str(place))]

    def work(*_: object) -> tuple[str, None]:
        out.touch()
        return "A", None

    def fate(resume: bool = True, **settings: object) -> str:
        given = {"workers": 1, "ray": None, "fates": str(tmp_path / "told.json"), "resume": resume, "out": str(out)}
        arguments = Namespace(**{"by": "stamp", "labels": labels, "suffix": "", "marker": "", **given, **settings})
        done, error = many.run_bags(arguments, work, bags)
        assert ([outcome.told for outcome in done.values()], error) == (["A"], None)
        (told,) = fates(tmp_path / "told.json").values()
        return told

    assert [fate(), fate(), fate(workers=3), fate(resume=False)] == ["done", "kept", "kept", "done"]
    assert [fate(by="record"), fate(by="record"), fate()] == ["done", "kept", "kept"]
    labels.write_text("others")
    assert [fate(), fate()] == ["done", "kept"]
    place.write_text("another bag")
    assert [fate(), fate()] == ["done", "kept"]
    out.unlink()
    assert fate() == "done"


def test_a_kept_file_that_is_damaged_or_of_another_bag_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "a.mcap").touch()
    (tmp_path / "b.mcap").touch()

    def fate(name: str) -> str:
        given = {"workers": 1, "ray": None, "fates": str(tmp_path / "told.json"), "resume": True}
        bags = [Bag(str(tmp_path / f"{name}.mcap"))]
        done, _ = many.run_bags(Namespace(**given), lambda *_: (name, [name]), bags, list[str])
        assert [(outcome.told, outcome.result) for outcome in done.values()] == [(name, [name])]
        return fates(tmp_path / "told.json")[""]

    assert [fate("a"), fate("a")] == ["done", "kept"]
    (of_a,) = (tmp_path / "told.json.kept").iterdir()
    assert [fate("b"), fate("b")] == ["done", "kept"]
    (of_b,) = {*of_a.parent.iterdir()} - {of_a}
    whole, other = of_a.read_bytes(), of_b.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for wrong in (
        b"",
        whole[:-9],
        flipped,
        other,
        gzip.compress(b"{}"),
        gzip.compress(b'["", {}]'),
        gzip.compress(b"5"),
        pickle.dumps(1),
    ):
        of_a.write_bytes(wrong)
        assert [fate("a"), fate("a")] == ["done", "kept"]


@pytest.mark.parametrize("task", [DETECTION, LANDMARKS], ids=lambda task: task.name)
def test_kept_records_give_the_figures_to_the_digit(task: MeasuredTask, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)

    def a_record(number: int) -> object:
        boxes = np.cumsum(rng.uniform(1, 40, (3, 4)), axis=1).astype(np.float32)
        if task is DETECTION:
            found = Detections(boxes + rng.normal(0, 2, (3, 4)), np.sort(rng.random(3))[::-1], np.array([0, 1, 2]))
            truth = GroundTruth(boxes, np.array([0, 1, 2]), np.array([False, False, number == 1]))
            return EvaluatedFrame(f"{number}", found, truth, SIZE, "night" if number % 2 else None)
        labels = rng.uniform(0, 60, (3, 68, 2)).astype(np.float32)
        faces = Landmarks(labels + rng.normal(0, 1, labels.shape), rng.random((3, 68)), boxes)
        settings = LandmarkPostprocessConfig(spread_factor=1 / 3)
        return FaceRecord(f"{number}", faces, labels, rng.random((3, 68)) < 0.9, settings, "a" if number else None)

    run = OfflineRun(
        [a_record(number) for number in range(4)], [("scene", "x"), ("run", 3)], {"total": [0.1, 1 / 3]}, 2
    )
    given = {"workers": 1, "ray": None, "fates": str(tmp_path / "told.json"), "resume": True}
    (tmp_path / "a.mcap").touch()
    results = []
    for _ in range(2):
        done, _ = many.run_bags(
            Namespace(**given),
            lambda *_: ("seen", run),
            [Bag(str(tmp_path / "a.mcap"))],
            GenericAlias(OfflineRun, (task.record,)),
        )
        results += [outcome.result for outcome in done.values()]
    assert fates(tmp_path / "told.json") == {"": "kept"}
    first, kept = results
    assert kept is not first
    assert (kept.blocks, kept.stage_ms, kept.unlabelled) == (first.blocks, first.stage_ms, first.unlabelled)
    names = CLASS_NAMES if task is DETECTION else ("face",)
    figures = [json.dumps(task.measure(each.frames, names).to_json()) for each in results]
    assert figures[0] == figures[1]


def test_evaluate_takes_up_what_is_kept_of_the_same_model_and_settings_alone(
    fleet: Path, model: Path, tmp_path: Path, exact: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, told = tmp_path / "figures.json", tmp_path / "told.json"

    def fate(*more: str) -> str:
        words = ["evaluate", "--data", fleet / "a", "--model", model, "--json", out, "--fates", told, "--resume"]
        assert main([str(word) for word in (*words, *exact, *more)]) == 0
        return fates(told)[""]

    assert fate() == "done"
    first = out.read_text()
    out.unlink()
    assert fate() == "kept"
    assert out.read_text() == first
    for changed in ("--input=96x128", "--telemetry-rows=1", "--class-map=person=ignore", "--precision=bf16"):
        assert fate(changed) == "done"
    assert fate() == "kept"
    assert out.read_text() == first
    network, info = load_model(model)
    thresholds = info.postprocess.model_copy(update={"class_thresholds": {"person": 0.9}})
    save_model(model, network, info.model_copy(update={"postprocess": thresholds}))
    assert [fate(), fate()] == ["done", "kept"]
    words = ["evaluate", "--model", model, "--resume", *exact, "--data"]
    assert "--fates" in refusal(capsys, *words, fleet / "a")
    assert "--resume" in refusal(capsys, *words, tmp_path / "set.json", "--fates", told)
    assert "--resume" in refusal(capsys, *words, fleet, "--run", tmp_path, "--fates", told)


def test_figures_of_many_bags_are_those_of_all_their_frames_in_one_process(
    fleet: Path, models: list[Path], tmp_path: Path, exact: list[str]
) -> None:
    out, told = tmp_path / "figures.json", tmp_path / "told.json"
    words = ["evaluate", "--data", fleet, "--model", models[0], "--json", out, "--fates", told, "--workers", 2, *exact]
    assert main([str(word) for word in words]) == 2
    figures = json.loads(out.read_text())
    model = Predictor(models[0], "cpu", "fp32", backend="torch", threads=1)
    samples = (sample for name in sorted(GOOD) for sample in select_frames(fleet / name, CLASS_NAMES).samples)
    with pytest.warns(match="cut short"):
        (run,) = run_in_turns([DETECTION.look_with(model, CLASS_NAMES)], samples, progress=False)
    document = json.loads(json.dumps(DETECTION.measure(run.frames, CLASS_NAMES, model.postprocess).to_json({})))
    expected = {key: value for key, value in document.items() if value is not None}
    assert expected["images"] == 6
    assert 0.1 < expected["map"] < 0.9
    assert {key: figures[key] for key in expected} == expected
    assert figures["bags"] == sorted(GOOD)
    assert [str(fleet / "cut") in line for line in figures["damage"]] == [True]
    assert fates(told) == dict.fromkeys(GOOD, "done") | dict.fromkeys(BAD, "failed")
    next((tmp_path / "told.json.kept").iterdir()).unlink()
    assert main([str(word) for word in (*words, "--resume", "--workers", "1")]) == 2
    assert sorted(fates(told).values()) == ["done", "failed", "failed", "kept", "kept"]
    times = {"ms_per_image": None}
    assert json.loads(out.read_text()) | times == figures | times


def test_info_tells_of_every_bag(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bag", "info", str(fleet / "a"), str(fleet / "deep*" / "*"), "--json", "--workers", "1"]) == 0
    assert [each["path"] for each in json.loads(capsys.readouterr().out)] == [str(fleet / "a"), str(fleet / "deeper/c")]


def test_info_is_kept_as_text_and_as_json(fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bag", "info", str(fleet / "a"), "--resume", "--fates", str(tmp_path / "told.json")]
    said = []
    for more, expected in (([], "done"), (["--json"], "done"), ([], "kept"), (["--json"], "kept")):
        assert main([*words, *more]) == 0
        assert fates(tmp_path / "told.json") == {"": expected}
        said.append(capsys.readouterr().out)
    assert said[:2] == said[2:]
    assert json.loads(said[1])["path"] == str(fleet / "a")


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray")
def test_a_ray_cluster_writes_the_same(
    fleet: Path, weights: Path, bag_by_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(repository), prepend=":")
    label_and_extract(fleet, weights, tmp_path / "many", ["--ray", "local"], ["--ray", "local"])
    for kind in ("labels", "sets"):
        assert files(tmp_path / "many" / kind) == files(bag_by_bag / kind)
        assert fates(tmp_path / "many" / kind / "fates.json") == dict.fromkeys(GOOD, "done") | dict.fromkeys(
            BAD, "failed"
        )


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an S3 server on the loopback."""
    for name in ("moto", "s3fs", "flask"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install 'moto[server]' s3fs")
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    fsspec.filesystem("s3").clear_instance_cache()
    fsspec.filesystem("s3").mkdir("fleet")
    yield "s3://fleet"
    server.stop()
    fsspec.filesystem("s3").clear_instance_cache()


def test_object_storage_gives_and_takes_the_same(
    bucket: str, fleet: Path, weights: Path, bag_by_bag: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import fsspec

    storage = fsspec.filesystem("s3")
    storage.put(str(fleet), f"{bucket}/bags", recursive=True)
    label_and_extract(f"{bucket}/bags", weights, f"{bucket}/out", ["--workers", "1"], ["--workers", "2"])
    storage.invalidate_cache()
    storage.get(f"{bucket}/out", str(tmp_path / "many"), recursive=True)
    for kind in ("labels", "sets"):
        assert files(tmp_path / "many" / kind) == files(bag_by_bag / kind)
        assert fates(tmp_path / "many" / kind / "fates.json") == dict.fromkeys(GOOD, "done") | dict.fromkeys(
            BAD, "failed"
        )
    said = capfd.readouterr().err
    assert f"{bucket}/bags/cut" in said
    assert "/tmp" not in said
