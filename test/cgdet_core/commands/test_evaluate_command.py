"""`cgdet evaluate` and `cgdet info` as they are typed: figures of sets and bags, and what a model file holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.data.bags.damage import BagWarning
from cgdet_core.runtime.model_file import load_model, save_model


@pytest.fixture
def bag(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["bag", "make", "--coco", str(coco), "--out", str(tmp_path / "bag")]) == 0
    capsys.readouterr()
    return tmp_path / "bag"


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_place_that_cannot_be_a_folder_is_named_before_the_work(
    out: str, model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    assert "file" in refusal(capsys, "detect", coco.parent, "--out", tmp_path / out, "--model", model)
    for option in ("--json", "--report"):
        words = ["evaluate", "--data", coco, "--model", model, option]
        assert "file" in refusal(capsys, *words, tmp_path / "file" / "x.html")
        assert "is a folder" in refusal(capsys, *words, coco.parent)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("sources: [{path: nowhere.json}]\n")
    # the place is refused before the missing data are
    line = refusal(capsys, "train", recipe, "--data", tmp_path, "--out", tmp_path / out)
    assert "nowhere" not in line
    assert (tmp_path / "file").read_text() == "kept"


def test_a_set_of_own_classes_is_evaluated_alike_as_itself_as_a_bag_and_as_what_is_extracted_of_that(
    models: list[Path], coco: Path, tmp_path: Path, exact: list[str]
) -> None:
    document = json.loads(coco.read_text())
    document["categories"] = [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}, {"id": 9, "name": "car"}]
    coco.write_text(json.dumps(document))
    assert main(["bag", "make", "--coco", str(coco), "--out", str(tmp_path / "own")]) == 0
    assert main(["bag", "extract", str(tmp_path / "own"), "--out", str(tmp_path / "again")]) == 0
    figures = []
    for number, data in enumerate((coco, tmp_path / "own", tmp_path / "again" / "set.json")):
        out = tmp_path / f"{number}.json"
        assert main(["evaluate", "--data", str(data), "--model", str(models[2]), "--json", str(out), *exact]) == 0
        figures.append({key: json.loads(out.read_text())[key] for key in ("map", "map50", "per_class", "images")})
    assert figures[0] == figures[1] == figures[2]
    assert {name: row["truths"] for name, row in figures[0]["per_class"].items()} == {"cat": 6, "dog": 0, "car": 0}


def test_evaluate_gives_the_figures_that_the_design_names_and_a_page(
    model: Path, coco: Path, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], exact: list[str]
) -> None:
    page, of_bag = tmp_path / "page.html", tmp_path / "bag.json"
    words = ["evaluate", "--data", str(coco), "--model", str(model), "--report", str(page), *exact]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {page}"
    assert "<img" in page.read_text()
    assert main([*words, "--json", "-"]) == 0
    figures = json.loads(capsys.readouterr().out)
    for key in ("map", "map50", "map75", "per_class", "by_size", "by_light", "duplicates_per_object"):
        assert key in figures
    assert figures["images"] == 6
    assert figures["params"] == sum(p.numel() for p in load_model(model)[0].parameters())
    assert figures["model_bytes"] == model.stat().st_size
    assert set(figures["ms_per_image"]) == {"p50", "p95", "p99"}
    # a bag of the set is evaluated like the set
    assert main(["evaluate", "--data", str(bag), "--model", str(model), "--json", str(of_bag), *exact]) == 0
    again = json.loads(of_bag.read_text())
    for key in ("map", "map50", "per_class", "images", "truths"):
        assert figures[key] == again[key]


def test_info_tells_what_the_file_holds(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    detector, info = load_model(model)
    assert facts["parameters"] == info.parameters
    assert facts["model"]["class_names"] == ["person", "bicycle", "car"]
    assert main(["info", str(model)]) == 0
    text = capsys.readouterr().out
    assert "person, bicycle, car" in text
    assert "labels alone" in text
    identities = {"init": "start.safetensors sha256:ab", "teacher": "yolox nano.safetensors sha256:cd"}
    save_model(tmp_path / "taught", detector, info.model_copy(update={"training": info.training | identities}))
    (tmp_path / "taught").rename(tmp_path / "taught.safetensors")
    assert main(["info", str(tmp_path / "taught.safetensors")]) == 0
    text = capsys.readouterr().out
    assert all(identity in text for identity in identities.values())


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_of_a_cut_bag_the_whole_chunks_are_evaluated_and_the_figures_say_so(
    model: Path, bag: Path, tmp_path: Path, command: str, exact: list[str]
) -> None:
    (storage,) = bag.glob("*.mcap")
    storage.write_bytes(storage.read_bytes()[:-20])
    models = ["--model", model] if command == "evaluate" else [model, model, "--resamples", 100]
    words = [command, *models, "--data", bag, "--json", tmp_path / "figures.json", *exact]
    with pytest.warns(BagWarning):
        assert main([str(word) for word in words]) == 0
    (damage,) = json.loads((tmp_path / "figures.json").read_text())["damage"]
    assert storage.name in damage


def test_what_cannot_be_evaluated_is_named(
    model: Path, coco: Path, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], exact: list[str]
) -> None:
    words = ["evaluate", "--model", model, *exact]
    assert "nowhere" in refusal(capsys, *words, "--data", tmp_path / "nowhere")
    assert "nowhere" in refusal(capsys, "bag", "info", tmp_path / "nowhere")
    line = refusal(capsys, *words, "--data", bag, "--topic", "/nothing")
    assert "/nothing" in line
    assert "/thermal/image_raw" in line
    document = json.loads(coco.read_text())
    document["categories"].append({"id": 4, "name": "tram"})
    document["annotations"].append({**document["annotations"][0], "category_id": 4})
    coco.write_text(json.dumps(document))
    words += ["--data", coco]
    assert "'tram'" in refusal(capsys, *words)
    words += ["--class-map", "tram=ignore"]
    assert main([str(word) for word in words]) == 0
    (coco.parent / "00100.png").unlink()
    assert "00100.png" in refusal(capsys, *words)
    model.write_bytes(model.read_bytes()[:-100])
    assert "model.safetensors" in refusal(capsys, *words)
    assert "model.safetensors" in refusal(capsys, "info", model)
