"""torchvision's detectors as teachers: what their own forward pass detects is among what they give out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import get_model

from cgdet_core.config import Recipe, TeacherConfig
from cgdet_core.distill.teachers import load_teacher
from cgdet_core.distill.teachers.torchvision import TorchvisionTeacher
from cgdet_core.errors import InputError
from cgdet_core.files import write_tensors

torch.set_num_threads(1)

NAMES = ("person", "bicycle", "car")
LABELS = {"person": 1, "bicycle": 2}  # of COCO's categories; those that alone speak for their class
SIDE = 128


def picture() -> Tensor:
    blocks = np.random.default_rng(4).integers(0, 256, (1, 3, SIDE // 16, SIDE // 16), np.uint8)
    return torch.from_numpy(blocks.repeat(16, 2).repeat(16, 3))


def torchvision_teacher(**changes: Any) -> TorchvisionTeacher:
    folder = changes.pop("folder", Path())
    config = TeacherConfig.model_validate({"kind": "torchvision", "random_weights": True, **changes})
    teacher = load_teacher(config, Recipe(), folder)
    assert isinstance(teacher, TorchvisionTeacher)
    return teacher


@pytest.fixture(scope="module")
def fcos() -> TorchvisionTeacher:
    return torchvision_teacher()


@pytest.fixture(scope="module")
def fcos_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state of a whole detector, of 130 MB."""
    path = tmp_path_factory.mktemp("weights") / "fcos.safetensors"
    torch.manual_seed(7)
    write_tensors(path, get_model("fcos_resnet50_fpn", weights=None, weights_backbone=None).state_dict(), {})
    yield path
    path.unlink()


def detected_by_itself(network: Any, rgb: Tensor) -> dict[str, Tensor]:
    """What torchvision's own forward pass finds, without its resizing and at every score."""
    network.transform.min_size, network.transform.max_size = (SIDE,), SIDE
    for part in (network, getattr(network, "roi_heads", network)):
        part.score_thresh, part.detections_per_img = 0.0, 100_000
    with torch.no_grad():
        (found,) = network([rgb[0] / 255])
    answer: dict[str, Tensor] = found
    return answer


def test_every_detection_of_its_own_forward_pass_is_among_the_predictions(fcos: TorchvisionTeacher) -> None:
    rgb = picture()
    predictions = fcos.look(rgb).predictions
    found = detected_by_itself(fcos.network, rgb)
    compared = 0
    for student, (_, label) in enumerate(LABELS.items()):
        of_class = found["labels"] == label
        for box, score in zip(found["boxes"][of_class][:40], found["scores"][of_class][:40], strict=True):
            off_by = (predictions.boxes_xyxy_px[0] - box).abs().amax(1) + 100 * (
                predictions.scores[0, :, student] - score
            ).abs()
            assert off_by.min() < 0.1
            compared += 1
    assert compared >= 5
    # and they lie within the picture, in its own pixels
    assert predictions.boxes_xyxy_px.min() >= 0
    assert predictions.boxes_xyxy_px.max() <= SIDE


def test_the_maps_are_the_pyramids_and_the_picture_keeps_its_scale(fcos: TorchvisionTeacher) -> None:
    rgb = picture()
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    values = (rgb.permute(0, 2, 3, 1) / 255 - mean) / deviation
    with torch.no_grad():
        pyramid = fcos.network.backbone(values.permute(0, 3, 1, 2))
    view = fcos.look(rgb)
    for stride, key in ((8, "0"), (16, "1"), (32, "2")):
        assert view.maps[stride].shape[-1] == SIDE // stride
        torch.testing.assert_close(view.maps[stride], pyramid[key], rtol=1e-3, atol=1e-2)


def test_its_state_is_read_from_a_file(fcos_file: Path) -> None:
    teacher = torchvision_teacher(random_weights=False, path=fcos_file.name, folder=fcos_file.parent)
    saved, loaded = load_file(fcos_file), teacher.network.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.items())
    # random_weights leaves the file's weights out
    other = torchvision_teacher(path=fcos_file.name, folder=fcos_file.parent).network.state_dict()
    assert not torch.equal(other["backbone.body.conv1.weight"], saved["backbone.body.conv1.weight"])


def test_a_state_that_does_not_fit_is_refused_in_one_line(fcos_file: Path, tmp_path: Path) -> None:
    lost = "head.regression_head.bbox_reg.bias"
    write_tensors(tmp_path / "odd.safetensors", {k: v for k, v in load_file(fcos_file).items() if k != lost}, {})
    with pytest.raises(InputError, match=lost) as refusal:
        torchvision_teacher(random_weights=False, path="odd.safetensors", folder=tmp_path)
    assert "\n" not in str(refusal.value)
    (tmp_path / "odd.safetensors").unlink()


def test_weights_are_downloaded_only_where_that_is_allowed(
    fcos_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # where nobody answers
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    settings = {"random_weights": False, "download": True}
    with pytest.raises(InputError, match="cannot be downloaded") as refusal:
        torchvision_teacher(**settings)
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="class_names"):
        torchvision_teacher(**settings, class_names=NAMES)
    # what was downloaded before is taken from torch's cache
    cache = tmp_path / "hub" / "checkpoints" / "fcos_resnet50_fpn_coco-99b0c9b7.pth"
    torch.save(load_file(fcos_file), cache)
    loaded = torchvision_teacher(**settings).network.state_dict()
    cache.unlink()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in load_file(fcos_file).items())
