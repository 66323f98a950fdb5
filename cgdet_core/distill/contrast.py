"""RCS: supervised contrast of regions. Boxes of one class are drawn together, those of others pushed apart."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from cgdet_core.config import ContrastConfig
from cgdet_core.distill.lesson import Lesson, Term
from cgdet_core.distill.taps import levels, pool
from cgdet_core.tasks.task import Regions
from cgdet_core.world import gather_rows, world_size

NOBODY = -1  # class id of a queue's empty slot


def supervised_contrast(
    z: Tensor, class_ids: Tensor, temperature: float, others: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, eq. 2, L_out), a scalar in the dtype of z.

    z: [K, D], of length 1; class_ids: int64 [K]; others: vectors [M, D] and class ids [M] that are
    compared with and not averaged over, as those of earlier batches; a class id below 0 is nobody.

        mean over i with partners of  -1/|P(i)| sum_{p in P(i)} log( exp(z_i.z_p/t) / sum_{a != i} exp(z_i.z_a/t) )

    a: all of z and of others but i itself; P(i): those of them that are of i's class. Where nothing
    has a partner it is 0, attached to z.
    """
    all_z = z if others is None else torch.cat((z, others[0]))
    all_ids = class_ids if others is None else torch.cat((class_ids, others[1]))
    similarity = z @ all_z.T / temperature  # [K, K + M]
    itself = torch.eye(*similarity.shape, dtype=torch.bool, device=z.device)
    present = ~itself & (all_ids >= 0)
    partners = present & (all_ids == class_ids[:, None])
    # not -inf: the sum of a box that is compared with nobody has no log, and its gradient shall be 0 and not NaN
    compared = similarity.masked_fill(~present, torch.finfo(similarity.dtype).min)
    log_share = similarity - compared.logsumexp(1, keepdim=True)
    count = partners.sum(1)
    per_box = -torch.where(partners, log_share, 0.0).sum(1) / count.clamp(min=1)
    return per_box.sum() / (count > 0).sum().clamp(min=1)


class EmbeddingQueue(nn.Module):
    """The latest `size` embeddings of earlier batches, oldest first; they are part of the state.

    vectors: float32 [size, dimensions]; class_ids: int64 [size], NOBODY in an empty slot.
    """

    vectors: Tensor
    class_ids: Tensor

    def __init__(self, size: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, dimensions))
        self.register_buffer("class_ids", torch.full((size,), NOBODY))

    @torch.no_grad()
    def push(self, vectors: Tensor, class_ids: Tensor) -> None:
        """Take in [K, dimensions], outside autograd, and [K]; the K oldest go."""
        left_out = max(0, len(vectors) - len(self.vectors))
        self.vectors = torch.cat((self.vectors[len(vectors) :], vectors[left_out:]))
        self.class_ids = torch.cat((self.class_ids[len(class_ids) :], class_ids[left_out:]))


class RegionContrast(Term):
    """The term, with what only training needs: a projection for each level in use, and the queue.

    z_i = normalize(MLP(mean(RoIAlign(map of box i's level, box i)))); channels: of the maps, by stride.
    """

    def __init__(self, config: ContrastConfig, channels: Mapping[int, int]) -> None:
        super().__init__()
        self.config: ContrastConfig = config
        self.projections = nn.ModuleDict(
            {
                str(stride): nn.Sequential(
                    nn.Linear(channels[stride], config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.dimensions)
                )
                for stride in config.strides
            }
        )
        self.queue = EmbeddingQueue(config.queue, config.dimensions)

    def forward(self, lesson: Lesson, share: float) -> dict[str, Tensor]:
        return {"rcs": self.config.weight * share * self.value(lesson.student, lesson.regions)}

    def value(self, maps: Mapping[int, Tensor], regions: Regions) -> Tensor:
        """The unweighted term, a float32 scalar; while it trains, the batch's embeddings then join the queue.

        maps: stride -> [B, C, S / stride, S / stride]. Where processes share a batch, regions of all of
        them meet, and each process returns an equal share of the value.
        """
        z, class_ids = gather_rows(self.embed(maps, regions)), gather_rows(regions.class_ids)
        with torch.autocast(z.device.type, enabled=False):
            earlier = self.queue.vectors, self.queue.class_ids
            whole = supervised_contrast(z, class_ids, self.config.temperature, earlier)
        if self.training:
            self.queue.push(z, class_ids)
        return whole / world_size()

    def embed(self, maps: Mapping[int, Tensor], regions: Regions) -> Tensor:
        """Of each region float32 [dimensions], of length 1: [K, dimensions]."""
        strides = levels(regions, self.config)
        pooled = pool({stride: maps[stride] for stride in self.config.strides}, regions, strides, self.config.roi_px)
        rows, projected = [], []
        for stride in self.config.strides:
            # A level without boxes is projected too, as no rows: every parameter then has a gradient in every batch,
            # and is treated alike by the optimiser however many processes there are.
            none = strides.new_zeros(0), maps[stride][:0]
            index, features = pooled.get(stride, none)
            with torch.autocast(features.device.type, enabled=False):
                projected.append(self.projections[str(stride)](features.float().mean((2, 3))))
            rows.append(index)
        return _of_length_1(torch.cat(projected)).index_select(0, torch.cat(rows).argsort())


def _of_length_1(vectors: Tensor) -> Tensor:
    """[K, D] -> the same directions; large values are scaled down first, as their squares are no float32."""
    largest = vectors.detach().abs().amax(1, keepdim=True).clamp(min=1)
    return functional.normalize(vectors / largest)
