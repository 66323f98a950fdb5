"""What a network is for. One folder a task; whatever trains, teaches and feeds knows `task.Task` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cgdet_core.config import LandmarkModelConfig, NetworkConfig, Recipe, TaskName

if TYPE_CHECKING:
    from cgdet_core.model.network import Network
    from cgdet_core.tasks.task import Task


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
