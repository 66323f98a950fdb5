"""Landmarks as the trainer, the feed and the training terms know them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cgdet_core.config import FaceAugmentConfig, LandmarkLossConfig, LandmarkModelConfig, Recipe
from cgdet_core.errors import InputError
from cgdet_core.tasks import build_network, task_of
from cgdet_core.tasks.landmarks.head import LandmarkNetwork
from cgdet_core.tasks.landmarks.loss import landmark_loss, map_divergence
from cgdet_core.tasks.landmarks.points import MIRROR
from cgdet_core.tasks.landmarks.sampling import FacePlacement, FaceSampler, crop_truth
from cgdet_core.tasks.landmarks.task import LandmarkTask
from cgdet_core.tasks.landmarks.teaching import LandmarkTeacherLosses, MapPredictions
from cgdet_core.tasks.task import TrainingBatch
from cgdet_core.types import GroundTruth

SMALL = LandmarkModelConfig(input_height_width_px=(32, 32), widths=(8, 8, 8, 8, 8), depths=(0, 0, 0, 0), head_width=8)


def _truth(faces: int = 2, seed: int = 0) -> GroundTruth:
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.uniform(20, 60, (1, 68, 2)) + 60 * face for face in range(faces)]).astype(np.float32)
    boxes = np.concatenate([points.min(1), points.max(1) + 1], axis=1)
    labelled = np.ones((faces, 68), np.bool_)
    return GroundTruth(boxes, np.zeros(faces, np.int64), np.zeros(faces, np.bool_), None, points, labelled)


def test_a_mirrored_crop_renames_its_points() -> None:
    truth = _truth()
    plain = crop_truth(truth, FacePlacement((40, 40), 60, 32, 0.0, False, 1))
    mirrored = crop_truth(truth, FacePlacement((40, 40), 60, 32, 0.0, True, 1))
    assert plain.points_xy_px is not None
    assert mirrored.points_xy_px is not None
    np.testing.assert_allclose(mirrored.points_xy_px[0, MIRROR, 0], 31 - plain.points_xy_px[0, :, 0], atol=1e-4)
    np.testing.assert_allclose(mirrored.points_xy_px[0, MIRROR, 1], plain.points_xy_px[0, :, 1], atol=1e-4)
    assert len(mirrored) == 1


def test_crops_vary_as_the_settings_say_and_lie_about_their_face() -> None:
    truth, config = _truth(), FaceAugmentConfig(shift_sigma=0.05, angle_sigma=0.2, occlusion_probability=0.5)
    sampler, rng = FaceSampler([truth, GroundTruth.empty()], config, 1.2), np.random.default_rng(0)
    assert sampler.frame_weights.tolist() == [2, 0]
    drawn = [sampler.place((200, 200), truth, (128, 128), rng) for _ in range(800)]
    assert {each.face for each in drawn} == {0, 1}
    longer = (truth.boxes_xyxy_px[:, 2:] - truth.boxes_xyxy_px[:, :2]).max(1)
    shares = np.array([each.side_px / (1.2 * longer[each.face]) for each in drawn])
    assert 0.82 <= shares.min() < 0.85 < 1.18 < shares.max() <= 1.22
    middles = (truth.boxes_xyxy_px[:, :2] + truth.boxes_xyxy_px[:, 2:]) / 2
    off = np.array([(np.array(each.centre_xy_px) - middles[each.face]) / each.side_px for each in drawn])
    assert off.std() == pytest.approx(0.05, rel=0.1)
    assert np.std([each.angle for each in drawn]) == pytest.approx(0.2, rel=0.1)
    assert np.mean([each.hidden is not None for each in drawn]) == pytest.approx(0.5, abs=0.06)


def test_what_hides_a_face_hides_it_in_the_thermal_picture_alone() -> None:
    placement = FacePlacement((32, 32), 64, 64, hidden=(10, 20, 30, 25, 0.5))
    thermal = placement.lay(placement.cut(np.zeros((64, 64), np.float32)))
    hidden = np.zeros((64, 64), np.bool_)
    hidden[20:25, 10:30] = True
    assert (thermal == np.where(hidden, 0.5, 0)).all()
    assert (placement.lay(placement.cut(np.zeros((64, 64, 3), np.uint8))) == 0).all()


def test_points_that_are_not_68_are_refused() -> None:
    five = GroundTruth(
        np.array([[0, 0, 9, 9]], np.float32), np.zeros(1), np.zeros(1), None, np.zeros((1, 5, 2)), np.ones((1, 5))
    )
    with pytest.raises(InputError, match="68"):
        FaceSampler([five], FaceAugmentConfig(), 1.2)


def test_the_recipe_makes_the_task_and_its_network() -> None:
    recipe = Recipe.model_validate({"task": "landmarks"})
    task = task_of(recipe)
    assert isinstance(task, LandmarkTask)
    network = build_network(recipe.task, recipe.model)
    assert isinstance(network, LandmarkNetwork)
    assert network.parameter_count() <= 1_000_000
    counts = [task.count([_truth(), GroundTruth.empty()])]
    assert counts[0]["faces"] == 2
    assert counts[0]["points"]["67"] == 2
    assert task.not_learned(counts) == []
    with pytest.raises(InputError):
        task.not_learned([task.count([GroundTruth.empty()])])


def test_gain_and_offset_of_a_crop_change_nothing() -> None:
    torch.manual_seed(0)
    network = LandmarkNetwork(SMALL).eval()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        first, second = network(images), network(images * 0.3 + 0.5)
    assert first.shape == (2, 68, 4, 4)
    assert float((first - second).abs().max()) < 1e-3 * float(first.abs().max())
    assert list(network.channels) == [8, 16, 32]
    assert [tuple(each.shape[1:]) for each in network.features(images)] == [(8, 4, 4), (8, 2, 2), (8, 1, 1)]


def test_what_is_learned_from_a_teacher_against_sums_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    theirs, ours = (torch.randn(2, 68, 4, 4, generator=generator) * 3 for _ in range(2))
    theirs[0] *= 8  # the teacher is sure of the first face alone
    theirs[1] *= 0.01
    task = task_of(Recipe.model_validate({"task": "landmarks"}))
    targets = task.collate([crop_truth(_truth(1, seed), FacePlacement((40, 40), 60, 32)) for seed in range(2)])
    batch = TrainingBatch(torch.zeros(2, 1, 32, 32), targets)
    losses = LandmarkTeacherLosses(batch, MapPredictions(theirs), LandmarkLossConfig(), 0.3)
    assert losses.sure[1].sum() == 0
    assert losses.sure[0].any()
    ours.requires_grad_()
    apart = (map_divergence(theirs, ours) * losses.sure).sum() / 136
    torch.testing.assert_close(losses.of_student(ours, torch.arange(2)), apart)
    of_labels = sum(
        landmark_loss(ours, targets.points_xy_px, targets.labelled, 32, LandmarkLossConfig()).values()  # type: ignore[attr-defined]
    )
    torch.testing.assert_close(losses.of_student_head(ours, 0.25), 0.75 * of_labels + 0.25 * apart)
    torch.testing.assert_close(losses.of_teacher_head(MapPredictions(ours), 1.0), apart)
    (gradient,) = torch.autograd.grad(losses.of_student(ours, torch.arange(2)), ours)
    assert float(gradient[1].abs().max()) == 0
    assert float(losses.of_student(theirs, torch.arange(2))) == pytest.approx(0, abs=1e-5)
