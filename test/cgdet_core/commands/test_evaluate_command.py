"""`cgdet evaluate` and `cgdet info` as they are typed: figures of sets and bags, and what a model file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.data.bags.damage import DamagedBagWarning
from cgdet_core.runtime.model_file import load_model, save_model


def edit(path: Path, change: Any) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_place_that_cannot_be_a_folder_is_named_before_the_work(
    out: str, model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    assert "file" in refusal(capsys, "detect", coco.parent, "--out", tmp_path / out, "--model", model)
    for option in ("--json", "--report"):
        words = ["evaluate", "--data", coco, "--model", model, option, tmp_path / "file" / "x.html"]
        assert "file" in refusal(capsys, *words)
        assert "is a folder" in refusal(capsys, *words[:-1], coco.parent)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("sources: [{path: nowhere.json}]\n")
    # the place is refused before the missing data are
    line = refusal(capsys, "train", recipe, "--data", tmp_path, "--out", tmp_path / out)
    assert "nowhere" not in line
    assert (tmp_path / "file").read_text() == "kept"


def test_evaluate_writes_the_figures_that_the_design_names(model: Path, coco: Path, tmp_path: Path) -> None:
    figures_path, page = tmp_path / "figures.json", tmp_path / "page.html"
    words = ["evaluate", "--data", coco, "--model", model, "--json", figures_path, "--report", page]
    assert main([str(word) for word in words]) == 0
    figures = json.loads(figures_path.read_text())
    for key in ("map", "map50", "map75", "per_class", "by_size", "by_light", "duplicates_per_object"):
        assert key in figures
    assert figures["images"] == 3
    assert figures["params"] == sum(p.numel() for p in load_model(model)[0].parameters())
    assert figures["model_bytes"] == model.stat().st_size
    assert set(figures["ms_per_image"]) == {"p50", "p95", "p99"}
    assert "<img" in page.read_text()


def test_evaluate_says_where_its_report_lies_and_keeps_figures_on_standard_output_apart(
    model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--data", str(coco), "--model", str(model), "--report", str(tmp_path / "page.html")]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {tmp_path / 'page.html'}"
    assert main([*words, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3


def test_a_bag_of_a_set_evaluates_like_the_set(model: Path, coco: Path, tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    assert main(["bag", "make", "--coco", str(coco), "--out", str(bag)]) == 0
    for data in (coco, bag):
        assert main(["evaluate", "--data", str(data), "--model", str(model), "--json", f"{data}.figures"]) == 0
    of_set, of_bag = (json.loads(Path(f"{data}.figures").read_text()) for data in (coco, bag))
    for key in ("map", "map50", "per_class", "images", "truths"):
        assert of_set[key] == of_bag[key]


def test_info_tells_what_the_file_holds(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    _, info = load_model(model)
    assert facts["parameters"] == info.parameters
    assert facts["model"]["class_names"] == ["person", "bicycle", "car"]
    assert main(["info", str(model)]) == 0
    text = capsys.readouterr().out
    assert "person, bicycle, car" in text
    assert "taught by     labels alone" in text


def test_info_tells_with_what_a_model_began_and_by_whom_it_was_taught(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector, info = load_model(model)
    identities = {
        "init": "start.safetensors sha256:" + "ab" * 32,
        "teacher": "yolox nano.safetensors sha256:" + "cd" * 32,
    }
    taught = tmp_path / "taught.safetensors"
    save_model(taught, detector, info.model_copy(update={"training": info.training | identities}))
    assert main(["info", str(taught)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "began with    start.safetensors sha256:" + "ab" * 8 in lines
    assert "taught by     yolox nano.safetensors sha256:" + "cd" * 8 in lines


def test_a_missing_set_or_bag_is_named(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere" in refusal(capsys, "evaluate", "--data", tmp_path / "nowhere", "--model", model)
    assert "nowhere" in refusal(capsys, "bag", "info", tmp_path / "nowhere")


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_of_a_cut_bag_the_whole_chunks_are_evaluated_and_the_figures_say_so(
    model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    bag = tmp_path / "bag"
    assert main(["bag", "make", "--coco", str(coco), "--out", str(bag)]) == 0
    (storage,) = bag.glob("*.mcap")
    storage.write_bytes(storage.read_bytes()[:-20])
    capsys.readouterr()
    models = ["--model", str(model)] if command == "evaluate" else [str(model), str(model)]
    with pytest.warns(DamagedBagWarning):
        assert main([command, *models, "--data", str(bag), "--json", str(tmp_path / "figures.json")]) == 0
    (damage,) = json.loads((tmp_path / "figures.json").read_text())["damage"]
    assert storage.name in damage


def test_a_topic_that_the_bag_lacks_is_named_with_those_it_has(
    model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = tmp_path / "bag"
    assert main(["bag", "make", "--coco", str(coco), "--out", str(bag)]) == 0
    capsys.readouterr()
    line = refusal(capsys, "evaluate", "--data", bag, "--model", model, "--topic", "/nothing")
    assert "/nothing" in line
    assert "/thermal/image_raw" in line


def test_an_unknown_category_and_a_missing_image_are_named(
    model: Path, coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(coco, lambda document: document["categories"].append({"id": 4, "name": "tram"}))
    assert "'tram'" in refusal(capsys, "evaluate", "--data", coco, "--model", model)
    assert main(["evaluate", "--data", str(coco), "--model", str(model), "--class-map", "tram=ignore"]) == 0
    (coco.parent / "00002.png").unlink()
    line = refusal(capsys, "evaluate", "--data", coco, "--model", model, "--class-map", "tram=ignore")
    assert "00002.png" in line


def test_a_model_file_cut_short_is_named(model: Path, coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.write_bytes(model.read_bytes()[:-100])
    assert "model.safetensors" in refusal(capsys, "evaluate", "--data", coco, "--model", model)
    assert "model.safetensors" in refusal(capsys, "info", model)
