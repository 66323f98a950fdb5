"""A training run: batches in order, one optimiser, averaged weights, checkpoints that can be resumed.

A run's folder holds `recipe.yaml` (all settings, resolved), `checkpoint.safetensors` and, from the averaged weights,
`model.safetensors`; beside them what watch.py writes. docs/reference/training.md lists all of it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import yaml
from torch.utils.data import DataLoader

from cgdet_core.config import Recipe
from cgdet_core.data.feed.dataset import TrainingBatches
from cgdet_core.data.feed.sources import Source, held_out_content
from cgdet_core.data.sets.coco import CocoSet
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.distill.teachers.figures import ENOUGH_OBJECTS, teacher_sees
from cgdet_core.errors import InputError, RunError, StopRequest
from cgdet_core.files import write_text
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.tasks import task_of
from cgdet_core.tasks.task import TrainingBatch
from cgdet_core.training.checkpoint import RunStopped, check_folder, check_same_start, essence, load_checkpoint
from cgdet_core.training.distributed import check_alike, process_device, share_threads
from cgdet_core.training.first_look import SAMPLES, DataFacts, check_data
from cgdet_core.training.state import RunState
from cgdet_core.training.watch import RunWatch
from cgdet_core.world import rank, world_size


def train(
    recipe: Recipe,
    sources: list[Source],
    out: Path,
    resume: bool = False,
    init: Path | None = None,
    progress: bool = True,
    held_out: CocoSet | None = None,
    teacher: Teacher | None = None,
) -> Path:
    """Train to the end of the recipe; the path of the model file.

    resume: go on from out/checkpoint.safetensors, which must be of the same recipe but for where it is
    computed and how it is watched; init: start from a model file's weights; held_out: frames that the
    averaged weights are measured on meanwhile; teacher: of the recipe's terms, where one learns from it
    (distill/terms.py). Of several processes (distributed.py) each calls `train` alike, and the first alone
    writes. Raises InputError for an `out` in use, a checkpoint or start that does not fit, data without objects;
    RunError for a log that the disk refuses and a loss that is not finite; RunStopped, the state kept, on a signal.
    """
    check_start(recipe, out, resume, init)
    task = task_of(recipe)
    facts = check_data(sources, task)
    checkpoint_path, model_path = out / "checkpoint.safetensors", out / "model.safetensors"
    share_threads(recipe.train.threads)
    run = RunState(recipe, process_device(recipe.train.device), teacher)
    data = [source.content() for source in sources]
    data += [] if held_out is None else [held_out_content(held_out)]
    if resume:
        checkpoint = load_checkpoint(checkpoint_path)
        check_same_start(checkpoint, data, run.learned_from["teacher"], checkpoint_path)
        run.restore(checkpoint, checkpoint_path)
    else:
        run.learned_from["data"] = data
        if init is not None:
            run.start_from(init)
    check_alike(
        "recipe, data, start or teacher", (essence(recipe), run.learned_from, run.batches_done, run.device.type)
    )
    crops = TrainingBatches(sources, recipe, rank(), world_size())
    batches, total = _batches(crops, run), len(crops)
    if rank():
        _follow(run, batches, out, total)
        return model_path
    write_text(out / "recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    frames = {source.name: len(source.frames) for source in sources}
    training = {
        **run.learned_from,
        "data": frames,
        "precision": run.precision,
        "recipe": recipe.model_dump(mode="json", exclude={"model"}),
    }
    training |= {} if held_out is None else {"held_out": data[-1]}
    description = ModelInfo(
        task=recipe.task, model=recipe.model, thermal=recipe.thermal, postprocess=recipe.postprocess, training=training
    )

    with StopRequest().watch() as stop, RunWatch(recipe, out, run.batches_done, total, held_out, progress) as watch:
        if not resume:
            _look_before_learning(watch, run, sources, facts)
        kept_at = time.monotonic()
        for batch in watch.over(batches):
            figures = run.step(batch, stop.is_set())
            watch.stepped(run.batches_done, figures)
            validates = watch.validation_due(run.batches_done)
            is_late = time.monotonic() - kept_at > recipe.train.checkpoint_seconds
            # from the first batch on there is something to go on with, whenever the run is interrupted
            if validates or is_late or run.stop_asked or run.batches_done in (1, total):
                # in this order: a checkpoint of the last batch means that the model is there too
                save_model(model_path, run.average.network, description)
                run.save(checkpoint_path)
                kept_at = time.monotonic()
            if validates:
                watch.validate(run.batches_done, model_path)
                watch.picture_terms(run.batches_done, run.extra, run.average.network, batch)
            if run.stop_asked:
                raise RunStopped(stop.number, checkpoint_path, run.batches_done, total)
        watch.finish()
    return model_path


def _look_before_learning(watch: RunWatch, run: RunState, sources: list[Source], facts: DataFacts) -> None:
    """Show what the run will learn from, and what its teacher sees there."""
    data, task = TrainingBatches(sources, run.recipe), task_of(run.recipe)
    numbers = range(min(len(data), -(-SAMPLES // run.recipe.train.batch_size)))
    first = [data[number].to(run.device) for number in numbers]
    watch.before_the_first_step(facts, first, task.legend)
    sees_rgb = run.recipe.uses_rgb and task.has_regions and not run.recipe.guidance.teacher.random_weights
    if run.extra.teacher is not None and sees_rgb:
        seen, objects = teacher_sees(run.extra.teacher, first, run.recipe)
        line = f"the teacher sees {seen} of the {objects} labelled objects that have RGB in the first crops"
        if seen or objects < ENOUGH_OBJECTS:
            watch.say(line)
        else:
            watch.warn(f"{line}: normal by night, else look at samples.jpg and run `cgdet teacher`")


def _follow(run: RunState, batches: Iterator[TrainingBatch], out: Path, total: int) -> None:
    """The part of a process that leads nothing: its share of every batch."""
    with StopRequest().watch() as stop:
        for batch in batches:
            run.step(batch, stop.is_set())
            if run.stop_asked:
                raise RunStopped(stop.number, out / "checkpoint.safetensors", run.batches_done, total)


def check_start(recipe: Recipe, out: Path, resume: bool, init: Path | None) -> None:
    """Refuse what `train` would refuse, before any data are read."""
    if recipe.train.batch_size % world_size():
        raise InputError(
            f"train.batch_size = {recipe.train.batch_size} cannot be shared evenly: give a multiple of {world_size()}"
        )
    process_device(recipe.train.device)
    check_folder(recipe, out, resume, init)


def _batches(data: TrainingBatches, run: RunState) -> Iterator[TrainingBatch]:
    """From the first that is not done on, this process' share of each."""
    workers = run.recipe.train.workers
    loader = DataLoader(
        data,
        batch_size=None,
        sampler=range(run.batches_done, len(data)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        # forked workers share the cached frames instead of copying them
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_start_worker,
        pin_memory=run.device.type == "cuda",
    )
    # forked here, before there are threads that write curves
    return _without_worker_traceback(iter(loader))


def _without_worker_traceback(batches: Iterator[TrainingBatch]) -> Iterator[TrainingBatch]:
    try:
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        # the kernel ended it, for want of memory perhaps
        raise RunError(
            "a process that prepares batches was ended (memory?): --resume, with train.workers=0 if it happens again"
        ) from None


def _start_worker(_worker: int) -> None:
    # a terminal's Ctrl-C reaches it too, and it must live for the last batch
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # OpenCV's thread pool does not survive a fork
    cv2.setNumThreads(0)
