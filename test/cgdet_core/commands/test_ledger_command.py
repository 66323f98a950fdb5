"""`cgdet ledger` as it is typed, over real runs of a few crops."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from refusing import refusal

from cgdet_core.cli import main

RECIPE = """
model: {widths: [8, 8, 16, 16, 16], head_width: 8, input_height_width_px: [64, 96]}
train: {images: 4, batch_size: 2, workers: 0, threads: 1, device: cpu, tensorboard: false}
augment: {crop_px: 64}
sources: [{path: small.json, hold_out_fold: 0}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames of seven blocks with a person in each, a recipe, and the runs a0, a1 (seeds 0, 1) and whole."""
    folder = tmp_path_factory.mktemp("ledger")
    images, annotations = [], []
    for number in range(7):
        frame = np.random.default_rng(number).integers(20, 60, (64, 96)).astype(np.uint8)
        frame[10:40, 20:32] = 220
        name = f"{number * 50:05d}.png"
        cv2.imwrite(str(folder / name), frame)
        images.append({"id": number, "file_name": name, "height": 64, "width": 96})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [20, 10, 12, 30]})
    categories = [{"id": 1, "name": "person"}]
    (folder / "small.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    (folder / "recipe.yaml").write_text(RECIPE)
    words = ["train", str(folder / "recipe.yaml"), "--data", str(folder), "--out"]
    assert main([*words, str(folder / "a0")]) == 0
    assert main([*words, str(folder / "a1"), "train.seed=1"]) == 0
    assert main([*words, str(folder / "whole"), "sources.0.hold_out_fold=null"]) == 0
    return folder


def test_runs_become_rows_once_and_are_shown_side_by_side(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    assert main(["ledger", "add", str(ledger), f"baseline={folder / 'a0'}", f"baseline={folder / 'a1'}"]) == 0
    before = ledger.read_bytes()
    assert main(["ledger", "add", str(ledger), f"baseline={folder / 'a1'}"]) == 0
    assert "already" in capsys.readouterr().out
    assert ledger.read_bytes() == before
    rows = [json.loads(line) for line in before.splitlines()]
    assert [(row["name"], row["seed"], row["images"]) for row in rows] == [("baseline", 0, 4), ("baseline", 1, 4)]
    assert rows[0]["protocol"] == rows[1]["protocol"]
    assert rows[0]["held_out"] == {"small.json": 0}
    assert rows[0]["figures"] == json.loads((folder / "a0" / "held_out.json").read_text())
    assert rows[0]["contrast"] is rows[0]["guidance"] is rows[0]["injection"] is None

    assert main(["ledger", "show", str(ledger)]) == 0
    shown = capsys.readouterr().out
    assert f"protocol {rows[0]['protocol']}: 4 crops, start none, held out: small.json fold 0" in shown
    assert "| baseline | 0 1 |" in shown
    assert main(["ledger", "show", str(ledger), "--json", "-"]) == 0
    ((protocol, (summary,)),) = json.loads(capsys.readouterr().out).items()
    assert protocol == rows[0]["protocol"]
    assert summary["measures"]["mAP50"]["mean"] == pytest.approx(np.mean([row["figures"]["map50"] for row in rows]))


def test_a_row_of_a_former_protocol_is_put_right_in_its_place(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    runs = [f"baseline={folder / 'a0'}", f"baseline={folder / 'a1'}"]
    assert main(["ledger", "add", str(ledger), *runs]) == 0
    good = ledger.read_text()
    first, second = (json.loads(line) for line in good.splitlines())
    former = {key: value for key, value in first.items() if key != "settings"} | {"protocol": "01234567"}
    ledger.write_text(json.dumps(former) + "\n" + json.dumps(second) + "\n")
    capsys.readouterr()
    assert main(["ledger", "add", str(ledger), *runs]) == 0
    assert f"its protocol was 01234567, is {first['protocol']}" in capsys.readouterr().out
    assert [json.loads(line) for line in ledger.read_text().splitlines()] == [first, second]


@pytest.fixture(scope="module")
def foreign(folder: Path) -> Path:
    """The set of another camera beside the one that was trained on, by which a0 and a1 are judged (foreign.json)."""
    other = folder / "other"
    other.mkdir()
    truth = json.loads((folder / "small.json").read_text())
    for image in truth["images"]:
        (other / image["file_name"]).write_bytes((folder / image["file_name"]).read_bytes())
    (other / "street.json").write_text(json.dumps(truth))
    for run in ("a0", "a1"):
        words = ["evaluate", "--model", str(folder / run / "model.safetensors"), "--data", str(other / "street.json")]
        assert main([*words, "--json", str(folder / run / "foreign.json")]) == 0
    return other


def test_runs_judged_on_a_set_they_never_saw_are_rows_of_a_protocol_of_their_own(
    folder: Path, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    runs = [f"baseline={folder / name}" for name in ("a0", "a1")]
    assert main(["ledger", "add", str(ledger), *runs]) == 0
    assert main(["ledger", "add", str(ledger), *runs, "--figures", "foreign.json"]) == 0
    assert main(["ledger", "add", str(ledger), *runs, "--figures", "foreign.json"]) == 0
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [row["judged_on"] for row in rows] == [None, None, "other/street.json", "other/street.json"]
    assert rows[0]["protocol"] == rows[1]["protocol"] != rows[2]["protocol"] == rows[3]["protocol"]
    assert rows[2]["figures"]["images"] == 7
    capsys.readouterr()
    assert main(["ledger", "show", str(ledger)]) == 0
    assert (
        f"protocol {rows[2]['protocol']}: 4 crops, start none, judged on other/street.json" in capsys.readouterr().out
    )


def test_figures_of_another_model_or_of_the_training_set_do_not_judge_a_run(
    folder: Path, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, figures = tmp_path / "ledger.jsonl", folder / "a0" / "swapped.json"
    words = ["ledger", "add", ledger, f"baseline={folder / 'a0'}", "--figures", "swapped.json"]
    assert "swapped.json" in refusal(capsys, *words)
    figures.write_bytes((folder / "a1" / "foreign.json").read_bytes())
    assert "is not about" in refusal(capsys, *words)
    own = json.loads((folder / "a0" / "foreign.json").read_text()) | {"data": str(folder / "small.json")}
    figures.write_text(json.dumps(own))
    assert "which the run trains on" in refusal(capsys, *words)
    assert not ledger.exists()


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("baseline", "'baseline'"),
        ("=a0", "'=a0'"),
        ("baseline=", "'baseline='"),
        ("baseline=none", "recipe.yaml"),
        ("baseline=whole", "held_out.json"),
    ],
)
def test_what_is_no_finished_run_is_one_line_and_nothing_is_added(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, named: str
) -> None:
    name, equals, run = word.partition("=")
    word = f"{name}{equals}{folder / run}" if run and name else word
    ledger = tmp_path / "ledger.jsonl"
    assert named in refusal(capsys, "ledger", "add", ledger, f"baseline={folder / 'a0'}", word)
    assert not ledger.exists()


def test_a_ledger_that_is_missing_or_empty_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").touch()
    for name in ("empty.jsonl", "none.jsonl"):
        assert name in refusal(capsys, "ledger", "show", tmp_path / name)


def test_only_the_protocol_recipes_and_columns_asked_for_are_shown(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    assert main(["ledger", "add", str(ledger), f"baseline={folder / 'a0'}", f"other={folder / 'a1'}"]) == 0
    (protocol, _) = (json.loads(line)["protocol"] for line in ledger.read_text().splitlines())
    capsys.readouterr()
    words = ["ledger", "show", str(ledger), "--protocol", protocol]
    assert main([*words, "--recipes", "other", "--columns", "AP50 person", "time", "mAP"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "| recipe | seeds | AP50 person | time ↓ | mAP |"
    assert [line.split(" | ")[:2] for line in lines[3:] if line] == [["| other", "1"]]
    for wrong in (["--protocol", "01234567"], ["--recipes", "third"], ["--columns", "mAP51"]):
        assert wrong[1] in refusal(capsys, *words, *wrong)


def test_the_tables_of_the_page_are_those_of_the_ledger() -> None:
    """Where this fails, rows were added since: python benchmarks/does_rgb_help.py"""
    root = Path(__file__).parents[3]
    spec = importlib.util.spec_from_file_location("does_rgb_help", root / "benchmarks" / "does_rgb_help.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = (root / "docs" / "does_rgb_help.md").read_text(encoding="utf-8")
    assert page.count("<!-- cgdet ledger show") == page.count("<!-- end -->") > 3
    assert script.with_tables(page, root / "docs" / "ledger.jsonl") == page
