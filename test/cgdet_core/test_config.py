"""Settings: every wrong key or value is one line that names the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgdet_core.config import PostprocessConfig, Recipe, load_recipe, load_stages
from cgdet_core.errors import InputError


def recipe_of(folder: Path, text: str, *overrides: str) -> Recipe:
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return load_recipe(folder / "recipe.yaml", overrides)


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    assert recipe_of(tmp_path, "# nothing yet\n") == Recipe()
    recipe = recipe_of(tmp_path, "train: {batch_size: 4}\nmodel: {widths: [8, 16, 24, 32, 40]}\n")
    assert recipe.train.batch_size == 4
    assert recipe.model.widths == (8, 16, 24, 32, 40)
    assert recipe.train.learning_rate == Recipe().train.learning_rate
    assert recipe.augment == Recipe().augment


def test_words_of_the_command_line_lie_over_the_file(tmp_path: Path) -> None:
    recipe = recipe_of(
        tmp_path,
        "train: {batch_size: 4, seed: 7}\nloss:\n",
        "train.batch_size=2",
        "train.learning_rate=2e-3",
        "loss.assigner.top_k=3",
        "augment.scale_range=[0.5, 2]",
        "thermal.raw_range=null",
        "sources=[{path: a.json, class_map: {van: car}}]",
        "train.batch_size=6",
    )
    assert (recipe.train.batch_size, recipe.train.seed, recipe.train.learning_rate) == (6, 7, 0.002)
    assert recipe.loss.assigner.top_k == 3
    assert recipe.augment.scale_range == (0.5, 2.0)
    assert recipe.thermal.raw_range is None
    assert recipe.sources[0].path == "a.json"
    assert recipe.sources[0].class_map == {"van": "car"}


def test_a_recipe_survives_being_written_and_read(tmp_path: Path) -> None:
    import yaml

    recipe = recipe_of(tmp_path, "sources: [{path: a.json, hold_out_fold: 2}]\nthermal: {raw_range: [100, 200]}\n")
    again = recipe_of(tmp_path, yaml.safe_dump(recipe.model_dump(mode="json")))
    assert again == recipe


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("trian: {}", "'trian'"),
        ("loss: {assigner: {topk: 4}}", "loss.assigner: unknown key 'topk'"),
        ("sources: [{path: a.json, wieght: 2}]", "sources.0: unknown key 'wieght'"),
        ("sources: [{weight: 2}]", "'sources.0.path'"),
        ("train: {batch_size: 4.5}", "'train.batch_size'"),
        ('train: {batch_size: "a\\nb"}', "'train.batch_size'"),
        ("train: {batch_size: 0}", "'train.batch_size'"),
        ("train: {precision: fp64}", "train.precision: unknown value"),
        ("train: {learning_rate: .nan}", "'train.learning_rate'"),
        ("train:", "'train'"),
        ("1: 2", "'1'"),
        ("model: {widths: [16, 32, 64, 128]}", "'model.widths"),
        ("model: {widths: [0, 32, 64, 128, 256]}", "'model.widths.0'"),
        ("model: {depths: [1, -1, 1, 1]}", "'model.depths.1'"),
        ("model: {class_names: [a, a]}", "'model.class_names'"),
        ("model: {class_names: [a, '']}", "'model.class_names'"),
        ("model: {input_height_width_px: [500, 640]}", "'model.input_height_width_px'"),
        ("thermal: {raw_range: [5, 5]}", "'thermal.raw_range'"),
        ("thermal: {low_percentile: 50}", "'thermal.low_percentile'"),
        ("augment: {crop_px: 100}", "'augment.crop_px'"),
        ("augment: {scale_range: [2, 1]}", "'augment.scale_range'"),
        ("postprocess: {class_thresholds: {person: 2}}", "'postprocess.class_thresholds.person'"),
    ],
)
def test_a_wrong_key_or_value_is_one_line_with_file_and_key(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(InputError) as caught:
        recipe_of(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "recipe.yaml") + ": ")
    assert key in message
    assert "\n" not in message


def test_a_file_that_is_no_mapping_in_yaml_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    texts = ("a: [", "\tx: 1", "x: 2020-13-45", "- 1\n- 2", "just words", "!!python/object:os.x {}")
    for content in (*(text.encode() for text in texts), b"\xff\xfe\x00\x80"):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            load_recipe(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    for missing in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InputError, match=str(missing)):
            load_recipe(missing)


@pytest.mark.parametrize(
    "override",
    [
        "train.batch_size",
        "train.batch_size.x=4",
        "train.seed=2020-13-45",
        "train.seed=[",
        "sources.0=1",
        "sources.path=a.json",
        "sources.-1.weight=1",
    ],
)
def test_an_override_that_cannot_be_laid_over_is_one_line_with_its_words(tmp_path: Path, override: str) -> None:
    with pytest.raises(InputError) as caught:
        recipe_of(tmp_path, "train: {batch_size: 4}\nsources: []", override)
    assert f"'{override}'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_in_an_override_is_a_place_in_a_list(tmp_path: Path) -> None:
    text = "sources: [{path: a.json}, {path: b.json, weight: 3}]\nmodel: {widths: [8, 16, 24, 32, 40]}\n"
    recipe = recipe_of(tmp_path, text, "sources.1.hold_out_fold=2", "model.widths.4=48", "sources.0.weight=5")
    assert [source.path for source in recipe.sources] == ["a.json", "b.json"]
    assert [source.weight for source in recipe.sources] == [5, 3]
    assert [source.hold_out_fold for source in recipe.sources] == [None, 2]
    assert recipe.model.widths == (8, 16, 24, 32, 48)


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    """The dash of the second source is forgotten, and the first one would be gone."""
    with pytest.raises(InputError, match=r"'path' stands twice.*line 2"):
        recipe_of(tmp_path, "sources:\n- path: a.json\n  weight: 2\n  path: b.json\n")
    merged = "train: &usual {seed: 5}\nloss: {}\nsynthetic: {<<: *usual, frames: 1}\n"
    assert recipe_of(tmp_path, merged).synthetic.seed == 5


def test_a_recipe_with_a_base_states_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "first.yaml").write_text(
        "train: {batch_size: 4, seed: 3}\nloss: {assigner: {top_k: 7, alpha: 0.6}}\nsources: [{path: a.json}]\n"
    )
    (tmp_path / "deeper" / "second.yaml").write_text("base: ../first.yaml\ntrain: {seed: 5}\n")
    recipe = recipe_of(
        tmp_path,
        "base: deeper/second.yaml\nloss: {assigner: {top_k: 9}}\nsources: [{path: b.json}, {path: c.json}]\n",
        "train.batch_size=2",
    )
    assert (recipe.train.seed, recipe.train.batch_size) == (5, 2)
    assert (recipe.loss.assigner.top_k, recipe.loss.assigner.alpha) == (9, 0.6)
    assert [source.path for source in recipe.sources] == ["b.json", "c.json"]


@pytest.mark.parametrize(
    ("base", "named"),
    [("none.yaml", "none.yaml"), ("recipe.yaml", "its own base"), ("back.yaml", "its own base"), ("[a]", "'base'")],
)
def test_a_base_that_is_missing_or_leads_in_a_circle_is_one_line(tmp_path: Path, base: str, named: str) -> None:
    (tmp_path / "back.yaml").write_text("base: recipe.yaml\n")
    with pytest.raises(InputError, match=named) as caught:
        recipe_of(tmp_path, f"base: {base}\n")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.bacth_size=4", "train: unknown key 'bacth_size': did you mean 'batch_size'?"),
        ("learning_rate=0.1", "unknown key 'learning_rate': did you mean 'train.learning_rate'?"),
        ("augment.sensor.prob=1", "augment.sensor: unknown key 'prob': did you mean 'probability'?"),
        ("sources.0.hold_out=0", "sources.0: unknown key 'hold_out': did you mean 'hold_out_fold'?"),
        ("synthetic.number=3", "synthetic: unknown key 'number': there are frames, seed, weight, rgb"),
        ("lr=0.1", "unknown key 'lr': there are task, model, thermal, loss, contrast, guidance, injection, outputs, "),
        ("train.images.x=3", "'train.images' holds a value, not keys"),
        ("model.class_names=person", "key 'model.class_names' = 'person': give a list, such as [person]"),
    ],
)
def test_an_override_of_an_unknown_key_is_named_with_what_was_perhaps_meant(
    tmp_path: Path, override: str, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        recipe_of(tmp_path, "train: {images: 4}\nsources: [{path: a.json}]\n", override)
    assert said in str(caught.value)
    assert override in str(caught.value)


def test_what_is_wrong_in_the_file_is_not_blamed_on_the_words_after_it(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        recipe_of(tmp_path, "train: {imagse: 4}\n", "train.seed=3")
    assert str(caught.value).startswith(
        f"{tmp_path / 'recipe.yaml'}: train: unknown key 'imagse': did you mean 'images'?"
    )
    # what the words mend is no fault
    assert recipe_of(tmp_path, "train: {images: 0}\n", "train.images=3").train.images == 3


def test_a_class_has_its_own_threshold_or_the_common_one() -> None:
    config = PostprocessConfig(score_threshold=0.4, class_thresholds={"car": 0.0})
    assert config.threshold_of("car") == 0.0
    assert config.threshold_of("person") == 0.4


def test_a_class_threshold_of_a_stage_is_checked_as_that_of_a_recipe_is(tmp_path: Path) -> None:
    path = tmp_path / "staged.yaml"
    path.write_text("stages:\n  - {}\n  - postprocess: {class_thresholds: {lorry: 0.3}}\n")
    with pytest.raises(InputError, match=r"stages\.1: postprocess\.class_thresholds: .*'lorry'"):
        load_stages(path)
