"""What a network is for. One folder a task, with a class of the same methods: whatever trains, teaches and feeds calls
those alone. Besides it a task needs its kinds of settings (config/training.py), a line in `task_of` and
`build_network`, and a MeasuredTask (evaluation/task.py).

A training picture: the feed asks the task's `parts` what it is made of; for each part it draws a source by weight and a
frame by the sampler's `frame_weights`, asks the sampler to `place` the crop in the frame, cuts thermal and RGB picture
there, varies the look, and asks `crop` for the labels; `join` makes one of several parts, `collate` a batch's targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cgdet_core.config import LandmarkModelConfig, NetworkConfig, Recipe, TaskName

if TYPE_CHECKING:
    from cgdet_core.model.network import Network
    from cgdet_core.tasks.detection.classes import ClassTable
    from cgdet_core.tasks.detection.injection import DetectionLosses
    from cgdet_core.tasks.detection.sampling import Window
    from cgdet_core.tasks.detection.task import DetectionTask
    from cgdet_core.tasks.landmarks.sampling import FacePlacement
    from cgdet_core.tasks.landmarks.task import LandmarkTask
    from cgdet_core.tasks.landmarks.teaching import LandmarkTeacherLosses, LandmarkTeacherReading

    Task = DetectionTask | LandmarkTask
    Placement = Window | FacePlacement  # how a frame lies in a crop, alike for thermal and RGB picture
    TeacherReading = ClassTable | LandmarkTeacherReading
    TeacherLosses = DetectionLosses | LandmarkTeacherLosses


def task_of(recipe: Recipe) -> Task:
    """The task that a recipe trains."""
    # not above: decoding, which imports this package too, needs no torch
    if recipe.task == "landmarks":
        from cgdet_core.tasks.landmarks.task import LandmarkTask

        return LandmarkTask(recipe)
    from cgdet_core.tasks.detection.task import DetectionTask

    return DetectionTask(recipe)


def build_network(task: TaskName, config: NetworkConfig) -> Network:
    """Untrained, its weights drawn from torch's generator."""
    if isinstance(config, LandmarkModelConfig):
        from cgdet_core.tasks.landmarks.head import LandmarkNetwork

        return LandmarkNetwork(config)
    from cgdet_core.tasks.detection.head import DetectionNetwork

    return DetectionNetwork(config)
