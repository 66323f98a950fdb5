"""A kept batch is given back with all that it had, RGB or none."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch
from safetensors.torch import load_file, save_file

from cgdet_core.config import Recipe
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.errors import InputError
from cgdet_core.training.bad_batch import METADATA_KEY, NotFiniteError, load_bad_batch, with_bad_batch


def kept(folder: Path, with_rgb: bool) -> tuple[TrainingBatch, Path]:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[4.0, 4, 20, 28]]).repeat(2, 1, 1)
    present = torch.ones(2, 1, dtype=torch.bool)
    labels = (boxes, torch.zeros(2, 1, dtype=torch.int64), present, ~present, torch.ones(2, 3, dtype=torch.bool))
    rgb = torch.randint(0, 256, (2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    valid = torch.rand(2, 32, 32, generator=generator) < 0.5
    images = torch.rand(2, 1, 32, 32, generator=generator)
    batch = TrainingBatch(images, *labels, *((rgb, valid) if with_rgb else ()))
    terms = {"loss": float("nan"), "class": 0.5}
    refusal = with_bad_batch(NotFiniteError("loss", 3, terms), folder, Recipe(), batch)
    assert "kept in" in str(refusal)
    return batch, folder / "bad_batch.safetensors"


@pytest.mark.parametrize("with_rgb", [False, True])
def test_a_kept_batch_is_given_back_as_it_was(tmp_path: Path, with_rgb: bool) -> None:
    batch, path = kept(tmp_path, with_rgb)
    bad = load_bad_batch(path)
    assert bad.terms == {"loss": None, "class": 0.5}
    assert (bad.batch.rgb is None, bad.batch.rgb_valid is None) == (not with_rgb, not with_rgb)
    assert bad.batch.tensors().keys() == batch.tensors().keys()
    for name, value in batch.tensors().items():
        assert torch.equal(bad.batch.tensors()[name], value), name
    # its picture shows the RGB beside the crops
    assert cv2.imread(str(path.with_suffix(".jpg"))).shape[1] == max(480, 2 * (36 + 32 * with_rgb))


def test_a_kept_batch_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    _, path = kept(tmp_path, True)
    tensors = load_file(path)
    del tensors["class_ids"]
    save_file(tensors, path, {METADATA_KEY: '{"number": 3, "recipe_sha256": "", "terms": {}}'})
    with pytest.raises(InputError, match=r"is not a kept batch .*class_ids"):
        load_bad_batch(path)
