"""The ledger: rows side by side only where nothing but terms and seed differ."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import Field

from cgdet_core.config import Recipe, SourceConfig, TrainConfig, load_recipe
from cgdet_core.errors import InputError
from cgdet_core.evaluation import ledger
from cgdet_core.evaluation.ledger import (
    FORMER_DEFAULTS,
    measures_of,
    protocol_of,
    read_ledger,
    recipe_of_run,
    settings_in,
    settings_of,
    summarise,
)

REPOSITORY_LEDGER = Path(__file__).parents[3] / "docs" / "ledger.jsonl"


def figures(map50: float = 0.5) -> dict[str, Any]:
    return {
        "map50": map50,
        "map": map50 / 2,
        "per_class": {"person": {"map50": map50 + 0.1}, "car": {"map50": None}},
        "by_light": {"night": {"map50": 0.4}},
        "by_size": {"small": {"map50": 0.2}},
        "duplicates_per_object": {"all": 0.03},
        "misses_by_height": [
            {"from_px": 0, "to_px": 16, "truths": 10, "missed": 9},
            {"from_px": 16, "to_px": 32, "truths": 30, "missed": 6},
            {"from_px": 32, "to_px": 64, "truths": 50, "missed": 5},
            {"from_px": 64, "to_px": None, "truths": 10, "missed": 0},
        ],
        "confusion": {"matrix": [[50, 2, 8], [3, 25, 12], [4, 6, 0]]},
    }


def row(name: str, seed: int, map50: float, protocol: str = "p", pace: float | None = 30.0) -> dict[str, Any]:
    return {
        "name": name,
        "seed": seed,
        "protocol": protocol,
        "images": 100,
        "images_per_second": pace,
        "figures": figures(map50),
    }


def test_a_row_is_read_for_what_its_data_have() -> None:
    values = measures_of(row("baseline", 0, 0.5))
    assert values == pytest.approx(
        {
            "mAP50": 0.5,
            "mAP": 0.25,
            "night": 0.4,
            "small": 0.2,
            "duplicates": 0.03,
            "missed": 20 / 100,
            "missed < 32 px": 15 / 40,
            "confused": 5 / 80,
            "AP50 person": 0.6,
        }
    )


def test_differences_are_of_the_same_seed() -> None:
    scores = {"baseline": {0: 0.50, 1: 0.60, 2: 0.40}, "rcs": {2: 0.43, 0: 0.52, 7: 0.9}}
    rows = [row(name, seed, value) for name, seeds in scores.items() for seed, value in seeds.items()]
    (protocol,) = summarise(rows, "baseline").values()
    baseline, rcs = protocol
    assert baseline.seeds == (0, 1, 2)
    assert baseline.differences == {}
    assert baseline.measures["mAP50"].mean == pytest.approx(0.5)
    assert baseline.measures["mAP50"].deviation == pytest.approx(np.std([0.5, 0.6, 0.4], ddof=1))
    assert rcs.seeds == (0, 2, 7)
    assert rcs.measures["mAP50"].mean == pytest.approx((0.43 + 0.52 + 0.9) / 3)
    difference = rcs.differences["mAP50"]
    assert (difference.mean, difference.count) == (pytest.approx(0.025), 2)
    assert difference.error == pytest.approx(np.std([0.02, 0.03], ddof=1) / np.sqrt(2))
    assert rcs.differences["AP50 person"].mean == pytest.approx(0.025)


def test_the_time_of_a_crop_is_a_ratio_over_shared_seeds() -> None:
    rows = [row("baseline", 0, 0.5, pace=30), row("baseline", 1, 0.5, pace=24), row("baseline", 2, 0.5, pace=None)]
    rows += [row("rcs", 0, 0.5, pace=20), row("rcs", 1, 0.5, pace=20), row("rcs", 2, 0.5, pace=20)]
    (protocol,) = summarise(rows, "baseline").values()
    assert protocol[0].step_ratio == 1
    assert protocol[1].step_ratio == pytest.approx((1.5 + 1.2) / 2)


def test_a_recipe_without_the_reference_has_no_differences() -> None:
    (protocol,) = summarise([row("rcs", 0, 0.5)], "baseline").values()
    assert protocol[0].differences == {}
    assert protocol[0].step_ratio is None


def test_rows_of_different_protocols_stay_apart_and_the_last_row_of_a_seed_counts() -> None:
    rows = [row("baseline", 0, 0.5, "a"), row("rcs", 0, 0.6, "b"), row("baseline", 0, 0.7, "a")]
    found = summarise(rows, "baseline")
    assert list(found) == ["a", "b"]
    assert found["a"][0].measures["mAP50"].mean == pytest.approx(0.7)
    assert found["b"][0].differences == {}


def with_settings(**changes: Any) -> dict[str, Any]:
    """What a recipe as the first rows' settles with these changes."""
    return settings_of(Recipe.model_validate({"thermal": {"hot_limit_spans": None}, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"seed": 9, "workers": 0, "device": "cpu", "threads": 1, "tensorboard": False, "cache_mb": 1}},
        {"contrast": {"weight": 1.0, "temperature": 0.5}},
        {"guidance": {"weight": 1.0, "teacher": {"path": "a.safetensors"}}},
        {"injection": {"forward_weight": 1.0, "reverse_weight": 0.5, "sure_score": 0.1}},
        {"model": {"head_width": 64}, "train": {"weight_decay": 0.03}},
    ],
)
def test_terms_seed_machine_and_defaults_said_aloud_do_not_change_the_protocol(changes: dict[str, Any]) -> None:
    assert with_settings(**changes) == {}
    assert protocol_of(with_settings(**changes), "start") == protocol_of(with_settings(), "start")


@pytest.mark.parametrize(
    ("changes", "settled"),
    [
        ({"train": {"images": 99}}, {"train.images": 99}),
        ({"train": {"learning_rate": 0.5}}, {"train.learning_rate": 0.5}),
        ({"augment": {"sensor": {"probability": 0.1}}}, {"augment.sensor.probability": 0.1}),
        ({"sources": [{"path": "a.json"}]}, {"sources.0.path": "a.json"}),
        (
            {"sources": [{"path": "a.json", "weight": 2}, {"path": "b.json", "class_map": {"bus": "car"}}]},
            {
                "sources.0.path": "a.json",
                "sources.0.weight": 2,
                "sources.1.path": "b.json",
                "sources.1.class_map": {"bus": "car"},
            },
        ),
        ({"model": {"widths": [8, 8, 8, 8, 8]}}, {"model.widths": [8, 8, 8, 8, 8]}),
        (
            {"thermal": {"raw_range": [0, 9], "hot_limit_spans": 1.0}},
            {"thermal.raw_range": [0, 9], "thermal.hot_limit_spans": 1.0},
        ),
        ({"loss": {"assigner": {"top_k": 3}}}, {"loss.assigner.top_k": 3}),
    ],
)
def test_anything_else_is_settled_by_the_row_and_changes_the_protocol(
    changes: dict[str, Any], settled: dict[str, Any]
) -> None:
    assert with_settings(**changes) == settled
    assert json.loads(json.dumps(settled)) == settled
    assert protocol_of(with_settings(**changes), "start") != protocol_of(with_settings(), "start")


def test_start_and_judge_belong_to_the_protocol() -> None:
    ways = [("start", None), ("other", None), (None, None), ("start", "a.json"), ("start", "b.json")]
    assert len({protocol_of({}, init, judged_on) for init, judged_on in ways}) == len(ways)


def test_a_key_that_the_schema_gains_leaves_protocols_as_they_are() -> None:
    class LaterSource(SourceConfig):
        mirrored: bool = False

    class LaterTrain(TrainConfig):
        momentum: float = Field(0.9, ge=0)

    class LaterRecipe(Recipe):
        train: LaterTrain = LaterTrain()
        sources: tuple[LaterSource, ...] = ()
        extra: int = 3

    mapping = {"train": {"images": 99}, "sources": [{"path": "a.json"}]}
    assert settings_of(LaterRecipe.model_validate(mapping)) == settings_of(Recipe.model_validate(mapping))
    mapping["train"]["momentum"] = 0.5  # type: ignore[index, call-overload]
    assert settings_of(LaterRecipe.model_validate(mapping))["train.momentum"] == 0.5


def test_a_default_that_has_changed_is_told_apart_by_the_former_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "FORMER_DEFAULTS", {**FORMER_DEFAULTS, "loss.box_weight": 5.0, "sources.*.every": 2})
    told = with_settings(sources=[{"path": "a"}])
    assert told == {"loss.box_weight": 7.5, "sources.0.path": "a", "sources.0.every": 1}
    assert with_settings(loss={"box_weight": 5}) == {}


def test_defaults_are_those_that_the_rows_were_hashed_with() -> None:
    """Where this fails a default has changed: put the old one into FORMER_DEFAULTS; never change the file beside."""
    known = json.loads((Path(__file__).parent / "ledger_defaults.json").read_text())
    recipe = Recipe.model_validate({"sources": [{"path": "a.json"}]})
    now = {each.schema_key: each.default for each in settings_in(recipe) if not each.required}
    changed = {key: (known[key], now[key]) for key in known if key in now and known[key] != now[key]}
    assert changed == {}
    assert set(FORMER_DEFAULTS) <= set(now)


def test_a_newer_key_whose_default_trains_otherwise_makes_another_protocol_of_a_run_with_it() -> None:
    assert settings_of(Recipe.model_validate({"thermal": {"hot_limit_spans": None}})) == {}
    assert settings_of(Recipe()) == {"thermal.hot_limit_spans": 1.0}


def test_a_run_that_does_not_state_a_newer_key_was_trained_before_it(tmp_path: Path) -> None:
    for name, thermal in (("older", "{low_percentile: 0.5}"), ("newer", "{hot_limit_spans: 2.0}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(f"thermal: {thermal}\ntrain: {{images: 99}}\n")
    assert recipe_of_run(tmp_path / "older").thermal.hot_limit_spans is None
    assert settings_of(recipe_of_run(tmp_path / "older")) == {"train.images": 99}
    assert recipe_of_run(tmp_path / "newer").thermal.hot_limit_spans == 2
    with pytest.raises(InputError, match=r"recipe\.yaml: cannot be read"):
        recipe_of_run(tmp_path)


def test_the_command_of_the_page_makes_rows_of_the_protocol_of_its_table() -> None:
    """docs/does_rgb_help.md, from scratch."""
    page = (REPOSITORY_LEDGER.parent / "does_rgb_help.md").read_text(encoding="utf-8")
    command = re.search(r"    python benchmarks/paired_runs\.py (.*?--init none.*?)\n\n", page, re.DOTALL)
    assert command is not None
    words = [word for word in shlex.split(command[1].replace("\\\n", " ")) if re.match(r"[a-z_]+\.[a-z_.]+=", word)]
    recipe = load_recipe(REPOSITORY_LEDGER.parents[1] / "config" / "recipes" / "start.yaml", words)
    for judged_on in ("msrs/thermal_train.json", "bdd_rgb/val.json"):
        protocol = protocol_of(settings_of(recipe), None, judged_on)
        assert f"--against start --protocol {protocol} " in page
        assert sum(row["protocol"] == protocol for row in read_ledger(REPOSITORY_LEDGER)) >= 7


def test_the_rows_of_the_repository_are_grouped_by_what_they_settle() -> None:
    rows = read_ledger(REPOSITORY_LEDGER)
    for each in rows:
        assert each["protocol"] == protocol_of(each["settings"], each["init"], each["judged_on"]), each["name"]
        assert not any(key.startswith(("contrast.", "guidance.", "injection.")) for key in each["settings"])
    # the 29 first rows, as they were compared before a row said what it settles
    counts = [0] * len(dict.fromkeys(each["protocol"] for each in rows))
    for each in rows[:29]:
        counts[list(dict.fromkeys(row["protocol"] for row in rows)).index(each["protocol"])] += 1
    assert counts[:5] == [19, 4, 1, 4, 1]
    assert {each["name"] for each in rows[:19]} >= {"baseline", "rcs", "cms", "cgdet", "cgdet_shuffled"}


def test_a_line_that_is_no_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    good = json.dumps(row("baseline", 0, 0.5))
    for bad in ("{", "[]", '{"name": "a"}', "7", good.replace("map50", "map51")):
        path.write_text(f"{good}\n{bad}\n", encoding="utf-8")
        with pytest.raises(InputError, match=r"ledger\.jsonl: line 2"):
            read_ledger(path)
    path.write_text(good + "\n", encoding="utf-8")
    assert read_ledger(path) == [row("baseline", 0, 0.5)]
    with pytest.raises(InputError, match="missing"):
        read_ledger(tmp_path / "missing.jsonl")
