"""What a run is made of between two batches: weights, their average, the terms' own, the optimiser; one step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from cgdet_core.config import Recipe, TrainConfig
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.distill.terms import ExtraTerms
from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of
from cgdet_core.model.detector import Detector
from cgdet_core.runtime.model_file import ModelInfo, load_model
from cgdet_core.tasks.detection.loss import detection_loss
from cgdet_core.training.averaging import WeightAverage
from cgdet_core.training.bad_batch import NotFiniteError
from cgdet_core.training.checkpoint import Checkpoint, save_checkpoint
from cgdet_core.training.distributed import check_alike, data_parallel
from cgdet_core.training.schedule import learning_rate
from cgdet_core.training.start import check_same_network, take_over
from cgdet_core.training.step_figures import StepFigures, gradient_norms
from cgdet_core.world import total, world_size

_WHERE_COMPUTED_AND_HOW_WATCHED = (
    "device",
    "threads",
    "cache_mb",
    "workers",
    "checkpoint_seconds",
    "validate_every_images",
    "validate_frames",
    "tensorboard",
    "term_gradients_every_batches",
)


class _Loss(nn.Module):
    """All that is trained, as one module: a batch to the detection loss's terms and the training terms by name."""

    def __init__(self, recipe: Recipe, detector: Detector, extra: ExtraTerms) -> None:
        super().__init__()
        self._recipe = recipe
        self.detector = detector
        self.extra = extra

    def forward(self, batch: TrainingBatch, images_done: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        images = batch.images.to(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._recipe.train.precision == "bf16"):
            output = self.detector(images)
            extra = self.extra(batch, images_done)
        return detection_loss(output, batch, self._recipe.loss).terms(), extra


class RunState:
    """Weights, their average and the optimiser, after `batches_done` batches."""

    def __init__(self, recipe: Recipe, device: torch.device, teacher: Teacher | None = None) -> None:
        torch.manual_seed(recipe.train.seed)
        # all crops have one size: cuDNN's search for the quickest convolution is paid once
        torch.backends.cudnn.benchmark = device.type == "cuda"
        self.recipe = recipe
        self.device = device
        self.batches_done = 0
        self.stop_asked = False
        self.init: str | None = None
        self.detector = Detector(recipe.model).to(device).to(memory_format=torch.channels_last)
        if world_size() > 1 and device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(self.detector)  # type: ignore[no-untyped-call]
        self.average = WeightAverage(self.detector, recipe.train.ema_decay)
        if teacher is not None:
            teacher.to(device, torch.bfloat16 if recipe.train.precision == "bf16" else torch.float32)
        self.extra = ExtraTerms(recipe, self.detector, teacher).to(device)
        self._loss = data_parallel(_Loss(recipe, self.detector, self.extra), device)
        trained = [*self.detector.parameters(), *self.extra.parameters()]
        matrices = [p for p in trained if p.ndim > 1]
        vectors = [p for p in trained if p.ndim <= 1]
        # weight decay is for the matrices: shrinking norms and biases only distorts them
        groups = [{"params": matrices, "weight_decay": recipe.train.weight_decay}]
        groups.append({"params": vectors, "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.train.learning_rate)

    def step(self, batch: TrainingBatch, stop_asked: bool = False) -> StepFigures:
        """One batch, of which `batch` is this process' share; the figures of the whole batch.

        stop_asked: whether this process was asked to stop; `self.stop_asked` is then whether any was.
        NotFiniteError, with the weights as they were, where loss or gradient is no longer finite.
        """
        config = self.recipe.train
        images_done = self.batches_done * config.batch_size
        rate = learning_rate(images_done, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.detector.train()
        detection, extra = self._loss(batch.to(self.device), images_done)
        terms = detection | extra
        every = config.term_gradients_every_batches
        norms: dict[str, Tensor] = {}
        if extra and every and (self.batches_done + 1) % every == 0:
            norms = gradient_norms({"detection": sum(detection.values())} | extra, self.detector.backbone)
        self.optimizer.zero_grad(set_to_none=True)
        # the mean over processes, of shares that add up
        whole = torch.stack(list(terms.values())).sum() * world_size()
        whole.backward()  # type: ignore[no-untyped-call]
        own = list(self.extra.parameters())
        for parameter in own:
            # what had no part in this batch is stepped like the rest, in one process as in several
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        told = torch.stack([*terms.values(), whole.new_tensor(float(stop_asked))]).detach()
        norm = torch.nn.utils.clip_grad_norm_(self.detector.parameters(), config.gradient_clip)
        torch.nn.utils.clip_grad_norm_(own, config.gradient_clip)
        # all in one transfer: a GPU is waited for once
        *of_terms, votes, gradient_norm = torch.cat((total(told), norm[None])).tolist()
        self.stop_asked = votes > 0
        values = {"loss": sum(of_terms), **dict(zip(terms, of_terms, strict=True))}
        for what, value in (("loss", values["loss"]), ("gradient", gradient_norm)):
            if not math.isfinite(value):
                raise NotFiniteError(what, self.batches_done, values)
        self.optimizer.step()
        self.average.update(self.detector)
        self.batches_done += 1
        return StepFigures(values, rate, gradient_norm, {name: float(value) for name, value in norms.items()})

    def check_alike(self, description: ModelInfo) -> None:
        """InputError where another process starts with another recipe, data, device or checkpoint."""
        check_alike("the recipe", essence(self.recipe))
        check_alike("the training data", description.training["data"])
        check_alike("the kind of device", self.device.type)
        check_alike("the weights at the start", (self.batches_done, self.init))
        check_alike("the teacher", description.training["teacher"])

    def save(self, path: Path) -> None:
        tensors = {f"weights.{name}": value for name, value in self.detector.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.detector.state_dict().items()}
        tensors |= {f"extra.{name}": value for name, value in self.extra.state_dict().items()}
        for name, parameter in self._trained():
            for kind, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{kind}.{name}"] = value
        save_checkpoint(path, Checkpoint(self.recipe, self.batches_done, tensors, self.init))

    def restore(self, checkpoint: Checkpoint, path: Path) -> None:
        check_same(checkpoint, self.recipe, path)
        self.average = WeightAverage(self.detector, self.recipe.train.ema_decay, checkpoint.batches_done)
        self.batches_done = checkpoint.batches_done
        self.init = checkpoint.init
        kinds = ("step", "exp_avg", "exp_avg_sq")
        moments = {kind: checkpoint.part(f"optimizer.{kind}") for kind in kinds}
        try:
            self.detector.load_state_dict(checkpoint.part("weights"))
            self.average.detector.load_state_dict(checkpoint.part("average"))
            self.extra.load_state_dict(checkpoint.part("extra"))
            for name, parameter in self._trained():
                self.optimizer.state[parameter] = {
                    kind: moments[kind][name].to("cpu" if kind == "step" else self.device) for kind in kinds
                }
        except (KeyError, RuntimeError):
            raise InputError(
                f"{path}: its tensors are not those of its recipe's network: train again in another --out"
            ) from None

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All that the optimiser steps, by name."""
        yield from self.detector.named_parameters()
        for name, parameter in self.extra.named_parameters():
            yield f"extra.{name}", parameter

    def start_from(self, init: Path) -> None:
        start, info = load_model(init)
        check_same_network(info, self.recipe.model, init)
        self.init = f"{init.name} sha256:{sha256_of(init)}"
        take_over(start, info, self.detector, self.recipe.model)
        self.average = WeightAverage(self.detector, self.recipe.train.ema_decay)


def check_same(checkpoint: Checkpoint, recipe: Recipe, path: Path) -> None:
    """What the run is about must be the same; where and how it is computed may change."""
    differing = differences(essence(checkpoint.recipe), essence(recipe))
    if differing:
        what = "; ".join(f"{key} is {there} there, {here} now" for key, (there, here) in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise InputError(
            f"{path}: is of another recipe than the one given: {what}{more}. Resume with the run's own recipe.yaml; "
            "with other settings begin another run (--out), from this one's weights by --init"
        )


def essence(recipe: Recipe) -> Recipe:
    usual = TrainConfig()
    same = {name: getattr(usual, name) for name in _WHERE_COMPUTED_AND_HOW_WATCHED}
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=same)})


def differences(there: Recipe, here: Recipe) -> list[tuple[str, tuple[object, object]]]:
    """Dotted key -> both values, where they differ; a list is one value."""
    found = []

    def look(above: str, one: dict[str, object], other: dict[str, object]) -> None:
        for key in one:
            mine, theirs = one[key], other[key]
            if isinstance(mine, dict) and isinstance(theirs, dict) and mine.keys() == theirs.keys():
                look(f"{above}{key}.", mine, theirs)
            elif mine != theirs:
                found.append((above + key, (mine, theirs)))

    look("", there.model_dump(mode="json"), here.model_dump(mode="json"))
    return found
