"""`cgdet compare` as it is typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.files import sha256_of
from cgdet_core.runtime.model_file import load_model, save_model
from cgdet_core.tasks.detection.head import DetectionNetwork


def test_a_comparison_gives_a_verdict_all_figures_and_a_page(
    models: list[Path],
    label_by: Callable[[Path], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    exact: list[str],
) -> None:
    a, b, _ = models
    coco, out, page = label_by(a), tmp_path / "comparison.json", tmp_path / "new" / "comparison.html"
    words = ["compare", a, b, "--data", coco, "--json", out, "--report", page, "--resamples", 150, *exact]
    assert main([str(word) for word in words]) == 0
    printed = capsys.readouterr().out
    figures = json.loads(out.read_text())
    assert printed.startswith(figures["words"])
    assert printed.startswith("B is worse than A: mAP -")
    assert figures["overall"]["map50"]["a"] > 0.1
    assert (figures["images"], figures["blocks"], figures["resamples"], figures["seed"]) == (6, 6, 150, 0)
    assert set(figures["overall"]) == {"map", "map50", "duplicates_per_object"}
    assert set(figures["per_class"]) == {"person", "bicycle", "car"}
    assert set(figures["by_light"]) == {"day", "night"}
    for letter, path in (("a", a), ("b", b)):
        # the same figures as by the other command
        one = ["evaluate", "--data", coco, "--model", path, "--json", tmp_path / "one.json", *exact]
        assert main([str(word) for word in one]) == 0
        alone = json.loads((tmp_path / "one.json").read_text())
        assert figures["models"][letter]["model_sha256"] == sha256_of(path)
        assert figures["overall"]["map50"][letter] == pytest.approx(alone["map50"], abs=1e-12)
        duplicates = alone["duplicates_per_object"]["all"]
        assert figures["overall"]["duplicates_per_object"][letter] == pytest.approx(duplicates)
    times = [figures["models"][letter]["ms_per_image"]["p50"] for letter in "ab"]
    assert figures["ms_ratio"] == pytest.approx(times[1] / times[0])
    html = page.read_text()
    assert figures["words"].split(",")[0] in html
    assert "Where B is worse than A" in html
    assert "Model B: b.safetensors" in html
    assert html.count("data:image/jpeg;base64,") % 2 == 0


def test_a_model_beside_itself_over_a_bag_cut_into_runs(
    models: list[Path], coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], exact: list[str]
) -> None:
    bag, same = tmp_path / "bag", models[0]
    assert main(["bag", "make", "--coco", str(coco), "--out", str(bag)]) == 0
    capsys.readouterr()
    for data, blocks in ((coco, 6), (bag, 1)):
        words = ["compare", same, same, "--data", data, "--json", "-", "--resamples", 100, *exact]
        assert main([str(word) for word in words]) == 0
        figures = json.loads(capsys.readouterr().out)
        assert (figures["verdict"], figures["images"], figures["blocks"]) == ("no difference shown", 6, blocks)
        bounds = [figures["overall"]["map"][key] for key in ("difference", "low", "high")]
        assert bounds == ([0, 0, 0] if blocks > 1 else [0, None, None])


def test_models_of_other_classes_are_compared_by_those_that_both_know(
    models: list[Path],
    label_by: Callable[[Path], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    exact: list[str],
) -> None:
    a, _, animals = models
    coco = label_by(animals)  # classes 1, 2, 3 of the file: cat, dog, car of the model
    document = json.loads(coco.read_text())
    cars = [each for each in document["annotations"] if each["category_id"] == 3]
    assert cars
    mapping = ["--class-map", "person=background", "bicycle=background"]
    words = ["compare", animals, a, "--data", coco, *mapping, "--resamples", 100, "--json", "-", *exact]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr()
    assert "compared by what both models know: car\n" in said.err
    figures = json.loads(said.out)
    assert set(figures["per_class"]) == {"car"}
    alone = coco.with_name("cars.json")  # the same by a model of this class alone
    alone.write_text(json.dumps({**document, "annotations": cars, "categories": [{"id": 3, "name": "car"}]}))
    for letter, path in (("a", animals), ("b", a)):
        words = ["evaluate", "--data", alone, "--model", path, "--json", tmp_path / "f", *exact]
        assert main([str(word) for word in words]) == 0
        of_cars = json.loads((tmp_path / "f").read_text())["per_class"]["car"]
        assert figures["per_class"]["car"]["map"][letter] == pytest.approx(of_cars["map"])


def test_what_cannot_be_compared_is_refused_in_one_line(
    models: list[Path], coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], exact: list[str]
) -> None:
    a, b, _ = models
    _, info = load_model(a)
    other = info.model.model_copy(update={"class_names": ("cat", "dog", "lorry")})
    save_model(tmp_path / "other.safetensors", DetectionNetwork(other), info.model_copy(update={"model": other}))
    empty = coco.with_name("empty.json")
    empty.write_text(json.dumps({**json.loads(coco.read_text()), "annotations": []}))
    for words, named in (
        ([a, tmp_path / "other.safetensors", "--data", coco], "other.safetensors has cat, dog, lorry"),
        ([a, tmp_path / "nowhere.safetensors", "--data", coco], "nowhere.safetensors"),
        ([a, b, "--data", tmp_path / "nothing.json"], "nothing.json"),
        ([a, b, "--data", coco, "--resamples", 5], "resamples"),
        ([a, b, "--data", coco, "--json", tmp_path], "is a folder"),
        ([a, b, "--data", coco, "--report", tmp_path], "is a folder"),
        ([a, b, "--data", empty], "none of the 6 frames"),
    ):
        assert named in refusal(capsys, "compare", *words, *exact)
