"""A training run: batches in order, one optimiser, averaged weights, checkpoints that can be resumed.

A run's folder holds `recipe.yaml` (all settings, resolved), `checkpoint.safetensors` and, from the averaged weights,
`model.safetensors`; beside them what observer.py writes. docs/training.md lists all of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import torch
import yaml
from torch.utils.data import DataLoader

from cgdet_core.config import Recipe, TrainConfig
from cgdet_core.data.coco import CocoSet
from cgdet_core.data.dataset import Source, TrainingBatch, TrainingBatches
from cgdet_core.errors import InputError
from cgdet_core.files import check_can_write, sha256_of, write_text
from cgdet_core.model.detector import Detector
from cgdet_core.runtime.model_file import ModelInfo, load_model, read_info, save_model
from cgdet_core.training.averaging import WeightAverage
from cgdet_core.training.bad_batch import NotFiniteError, with_bad_batch
from cgdet_core.training.checkpointing import Checkpoint, load_checkpoint, save_checkpoint
from cgdet_core.training.data_check import check_data
from cgdet_core.training.distributed import (
    ALONE,
    World,
    add_up_gradients,
    fingerprint,
    process_device,
    share_of_batch,
    share_threads,
)
from cgdet_core.training.global_batch_norm import use_global_statistics
from cgdet_core.training.losses import DetectionLoss, detection_loss
from cgdet_core.training.observer import RunObserver
from cgdet_core.training.schedule import learning_rate
from cgdet_core.training.stopping import StopRequest, leave_signals_to_the_trainer

_WHERE_COMPUTED_AND_HOW_WATCHED = (
    "device",
    "threads",
    "workers",
    "checkpoint_seconds",
    "validate_every_images",
    "validate_frames",
    "tensorboard",
)


def train(
    recipe: Recipe,
    sources: list[Source],
    out: Path,
    resume: bool = False,
    init: Path | None = None,
    progress: bool = True,
    held_out: CocoSet | None = None,
    world: World = ALONE,
) -> Path:
    """Train to the end of the recipe; the path of the model file.

    resume: go on from out/checkpoint.safetensors, which must be of the same recipe but for where it is
    computed and how it is watched; init: start from a model file's weights; held_out: frames that the
    averaged weights are measured on meanwhile; world: the processes that share the run
    (distributed.py), of which each calls `train` alike and the first alone writes. Raises InputError
    for an `out` in use, a checkpoint or start that does not fit, data without objects, a full disk,
    and a loss that is no longer finite; RunStopped, with the state kept, on SIGINT or SIGTERM.
    """
    check_start(recipe, out, resume, init, world)
    facts = check_data(sources, recipe.model.class_names)
    checkpoint_path, model_path = out / "checkpoint.safetensors", out / "model.safetensors"
    share_threads(recipe.train.threads, world)
    run = _Run(recipe, process_device(recipe.train.device, world), world)
    if resume:
        run.restore(load_checkpoint(checkpoint_path), checkpoint_path)
    elif init is not None:
        run.start_from(init)
    description = _description(recipe, sources, run.init)
    run.check_alike(description)
    total = len(TrainingBatches(sources, recipe))
    batches = _named_worker_errors(_batches(sources, recipe, run.batches_done, run.device, world))
    if not world.leads:
        _follow(run, batches, out, total)
        return model_path
    write_text(out / "recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))

    def keep() -> None:
        run.save(checkpoint_path)
        save_model(model_path, run.average.detector, description)

    with StopRequest() as stop, RunObserver(recipe, out, run.batches_done, total, held_out, progress) as observer:
        if not resume:
            observer.before_the_first_step(facts, sources)
        saved_at = time.monotonic()
        # a run that was ended while it validated does so now
        if observer.validation_due(run.batches_done):
            keep()
            observer.validate(run.batches_done, model_path, stop)
        for batch in observer.over(batches):
            try:
                loss = run.step(batch, stop.asked)
            except NotFiniteError as error:
                raise with_bad_batch(error, out, recipe, batch) from None
            observer.stepped(run.batches_done, loss, run.rate, run.gradient_norm)
            if run.batches_done == 1:
                # from here on there is something to go on with, whenever the run is interrupted
                run.save(checkpoint_path)
            validates = observer.validation_due(run.batches_done)
            # read once: who asks later is answered after the next batch, once that is kept
            stopping = run.stop_asked if world.size > 1 else stop.asked
            if validates or stopping or time.monotonic() - saved_at > recipe.train.checkpoint_seconds:
                keep()
                saved_at = time.monotonic()
                observer.saved()
            if validates:
                observer.validate(run.batches_done, model_path, stop)
                # other processes are already at the next batch, and are told with it
                stopping = stopping or (world.size == 1 and stop.asked)
            if stopping:
                raise stop.stopped(checkpoint_path, run.batches_done, total)
        keep()
        observer.finish()
    return model_path


def _follow(run: _Run, batches: Iterator[TrainingBatch], out: Path, total: int) -> None:
    """The part of a process that leads nothing: its share of every batch."""
    with StopRequest() as stop:
        for batch in batches:
            try:
                run.step(batch, stop.asked)
            except NotFiniteError as error:
                raise with_bad_batch(error, out, run.recipe, batch, run.world.rank) from None
            if run.stop_asked:
                raise stop.stopped(out / "checkpoint.safetensors", run.batches_done, total)


def check_start(recipe: Recipe, out: Path, resume: bool, init: Path | None, world: World = ALONE) -> None:
    """Refuse what `train` would refuse, before any data are read."""
    share_of_batch(recipe.train, world)
    if resume and init is not None:
        raise InputError("--init starts a run and --resume goes on with one: give one of them")
    process_device(recipe.train.device, world)
    checkpoint_path = out / "checkpoint.safetensors"
    if resume:
        _check_same(load_checkpoint(checkpoint_path, with_tensors=False), recipe, checkpoint_path)
    elif checkpoint_path.exists():
        raise InputError(f"{out}: already holds a run: add --resume to go on with it, or choose another --out")
    elif init is not None:
        _check_same_network(read_info(init), recipe, init)
    check_can_write(checkpoint_path)


def _check_same(checkpoint: Checkpoint, recipe: Recipe, path: Path) -> None:
    """What the run is about must be the same; where and how it is computed may change."""
    if _essence(checkpoint.recipe) != _essence(recipe):
        raise InputError(f"{path}: is of another recipe than the one given: resume with the run's own recipe.yaml")


def _check_same_network(info: ModelInfo, recipe: Recipe, path: Path) -> None:
    if info.model != recipe.model:
        raise InputError(f"{path}: its network differs from the recipe's: copy its 'model' settings into the recipe")


def _essence(recipe: Recipe) -> Recipe:
    usual = TrainConfig()
    same = {name: getattr(usual, name) for name in _WHERE_COMPUTED_AND_HOW_WATCHED}
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=same)})


class _Run:
    """Weights, their average and the optimiser, after `batches_done` batches."""

    def __init__(self, recipe: Recipe, device: torch.device, world: World = ALONE) -> None:
        torch.manual_seed(recipe.train.seed)
        # all crops have one size: cuDNN's search for the quickest convolution is paid once
        torch.backends.cudnn.benchmark = device.type == "cuda"
        self.recipe = recipe
        self.device = device
        self.world = world
        self.batches_done = 0
        self.rate = 0.0
        self.gradient_norm = 0.0
        self.stop_asked = False
        self.init: str | None = None
        self.detector = Detector(recipe.model).to(device).to(memory_format=torch.channels_last)
        use_global_statistics(self.detector, world)
        self.average = WeightAverage(self.detector, recipe.train.ema_decay)
        matrices = [p for p in self.detector.parameters() if p.ndim > 1]
        vectors = [p for p in self.detector.parameters() if p.ndim <= 1]
        # weight decay is for the matrices: shrinking norms and biases only distorts them
        groups = [{"params": matrices, "weight_decay": recipe.train.weight_decay}]
        groups.append({"params": vectors, "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.train.learning_rate)

    def step(self, batch: TrainingBatch, stop_asked: bool = False) -> DetectionLoss:
        """One batch, of which `batch` is this process' share; the loss of the whole batch.

        stop_asked: whether this process was asked to stop; `self.stop_asked` is then whether any was.
        NotFiniteError, with the weights as they were, where loss or gradient is no longer finite.
        """
        config = self.recipe.train
        self.rate = learning_rate(self.batches_done * config.batch_size, config)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.detector.train()
        batch = batch.to(self.device)
        images = batch.images.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            output = self.detector(images)
        loss = detection_loss(output, batch, self.recipe.loss, self.world)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        asked = loss.class_term.new_tensor(float(stop_asked))
        told = torch.stack((loss.class_term, loss.box_term, loss.distribution_term, asked)).detach()
        *terms, asked = add_up_gradients(self.detector, told, self.world)
        loss = DetectionLoss(*terms)
        norm = torch.nn.utils.clip_grad_norm_(self.detector.parameters(), config.gradient_clip)
        # all in one transfer: a GPU is waited for once
        total, self.gradient_norm, votes = torch.stack((loss.total, norm, asked)).tolist()
        self.stop_asked = votes > 0
        for what, value in (("loss", total), ("gradient", self.gradient_norm)):
            if not math.isfinite(value):
                raise NotFiniteError(what, self.batches_done, loss)
        self.optimizer.step()
        self.average.update(self.detector)
        self.batches_done += 1
        return loss

    def check_alike(self, description: ModelInfo) -> None:
        """InputError where another process starts with another recipe, data, device or weights."""
        if self.world.size == 1:
            return
        self.world.check_alike("the recipe", _essence(self.recipe).model_dump_json())
        self.world.check_alike("the training data", description.training["data"])
        self.world.check_alike("the kind of device", self.device.type)
        state = self.detector.state_dict()
        self.world.check_alike("the weights at the start", self.batches_done, *(fingerprint(t) for t in state.values()))

    def save(self, path: Path) -> None:
        tensors = {f"weights.{name}": value for name, value in self.detector.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.detector.state_dict().items()}
        for name, parameter in self.detector.named_parameters():
            for kind, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{kind}.{name}"] = value
        save_checkpoint(path, Checkpoint(self.recipe, self.batches_done, tensors, self.init))

    def restore(self, checkpoint: Checkpoint, path: Path) -> None:
        _check_same(checkpoint, self.recipe, path)
        self.average = WeightAverage(self.detector, self.recipe.train.ema_decay, checkpoint.batches_done)
        self.batches_done = checkpoint.batches_done
        self.init = checkpoint.init
        kinds = ("step", "exp_avg", "exp_avg_sq")
        moments = {kind: checkpoint.part(f"optimizer.{kind}") for kind in kinds}
        try:
            self.detector.load_state_dict(checkpoint.part("weights"))
            self.average.detector.load_state_dict(checkpoint.part("average"))
            for name, parameter in self.detector.named_parameters():
                self.optimizer.state[parameter] = {
                    kind: moments[kind][name].to("cpu" if kind == "step" else self.device) for kind in kinds
                }
        except (KeyError, RuntimeError):
            raise InputError(
                f"{path}: its tensors are not those of its recipe's network: train again in another --out"
            ) from None

    def start_from(self, init: Path) -> None:
        start, info = load_model(init)
        _check_same_network(info, self.recipe, init)
        self.init = f"{init.name} sha256:{sha256_of(init)}"
        self.detector.load_state_dict(start.state_dict())
        self.average = WeightAverage(self.detector, self.recipe.train.ema_decay)


def _batches(
    sources: list[Source], recipe: Recipe, start: int, device: torch.device, world: World
) -> Iterator[TrainingBatch]:
    """From batch `start` on, this process' share of each."""
    data = TrainingBatches(sources, recipe, world.rank, world.size)
    workers = recipe.train.workers
    return iter(
        DataLoader(
            data,
            batch_size=None,
            sampler=range(start, len(data)),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            # forked workers share the cached frames instead of copying them
            multiprocessing_context="fork" if workers else None,
            worker_init_fn=_start_worker,
            pin_memory=device.type == "cuda",
        )
    )


def _named_worker_errors(batches: Iterator[TrainingBatch]) -> Iterator[TrainingBatch]:
    """A worker that the kernel ends, for want of memory perhaps, is one line."""
    try:
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            "a process that prepares batches was ended (memory?): --resume, with train.workers=0 if it happens again"
        ) from None


def _start_worker(_worker: int) -> None:
    leave_signals_to_the_trainer()
    # OpenCV's thread pool does not survive a fork
    cv2.setNumThreads(0)


def _description(recipe: Recipe, sources: list[Source], init: str | None) -> ModelInfo:
    training = {
        "data": {source.name: len(source.frames) for source in sources},
        "init": init,
        "recipe": recipe.model_dump(mode="json", exclude={"model"}),
    }
    return ModelInfo(model=recipe.model, thermal=recipe.thermal, postprocess=recipe.postprocess, training=training)
