"""Frozen RGB teachers of several kinds behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cgdet_core.config import TeacherConfig
from cgdet_core.distill.teachers.base import Teacher, own_generator
from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of


def load_teacher(config: TeacherConfig, class_names: Sequence[str], folder: Path) -> Teacher:
    """The teacher that the settings name, frozen, on the CPU in float32, for a student of these classes.

    folder: where relative paths start. torch's generator is left as it was. Raises InputError, in one
    line, for a file that is none of its kind, unknown names, classes that do not fit, and weights that
    are neither given nor allowed to be downloaded.
    """
    teacher = _load(config, class_names, folder)
    words: list[str] = [config.kind]
    if config.kind == "torchvision":
        words.append(config.name)
    if config.path:
        words += [Path(config.path).name, f"sha256:{sha256_of(folder / config.path)}"]
    if config.random_weights:
        words.append("never trained")
    teacher.identity = " ".join(words)
    return teacher


def _load(config: TeacherConfig, class_names: Sequence[str], folder: Path) -> Teacher:
    with own_generator():
        if config.kind == "torchvision":
            # the one place that needs torchvision's detectors
            from cgdet_core.distill.teachers.torchvision import torchvision_teacher

            return torchvision_teacher(config, class_names, folder)
        if not config.path:
            raise InputError(f"the teacher has no path: name the file of a teacher of kind {config.kind}")
        if config.class_names and config.kind == "detector":
            raise InputError(f"{config.path}: states its own classes: leave the teacher's class_names out")
        if config.kind == "detector":
            from cgdet_core.distill.teachers.detector import detector_teacher

            return detector_teacher(config, class_names, folder / config.path)
        from cgdet_core.distill.teachers.yolox import yolox_teacher

        return yolox_teacher(config, class_names, folder / config.path)
