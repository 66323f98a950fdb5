"""Which frame of a set and which object of a frame a crop shows, so that rare classes are not rarely seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.sets.coco import CocoSet
from cgdet_core.errors import check_known
from cgdet_core.types import FloatArray, GroundTruth, class_places


def repeat_factors(truths: Sequence[GroundTruth], classes: int, threshold: float) -> NDArray[np.float64]:
    """float64 [F], at least 1: how much more often than another each frame of a set is drawn.

    Repeat factor sampling (LVIS, Gupta et al. 2019): with f_c the share of the frames that show class
    c, r_c = max(1, sqrt(threshold / f_c)), and a frame's factor is the largest of its classes'.
    Regions to ignore show nothing. threshold 0 gives 1 everywhere.
    """
    shown = np.zeros((len(truths), classes), np.bool_)
    for row, truth in enumerate(truths):
        shown[row, truth.class_ids[~truth.ignore]] = True
    share = shown.mean(axis=0)
    of_class = np.ones(classes)
    of_class[share > 0] = np.sqrt(threshold / share[share > 0]).clip(1)
    return np.asarray(np.where(shown, of_class, 1.0).max(axis=1))


def class_weights(truths: Sequence[GroundTruth], classes: int, balance: float) -> FloatArray:
    """float32 [C]: how likely an object of each class is the one that a crop is laid over.

    n_c^-balance, n_c the number of objects of the class in the set. With 0 every object is alike, so
    few crops are laid over a bicycle that stands among persons and cars; with 1 the classes of a
    frame would be alike if every frame held each in the set's proportions. A class without objects
    has 1.
    """
    counts = np.zeros(classes)
    for truth in truths:
        counts += np.bincount(truth.class_ids[~truth.ignore], minlength=classes)
    return np.asarray(np.maximum(counts, 1) ** -balance, np.float32)


def restrict_to(coco: CocoSet, labelled_classes: Sequence[str]) -> CocoSet:
    """The set with only these classes labelled: boxes of the others leave, as nothing is known of them.

    Raises InputError for a name that is no class that a category of the file gives.
    """
    known = [record.truth.labelled for record in coco.records]
    of_file = np.any([np.ones(len(coco.class_names), np.bool_) if each is None else each for each in known], axis=0)
    given = [name for name, known_here in zip(coco.class_names, of_file, strict=True) if known_here]
    remedy = "a category of the file has to be it, or to be mapped to it (class_map)"
    check_known(f"{coco.path}: labelled_classes", "class", labelled_classes, given, remedy)
    left = [name if name in labelled_classes else "" for name in coco.class_names]
    records = (replace(each, truth=in_classes(each.truth, left, coco.class_names)) for each in coco.records)
    return replace(coco, records=tuple(records))


def in_classes(truth: GroundTruth, names: Sequence[str], wanted: Sequence[str]) -> GroundTruth:
    """Labels of the classes `names` as those of `wanted`: other boxes leave, and what `names` lacks is unlabelled."""
    if tuple(names) == tuple(wanted):
        return truth
    place = class_places(names, wanted)
    kept = place[truth.class_ids] >= 0
    known = np.ones(len(names), np.bool_) if truth.labelled is None else truth.labelled
    labelled = np.array([name in names and bool(known[list(names).index(name)]) for name in wanted])
    return GroundTruth(
        truth.boxes_xyxy_px[kept],
        place[truth.class_ids[kept]],
        truth.ignore[kept],
        None if labelled.all() else labelled,
        None if truth.points_xy_px is None else truth.points_xy_px[kept],
        None if truth.points_labelled is None else truth.points_labelled[kept],
    )
