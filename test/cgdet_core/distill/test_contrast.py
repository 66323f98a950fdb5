"""The term against double loops over boxes written from the formula; its gradient by differences; the queue."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scene import check_no_gradient, check_slopes
from torch import Tensor

from cgdet_core.config import ContrastConfig
from cgdet_core.distill.contrast import EmbeddingQueue, RegionContrast, supervised_contrast
from cgdet_core.distill.taps import levels
from cgdet_core.tasks.detection.targets import DetectionTargets, regions_of

torch.set_num_threads(1)

Floats = NDArray[np.float64]
Basis = dict[int, list[list[list[float]]]]
SIZE = 256
CHANNELS = {8: 3, 16: 4, 32: 5}
NO_VECTORS, NO_IDS = np.zeros((0, 4)), np.zeros(0, np.int64)


def plain_contrast(
    z: Floats, class_ids: NDArray[np.int64], temperature: float, others: Floats, other_ids: NDArray[np.int64]
) -> float:
    """mean over i with partners of -1/|P(i)| sum_p log(exp(z_i.z_p/t) / sum_{a != i} exp(z_i.z_a/t))."""
    everyone = [*z, *others]
    ids = [*class_ids, *other_ids]
    of_boxes = []
    for i in range(len(z)):
        partners = [p for p in range(len(everyone)) if p != i and ids[p] == ids[i]]
        if not partners:
            continue
        denominator = sum(math.exp(z[i] @ everyone[a] / temperature) for a in range(len(everyone)) if a != i)
        logs = [math.log(math.exp(z[i] @ everyone[p] / temperature) / denominator) for p in partners]
        of_boxes.append(-sum(logs) / len(partners))
    return sum(of_boxes) / len(of_boxes) if of_boxes else 0.0


def random_vectors(seed: int, count: int, earlier: int) -> tuple[Floats, NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Vectors of length 1 [count, 4], their classes, of which one is rare, and the same of earlier batches."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count + earlier, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = rng.choice(3, count + earlier, p=[0.6, 0.3, 0.1])
    return vectors[:count], ids[:count], vectors[count:], ids[count:]


def contrast(
    z: Floats | Tensor,
    class_ids: Any,
    temperature: float,
    others: Floats = NO_VECTORS,
    other_ids: NDArray[np.int64] = NO_IDS,
) -> Tensor:
    there = (torch.as_tensor(others), torch.as_tensor(other_ids)) if len(other_ids) else None
    return supervised_contrast(torch.as_tensor(z), torch.as_tensor(class_ids), temperature, there)


# the formula


@pytest.mark.parametrize(("temperature", "earlier"), list(product((0.07, 0.5, 3.0), (0, 1, 9))))
def test_the_loss_is_that_of_loops_over_boxes(temperature: float, earlier: int) -> None:
    alone = 0
    for seed in range(8):
        case = random_vectors(seed, 7, earlier)
        z, class_ids, others, other_ids = case
        expected = plain_contrast(z, class_ids, temperature, others, other_ids)
        assert expected > 0
        assert contrast(z, class_ids, temperature, others, other_ids).item() == pytest.approx(expected, rel=1e-12)
        alone += sum([*class_ids, *other_ids].count(own) == 1 for own in class_ids)
    assert alone > 0


@pytest.mark.parametrize("earlier", [0, 6])
@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_finite_differences(earlier: int, seed: int) -> None:
    z, class_ids, others, other_ids = random_vectors(seed, 6, earlier)
    # as a function of free vectors: the formula itself does not ask for their length
    vectors = torch.tensor(z, requires_grad=True)
    assert torch.autograd.gradcheck(lambda free: contrast(free, class_ids, 0.3, others, other_ids), [vectors])


def test_slots_of_nobody_change_nothing() -> None:
    z, class_ids, others, other_ids = random_vectors(5, 6, 4)
    padded = np.concatenate((np.zeros((2, 4)), others, 9 * np.ones((1, 4))))
    padded_ids = np.concatenate(([-1, -1], other_ids, [-1]))
    expected = contrast(z, class_ids, 0.2, others, other_ids)
    assert contrast(z, class_ids, 0.2, padded, padded_ids).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(("class_ids", "other_ids"), [([], [0, 1]), ([1], []), ([1], [-1, -1]), ([0, 1, 2], [-1, 3])])
def test_where_nobody_has_a_partner_the_loss_is_zero_and_so_is_its_gradient(
    class_ids: list[int], other_ids: list[int]
) -> None:
    rng = np.random.default_rng(0)
    z = torch.tensor(rng.normal(size=(len(class_ids), 4)), requires_grad=True)
    ids = torch.tensor(class_ids, dtype=torch.int64)
    loss = contrast(z, ids, 0.1, rng.normal(size=(len(other_ids), 4)), np.array(other_ids, np.int64))
    loss.backward()
    assert loss.item() == 0
    check_no_gradient([z])


@pytest.mark.parametrize("temperature", [0.001, 0.1, 100.0])
def test_no_temperature_overflows(temperature: float) -> None:
    alike = torch.tensor([[0.6, 0.8]]).repeat(5, 1).requires_grad_()
    apart = torch.tensor([[1.0, 0], [-1, 0], [1, 0]], requires_grad=True)
    # of equal boxes of one class each costs the log of how many it is compared with
    assert contrast(alike, [2] * 5, temperature).item() == pytest.approx(math.log(4), rel=1e-5)
    # box 0: partner at -1 / t, stranger at 1 / t; box 1: both at -1 / t
    t = temperature
    cost = (2 / t + math.log1p(math.exp(-2 / t)) + math.log(2)) / 2
    assert contrast(apart, [0, 0, 1], t).item() == pytest.approx(cost, rel=1e-5)
    for z, ids in ((alike, [2] * 5), (apart, [0, 0, 1])):
        contrast(z, ids, temperature).backward()
        assert z.grad is not None
        assert z.grad.isfinite().all()


# the queue


def entries(*numbers: int) -> tuple[Tensor, Tensor]:
    return torch.tensor([[float(n), -float(n)] for n in numbers]).view(-1, 2), torch.tensor(numbers, dtype=torch.int64)


def test_what_came_first_goes_first() -> None:
    queue = EmbeddingQueue(5, 2)
    told = []
    for numbers in ((1, 2), (), (3, 4), (5,), (6, 7), (11, 12, 13, 14, 15, 16, 17)):
        queue.push(*entries(*numbers))
        told.append(queue.class_ids.tolist())
        assert queue.vectors.shape == (5, 2)
        full = queue.class_ids >= 0
        assert queue.vectors[full, 0].tolist() == queue.class_ids[full].tolist()
        assert queue.vectors[full, 1].tolist() == (-queue.class_ids[full]).tolist()
    assert told == [
        [-1, -1, -1, 1, 2],
        [-1, -1, -1, 1, 2],
        [-1, 1, 2, 3, 4],
        [1, 2, 3, 4, 5],
        [3, 4, 5, 6, 7],
        [13, 14, 15, 16, 17],
    ]


# the module


def random_batch(seed: int, images: int = 3) -> DetectionTargets:
    """Objects of all three levels among regions to ignore and padding, away from the border of the maps."""
    rng = np.random.default_rng((1, seed))
    sides = rng.choice([30.0, 60, 70, 120, 135, 200], (images, 5, 1)) * rng.uniform(0.95, 1.05, (images, 5, 2))
    corners = 18 + rng.uniform(size=(images, 5, 2)) * (SIZE - 36 - sides)
    kind = rng.uniform(size=(images, 5))
    return DetectionTargets(
        torch.tensor(np.concatenate((corners, corners + sides), axis=2), dtype=torch.float32),
        torch.from_numpy(rng.choice(3, (images, 5), p=[0.6, 0.3, 0.1])),
        torch.from_numpy(kind < 0.6),
        torch.from_numpy((kind >= 0.6) & (kind < 0.8)),
        torch.ones(images, 3, dtype=torch.bool),
    )


def slopes_of(seed: int, images: int = 3, scale: float = 1.0) -> Basis:
    """stride -> (a, b, c) of every channel of every image, whose map has the value a x + b y + c."""
    rng = np.random.default_rng((2, seed))
    factors = np.array([2, 2, 0.5]) * scale
    return {
        stride: (rng.normal(size=(images, channels, 3)) * factors).tolist() for stride, channels in CHANNELS.items()
    }


def maps_of(slopes: Basis) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """(slopes as leaves, maps made of them); x and y in shares of the picture's side."""
    leaves, maps = {}, {}
    for stride, values in slopes.items():
        leaves[stride] = torch.tensor(values, requires_grad=True)
        axis = (torch.arange(SIZE // stride) + 0.5) * stride / SIZE
        a, b, c = leaves[stride][..., None, None].unbind(2)
        maps[stride] = a * axis + b * axis[:, None] + c
    return leaves, maps


def objects_of(batch: DetectionTargets) -> list[tuple[int, list[float], int]]:
    return [
        (image, batch.boxes_xyxy_px[image, slot].tolist(), int(batch.class_ids[image, slot]))
        for image in range(len(batch.objects))
        for slot in range(batch.objects.shape[1])
        if batch.objects[image, slot]
    ]


def plain_embeddings(
    module: RegionContrast, slopes: Basis, batch: DetectionTargets
) -> tuple[Floats, NDArray[np.int64]]:
    """A linear map, pooled over a box, has the value at the box's centre; the rest is the formula's z_i."""
    weights = {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}
    vectors, ids = [], []
    for image, (left, top, right, bottom), class_id in objects_of(batch):
        side = math.sqrt((right - left) * (bottom - top))
        stride = 8 if side < 64 else 16 if side < 128 else 32
        x, y = (left + right) / 2 / SIZE, (top + bottom) / 2 / SIZE
        pooled = np.array([a * x + b * y + c for a, b, c in slopes[stride][image]])
        name = f"projections.{stride}"
        hidden = np.maximum(weights[f"{name}.0.weight"] @ pooled + weights[f"{name}.0.bias"], 0)
        out = weights[f"{name}.2.weight"] @ hidden + weights[f"{name}.2.bias"]
        vectors.append(out / math.sqrt(out @ out))
        ids.append(class_id)
    return np.array(vectors).reshape(-1, module.config.dimensions), np.array(ids, np.int64)


def new_module(**settings: Any) -> RegionContrast:
    torch.manual_seed(0)
    return RegionContrast(ContrastConfig(**{"hidden": 8, "dimensions": 4, "temperature": 0.3} | settings), CHANNELS)


def without_objects(batch: DetectionTargets) -> DetectionTargets:
    batch.objects[:] = False
    return batch


def test_embeddings_are_projections_of_what_lies_under_the_boxes() -> None:
    module = new_module()
    strides = set()
    for seed in range(4):
        slopes, batch = slopes_of(seed), random_batch(seed)
        regions = regions_of(batch)
        found = module.embed(maps_of(slopes)[1], regions)
        vectors, ids = plain_embeddings(module, slopes, batch)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.detach().numpy(), vectors, atol=1e-5)
        assert regions.class_ids.tolist() == ids.tolist()
        strides |= set(levels(regions, module.config).tolist())
        assert batch.ignored.any()
    assert strides == {8, 16, 32}


@pytest.mark.parametrize("size", [0, 5, 60])
def test_the_term_is_that_of_the_formula_with_the_boxes_of_earlier_batches(size: int) -> None:
    module = new_module(queue=size).train()
    earlier, earlier_ids = NO_VECTORS, NO_IDS
    for seed in range(5):
        slopes, batch = slopes_of(seed), random_batch(seed)
        if seed == 2:
            without_objects(batch)
        vectors, ids = plain_embeddings(module, slopes, batch)
        expected = plain_contrast(vectors, ids, 0.3, earlier, earlier_ids)
        loss = module.value(maps_of(slopes)[1], regions_of(batch))
        assert (loss.shape, loss.dtype) == ((), torch.float32)
        assert loss.item() == pytest.approx(expected, rel=1e-4)
        assert expected > 0.1 or seed == 2
        everything, all_ids = np.concatenate((earlier, vectors)), np.concatenate((earlier_ids, ids))
        first = max(0, len(all_ids) - size)
        earlier, earlier_ids = everything[first:], all_ids[first:]
        assert module.queue.class_ids.tolist() == [-1] * (size - len(earlier_ids)) + earlier_ids.tolist()
    # it overflowed, or never did
    assert len(earlier_ids) == size or size == 60


def test_gradients_reach_maps_and_projections_as_finite_differences_say() -> None:
    module = new_module(queue=6).train()
    module.value(maps_of(slopes_of(0))[1], regions_of(random_batch(0)))
    module.eval()  # the queue stays as it is
    regions, maps = regions_of(random_batch(1)), maps_of(slopes_of(1))[1]
    leaves = {stride: values.detach().requires_grad_() for stride, values in maps.items()}

    def value() -> Tensor:
        return module.value(leaves, regions)

    value().backward()
    learned = [*leaves.values(), *module.parameters()]
    assert all(tensor.grad is not None and tensor.grad.abs().max() > 1e-4 for tensor in learned)
    check_slopes(value, learned, 0.005, rel=0.01, abs=5e-4)


def test_a_batch_that_gives_nothing_is_zero_and_attached_to_every_map_and_parameter() -> None:
    one = without_objects(random_batch(0))
    one.objects[1, 2] = True
    each_once = without_objects(random_batch(1))
    each_once.objects[0, :3] = True
    each_once.class_ids[0, :3] = torch.tensor([0, 1, 2])
    for batch in (without_objects(random_batch(2)), one, each_once):
        module = new_module(queue=10).train()
        _, maps = maps_of(slopes_of(0, scale=1e30))
        maps = {stride: values.detach().requires_grad_() for stride, values in maps.items()}
        loss = module.value(maps, regions_of(batch))
        loss.backward()
        assert loss.item() == 0
        check_no_gradient((*maps.values(), *module.parameters()))
        assert (module.queue.class_ids >= 0).sum() == batch.objects.sum()


def test_every_parameter_has_a_gradient_also_of_a_level_without_boxes_but_not_of_one_that_is_not_in_use() -> None:
    module, batch = new_module().train(), random_batch(0)
    batch.boxes_xyxy_px[..., 2:] = batch.boxes_xyxy_px[..., :2] + 20
    leaves, maps = maps_of(slopes_of(0))
    module.value(maps, regions_of(batch)).backward()
    for stride in CHANNELS:
        gradients = [leaves[stride].grad, *(p.grad for p in module.projections[str(stride)].parameters())]
        assert all(gradient is not None and (gradient != 0).any() == (stride == 8) for gradient in gradients)
    one = new_module(strides=(16,)).train()
    assert {name.split(".")[1] for name, _ in one.named_parameters()} == {"16"}
    assert one.value({16: maps[16].detach()}, regions_of(batch)).item() > 0


def test_identical_boxes_and_huge_features_stay_finite() -> None:
    batch = random_batch(0)
    batch.boxes_xyxy_px[:] = torch.tensor([20.0, 20, 60, 60])
    batch.class_ids[:] = 0
    for scale in (0.0, 1e-30, 1e4, 1e30):
        module = new_module(queue=30, temperature=0.01).train()
        slopes = slopes_of(0, scale=scale)
        slopes[8][1:] = [slopes[8][0]] * 2
        for _ in range(2):
            leaves, maps = maps_of(slopes)
            loss = module.value(maps, regions_of(batch))
            loss.backward()
        number = int(batch.objects.sum())
        assert loss.item() == pytest.approx(math.log(2 * number - 1), rel=1e-5)
        assert leaves[8].grad is not None
        assert leaves[8].grad.isfinite().all()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
        assert module.queue.vectors.norm(dim=1)[-number:].tolist() == pytest.approx([1.0] * number, rel=1e-5)


def test_it_works_in_single_precision_under_autocast() -> None:
    batch, maps = random_batch(0), maps_of(slopes_of(0))[1]
    expected = new_module(queue=4).value(maps, regions_of(batch))
    module = new_module(queue=4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = module.value(maps, regions_of(batch))
        rounded = {stride: values.bfloat16() for stride, values in maps.items()}
        half = new_module().value(rounded, regions_of(batch))
    assert torch.equal(loss, expected)
    assert module.queue.vectors.dtype == half.dtype == torch.float32
    assert half.item() == pytest.approx(expected.item(), rel=0.05)


def test_only_training_fills_the_queue_and_nothing_flows_back_through_it() -> None:
    module = new_module(queue=20)
    first_leaves, maps = maps_of(slopes_of(0))
    batch = random_batch(0)
    number = int(batch.objects.sum())
    module.eval().value(maps, regions_of(batch))
    module.train().embed(maps, regions_of(batch))
    assert (module.queue.class_ids == -1).all()
    first = module.value(maps, regions_of(batch))
    assert (module.queue.class_ids >= 0).sum() == number
    assert not module.queue.vectors.requires_grad
    module.value(maps_of(slopes_of(1))[1], regions_of(random_batch(1))).backward()
    assert all(leaf.grad is None for leaf in first_leaves.values())
    # the queue of its time is still at hand
    first.backward()
    assert all(leaf.grad is not None for leaf in first_leaves.values())
