"""What a run is made of between two batches: weights, their average, the terms' own, the optimiser; one step."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cgdet_core.config import Recipe, TrainConfig
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.distill.terms import TrainingTerms
from cgdet_core.errors import InputError, RunError
from cgdet_core.model.network import Network
from cgdet_core.runtime.backends.torch import DTYPES
from cgdet_core.runtime.model_file import load_model
from cgdet_core.tasks import build_network, task_of
from cgdet_core.tasks.task import TrainingBatch
from cgdet_core.training.checkpoint import Checkpoint, check_same_network, identity_of, save_checkpoint
from cgdet_core.training.distributed import process_precision
from cgdet_core.world import total, world_size

if TYPE_CHECKING:
    from cgdet_core.tasks import Task


class RunState:
    """Weights, their average and the optimiser, after `batches_done` batches.

    stop_asked: whether any process was asked to stop; learned_from: as in Checkpoint; precision: fp32 or bf16.
    """

    def __init__(self, recipe: Recipe, device: torch.device, teacher: Teacher | None = None) -> None:
        torch.manual_seed(recipe.train.seed)
        # all crops have one size: cuDNN's search for the quickest convolution is paid once
        torch.backends.cudnn.benchmark = device.type == "cuda"
        self.recipe = recipe
        self.device = device
        self.batches_done = 0
        self.stop_asked = False
        self.learned_from: dict[str, Any] = {"data": [], "init": None, "teacher": teacher and teacher.identity}
        self._task = task_of(recipe)
        self.network = build_network(recipe.task, recipe.model).to(device).to(memory_format=torch.channels_last)
        if world_size() > 1 and device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(self.network)  # type: ignore[no-untyped-call]
        self.average = WeightAverage(self.network, recipe.train.ema_decay)
        self.precision = process_precision(recipe.train.precision, device)
        if teacher is not None:
            teacher.to(device, DTYPES[self.precision])
        self.extra = TrainingTerms(recipe, self.network, teacher).to(device)
        self._loss: nn.Module = _Loss(self.precision, self._task, self.network, self.extra)
        if world_size() > 1:
            device_ids = [device] if device.type == "cuda" else None
            self._loss = DistributedDataParallel(self._loss, device_ids=device_ids)
        trained = [*self.network.parameters(), *self.extra.parameters()]
        # weight decay is for the matrices: shrinking norms and biases only distorts them
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.train.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.train.learning_rate)

    def step(self, batch: TrainingBatch, stop_asked: bool = False) -> dict[str, float]:
        """One batch, of which `batch` is this process' share; the figures of the whole batch by name.

        learning_rate; loss and its weighted terms; gradient_norm, of the network's gradient before it was clipped.
        stop_asked: whether this process was. RunError, weights as they were, where loss or gradient is not finite.
        """
        config = self.recipe.train
        images_done = self.batches_done * config.batch_size
        rate = learning_rate(images_done, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        terms: dict[str, Tensor] = self._loss(batch.to(self.device), images_done)
        self.optimizer.zero_grad(set_to_none=True)
        own = list(self.extra.parameters())
        # what has no part in this batch gets a gradient of 0 and is stepped like the rest
        loss = torch.stack(list(terms.values())).sum() + 0 * sum(parameter.sum() for parameter in own)
        # gradients are averaged over processes, whose losses are shares that add up
        (loss * world_size()).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.gradient_clip)
        torch.nn.utils.clip_grad_norm_(own, config.gradient_clip)
        shares = torch.stack([*terms.values(), loss.new_tensor(float(stop_asked))]).detach()
        # all in one transfer: a GPU is waited for once
        *summed, votes, gradient_norm = torch.cat((total(shares), norm[None])).tolist()
        self.stop_asked = votes > 0
        values = {"loss": sum(summed), **dict(zip(terms, summed, strict=True))}
        for what, value in (("loss", values["loss"]), ("gradient", gradient_norm)):
            if not math.isfinite(value):
                said = ", ".join(f"{name} {term:.3g}" for name, term in values.items())
                raise RunError(
                    f"the {what} is not finite at batch {self.batches_done} ({said}): lower train.learning_rate and "
                    "train again in another --out"
                )
        self.optimizer.step()
        self.average.update(self.network)
        self.batches_done += 1
        return {"learning_rate": rate, **values, "gradient_norm": gradient_norm}

    def save(self, path: Path) -> None:
        tensors = {f"weights.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.network.state_dict().items()}
        tensors |= {f"extra.{name}": value for name, value in self.extra.state_dict().items()}
        for name, parameter in self._trained():
            for kind, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{kind}.{name}"] = value
        save_checkpoint(path, Checkpoint(self.recipe, self.batches_done, tensors, self.learned_from))

    def restore(self, checkpoint: Checkpoint, path: Path) -> None:
        """Go on from a checkpoint of this recipe; InputError, naming `path`, where its tensors are others."""
        self.average = WeightAverage(self.network, self.recipe.train.ema_decay, checkpoint.batches_done)
        self.batches_done = checkpoint.batches_done
        self.learned_from = checkpoint.learned_from
        moments = {kind: checkpoint.part(f"optimizer.{kind}") for kind in ("step", "exp_avg", "exp_avg_sq")}
        try:
            self.network.load_state_dict(checkpoint.part("weights"))
            self.average.network.load_state_dict(checkpoint.part("average"))
            self.extra.load_state_dict(checkpoint.part("extra"))
            for name, parameter in self._trained():
                self.optimizer.state[parameter] = {
                    kind: values[name].to("cpu" if kind == "step" else self.device) for kind, values in moments.items()
                }
        except (KeyError, RuntimeError):
            raise InputError(
                f"{path}: its tensors are not those of its recipe's network: train again in another --out"
            ) from None

    def start_from(self, init: Path) -> None:
        """Begin with the weights of a model file, as far as `check_same_network` allows; a class keeps what is known
        under its name, others begin as in an untrained network."""
        start, info = load_model(init)
        check_same_network(info, self.recipe, init)
        there, here = info.model.activation, self.recipe.model.activation
        if there != here:  # a start that suits less, which nobody may have meant
            said = f"{init}: learned with {there}, this run has {here}: set model.activation={there}"
            warnings.warn(said, stacklevel=2)
        tensors = dict(start.state_dict())
        fresh = self.network.state_dict()
        known = {name: row for row, name in enumerate(info.class_names)}
        for name in self._task.tensors_by_class(fresh):
            rows = [
                tensors[name][known[class_name]] if class_name in known else own
                for class_name, own in zip(self.recipe.model.class_names, fresh[name], strict=True)
            ]
            tensors[name] = torch.stack(rows)
        self.network.load_state_dict(tensors)
        self.learned_from["init"] = identity_of(init)
        self.average = WeightAverage(self.network, self.recipe.train.ema_decay)

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All that the optimiser steps, by name."""
        yield from self.network.named_parameters()
        for name, parameter in self.extra.named_parameters():
            yield f"extra.{name}", parameter


class _Loss(nn.Module):
    """All that is trained, as one module: a batch to the terms of the task's loss and the training terms, by name."""

    def __init__(self, precision: str, task: Task, network: Network, extra: TrainingTerms) -> None:
        super().__init__()
        self._precision = precision
        self._task = task
        self.network = network
        self.extra = extra

    def forward(self, batch: TrainingBatch, images_done: int) -> dict[str, Tensor]:
        images = batch.images.to(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            maps = self.network.features(images)
            output = self.network.head(maps)
            extra: dict[str, Tensor] = self.extra(batch, maps, output, images_done)
        return self._task.loss(output, batch.targets) | extra


class WeightAverage:
    """Exponential moving average of weights and batch-norm statistics: what is evaluated and shipped.

    average <- d average + (1 - d) weights; d = decay (1 - exp(-updates / 200)) lets it start near the weights.
    """

    def __init__(self, network: Network, decay: float, updates: int = 0) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay
        self._updates = updates

    @torch.no_grad()
    def update(self, network: Network) -> None:
        self._updates += 1
        decay = self._decay * (1 - math.exp(-self._updates / 200))
        current = network.state_dict()
        for name, average in self.network.state_dict().items():
            if average.dtype.is_floating_point:
                average.lerp_(current[name], 1 - decay)
            else:
                average.copy_(current[name])


def learning_rate(images_seen: int, config: TrainConfig) -> float:
    """The rate after `images_seen` crops: a linear warm-up, then a half cosine (Loshchilov and Hutter 2017)."""
    warmup = min(config.warmup_images, config.images // 2)
    if images_seen < warmup:
        return config.learning_rate * (images_seen + config.batch_size) / (warmup + config.batch_size)
    progress = min(1.0, (images_seen - warmup) / max(1, config.images - warmup))
    floor = config.final_learning_rate_fraction
    return config.learning_rate * (floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)
