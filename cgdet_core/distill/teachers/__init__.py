"""Frozen teachers of several kinds behind one interface."""

from __future__ import annotations

from pathlib import Path

from cgdet_core.config import Recipe, TeacherConfig
from cgdet_core.distill.teachers.base import Teacher, model_teacher, own_generator
from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of


def load_teacher(config: TeacherConfig, recipe: Recipe, folder: Path) -> Teacher:
    """The teacher that the settings name, frozen, on the CPU in float32, for a student of this recipe.

    folder: where relative paths start. torch's generator is left as it was. Raises InputError, in one line, for a file
    that is none of its kind, unknown names and classes that do not fit.
    """
    path, class_names = folder / config.path, recipe.model.class_names
    if recipe.task != "detection" and config.kind != "model":
        raise InputError(f"a teacher of kind {config.kind} detects boxes, the task is {recipe.task}: give kind model")
    if config.class_names and config.kind != "yolox":
        raise InputError(f"a teacher of kind {config.kind} states its own classes: leave the teacher's class_names out")
    if not config.path:
        raise InputError(f"the setting teacher.path is missing: name the file of a teacher of kind {config.kind}")
    with own_generator():
        if config.kind == "model":
            teacher: Teacher = model_teacher(config, recipe, path)
        else:
            from cgdet_core.distill.teachers.yolox import yolox_teacher

            teacher = yolox_teacher(config, class_names, path)
    untrained = " never trained" if config.random_weights else ""
    teacher.identity = f"{config.kind} {path.name} sha256:{sha256_of(path)}{untrained}"
    return teacher
