"""A training run: batches in order, one optimiser, averaged weights, checkpoints that can be resumed.

A run's folder holds `recipe.yaml` (all settings, resolved), `log.jsonl` (losses), `checkpoint.safetensors`
and, from the averaged weights, `model.safetensors`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import torch
import yaml
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from cgdet_core.config import Recipe
from cgdet_core.data.dataset import Source, TrainingBatch, TrainingBatches, progress_interval_s
from cgdet_core.errors import InputError
from cgdet_core.files import check_can_write, sha256_of, write_text
from cgdet_core.model.detector import Detector
from cgdet_core.runtime.model_file import ModelInfo, load_model, read_info, save_model
from cgdet_core.training.averaging import WeightAverage
from cgdet_core.training.checkpointing import Checkpoint, load_checkpoint, save_checkpoint
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
from cgdet_core.training.schedule import learning_rate

LOG_EVERY_BATCHES = 20


def train(
    recipe: Recipe,
    sources: list[Source],
    out: Path,
    resume: bool = False,
    init: Path | None = None,
    progress: bool = True,
    world: World = ALONE,
) -> Path:
    """Train to the end of the recipe; the path of the model file.

    resume: go on from out/checkpoint.safetensors, which must be of the same recipe but for device,
    threads, workers and checkpoint interval; init: start from a model file's weights; world: the
    processes that share the run (distributed.py), of which each calls `train` alike and the first
    alone writes. Raises InputError for an `out` in use, a checkpoint or start that does not fit, and
    a loss that is no longer finite.
    """
    check_start(recipe, out, resume, init, world)
    checkpoint_path = out / "checkpoint.safetensors"
    share_threads(recipe.train.threads, world)
    run = _Run(recipe, process_device(recipe.train.device, world), world)
    if resume:
        run.restore(load_checkpoint(checkpoint_path), checkpoint_path)
    elif init is not None:
        run.start_from(init)
    description = _description(recipe, sources, run.init)
    run.check_alike(description)
    batches = _named_worker_errors(_batches(sources, recipe, run.batches_done, run.device, world))
    if not world.leads:
        for batch in batches:
            run.step(batch)
        return out / "model.safetensors"
    write_text(out / "recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    saved_at = time.monotonic()
    log = _Log(out / "log.jsonl", run.batches_done)
    total = len(TrainingBatches(sources, recipe))
    size = recipe.train.batch_size
    with tqdm(
        total=total * size,
        initial=run.batches_done * size,
        unit="img",
        disable=not progress,
        smoothing=0.05,
        mininterval=progress_interval_s(),
    ) as bar:
        for batch in batches:
            loss = run.step(batch)
            bar.update(size)
            if run.batches_done % LOG_EVERY_BATCHES == 0 or run.batches_done == total:
                bar.set_postfix(log.write(run.batches_done, loss, run.rate))
            if run.batches_done == 1:
                # from here on there is something to go on with, whenever the run is interrupted
                run.save(checkpoint_path)
            if time.monotonic() - saved_at > recipe.train.checkpoint_seconds:
                run.save(checkpoint_path)
                save_model(out / "model.safetensors", run.average.detector, description)
                saved_at = time.monotonic()
    run.save(checkpoint_path)
    save_model(out / "model.safetensors", run.average.detector, description)
    return out / "model.safetensors"


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
    if world.leads:
        check_can_write(checkpoint_path)


def _check_same(checkpoint: Checkpoint, recipe: Recipe, path: Path) -> None:
    """What the run is about must be the same; where and how it is computed may change."""
    if _essence(checkpoint.recipe) != _essence(recipe):
        raise InputError(f"{path}: is of another recipe than the one given: resume with the run's own recipe.yaml")


def _check_same_network(info: ModelInfo, recipe: Recipe, path: Path) -> None:
    if info.model != recipe.model:
        raise InputError(f"{path}: its network differs from the recipe's: copy its 'model' settings into the recipe")


def _essence(recipe: Recipe) -> Recipe:
    machine = {"device": "auto", "threads": 0, "workers": 0, "checkpoint_seconds": 60.0}
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=machine)})


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

    def step(self, batch: TrainingBatch) -> DetectionLoss:
        """One batch, of which `batch` is this process' share; the loss of the whole batch.

        InputError, with the weights as they were, where loss or gradient is no longer finite.
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
        terms = torch.stack((loss.class_term, loss.box_term, loss.distribution_term)).detach()
        loss = DetectionLoss(*add_up_gradients(self.detector, terms, self.world))
        norm = torch.nn.utils.clip_grad_norm_(self.detector.parameters(), config.gradient_clip)
        self._check_finite(loss.total, norm)
        self.optimizer.step()
        self.average.update(self.detector)
        self.batches_done += 1
        return loss

    def _check_finite(self, loss: Tensor, gradient_norm: Tensor) -> None:
        # both in one transfer: a GPU is waited for once
        values = torch.stack((loss, gradient_norm)).tolist()
        for what, value in zip(("loss", "gradient"), values, strict=True):
            if not math.isfinite(value):
                raise InputError(
                    f"the {what} is not finite at batch {self.batches_done}: lower train.learning_rate "
                    "and train again in another --out"
                )

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


class _Log:
    """log.jsonl: a line of losses per LOG_EVERY_BATCHES batches; lines after a resumed batch are dropped."""

    def __init__(self, path: Path, batches_done: int) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() and batches_done else []
        # a run that was killed while it wrote leaves a last line without its end
        whole = [line.rstrip("\n") for line in lines if line.endswith("\n")]
        kept = [line for line in whole if _batch_of(line) <= batches_done]
        write_text(path, "".join(line + "\n" for line in kept))

    def write(self, batch: int, loss: DetectionLoss, rate: float) -> dict[str, str]:
        terms = {
            "loss": float(loss.total.detach()),
            "class": float(loss.class_term.detach()),
            "box": float(loss.box_term.detach()),
            "distribution": float(loss.distribution_term.detach()),
        }
        try:
            with self._path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps({"batch": batch, "learning_rate": rate, **terms}) + "\n")
        except OSError as error:
            raise InputError(
                f"{self._path}: cannot be written ({error.strerror}): free the disk and --resume"
            ) from None
        return {name: f"{value:.3f}" for name, value in terms.items()}


def _batch_of(line: str) -> float:
    """The batch that a line of the log is about; infinity for a line that is none."""
    try:
        return float(json.loads(line)["batch"])
    except (ValueError, TypeError, KeyError):
        return math.inf


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
            worker_init_fn=_one_thread,
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


def _one_thread(_worker: int) -> None:
    # OpenCV's thread pool does not survive a fork
    cv2.setNumThreads(0)


def _description(recipe: Recipe, sources: list[Source], init: str | None) -> ModelInfo:
    training = {
        "data": {source.name: len(source.frames) for source in sources},
        "init": init,
        "recipe": recipe.model_dump(mode="json", exclude={"model"}),
    }
    return ModelInfo(model=recipe.model, thermal=recipe.thermal, postprocess=recipe.postprocess, training=training)
