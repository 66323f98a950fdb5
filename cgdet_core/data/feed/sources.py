"""The frames that a recipe trains on, of several sets and bags; and those that it holds out."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from cgdet_core.config import Recipe, SourceConfig
from cgdet_core.data.bags.remote import masked, matches, place_in
from cgdet_core.data.convert.bag import copied_set, extracted_sets
from cgdet_core.data.sets.coco import CocoRecord, CocoSet, load_coco
from cgdet_core.data.sets.held_out import split_held_out
from cgdet_core.data.sets.rgb_partner import RgbPartner, read_partner, read_valid, rendered_partner, shuffled
from cgdet_core.errors import InputError, check_known
from cgdet_core.images import read_encoded, read_image
from cgdet_core.thermal import ToneLimits, to_grey, tone_limits
from cgdet_core.types import CLASS_NAMES, GroundTruth, ImageArray, Sample, class_places

BAG_CACHE = "bag_cache"


@dataclass(frozen=True)
class CachedFrame:
    """A raw frame with the tone limits of the whole of it, and its RGB where the recipe uses any. held: its grey pixels
    [H, W], or the file that they are read from each time."""

    held: ImageArray | Path
    limits: ToneLimits
    truth: GroundTruth
    rgb: RgbPartner | None = None

    @property
    def grey(self) -> ImageArray:
        """uint8/uint16 [H, W]."""
        return _grey(read_image(self.held)) if isinstance(self.held, Path) else self.held


@dataclass(frozen=True)
class Source:
    """One set, read. warnings: what is odd about it and yet no error, a line each; sha256: of its pixels and labels."""

    name: str
    weight: float
    frames: tuple[CachedFrame, ...]
    polarity_free: bool
    warnings: tuple[str, ...] = ()
    sha256: str = ""

    def content(self) -> dict[str, Any]:
        """What a run that goes on must find again, as JSON."""
        return _counts(self.name, self.frames) | {"sha256": self.sha256}


def _counts(name: str, frames: Sequence[CachedFrame | CocoRecord]) -> dict[str, Any]:
    objects = sum(int((~frame.truth.ignore).sum()) for frame in frames)
    return {"name": name, "frames": len(frames), "objects": objects}


def held_out_content(held_out: CocoSet) -> dict[str, Any]:
    """As `Source.content`; the pictures are hashed as files."""
    digest = hashlib.sha256()
    for record in held_out.records:
        _add_content(digest, read_encoded(record.path), record.truth, None)
    return _counts("held-out data", held_out.records) | {"sha256": digest.hexdigest()}


class _Opened(NamedTuple):
    """One source, looked through but not read: its records for training and those held out."""

    config: SourceConfig
    coco: CocoSet
    held_out: tuple[CocoRecord, ...]


def check_paths(recipe: Recipe, folder: Path) -> None:
    """InputError for a source that is not there, before any is read."""
    for config in recipe.sources:
        place = place_in(folder, config.path)
        if not matches(place):
            remedy = "correct --data, the folder of the recipe's sources; for own frames use config/recipes/own.yaml"
            raise InputError(f"{masked(place)}: there is no such file or folder: {remedy}")


def load_sources(
    recipe: Recipe,
    folder: Path,
    progress: bool = True,
    run: Path | None = None,
) -> tuple[list[Source], CocoSet | None]:
    """All training frames of a recipe, and the frames it holds out for validation, if any.

    Relative paths of the recipe are taken from `folder`. run: the folder of the run, beside which bags are extracted.
    Frames without labels take no part. InputError for sets that are none, and for a recipe that lacks the RGB it uses.
    """
    if not recipe.sources and not recipe.synthetic.frames:
        raise InputError("the recipe names no training data: give it sources or synthetic.frames")
    check_paths(recipe, folder)
    sets = [_open(config, folder, recipe, run) for config in recipe.sources]
    if recipe.uses_rgb and not (recipe.synthetic.frames and recipe.synthetic.rgb) and not any(map(_has_rgb, sets)):
        raise InputError(
            "no source has RGB, which guidance needs: give a source with rgb_file_name or grey_rgb, or set the weights "
            "of guidance, injection and outputs to 0"
        )
    sources: list[Source] = []
    left_bytes = recipe.train.cache_mb << 20
    for config, coco, _ in sets:
        count = config.render_thermal or 0
        read = _renderings(coco, count, config, recipe) if count else _pairs(coco, config, recipe)
        source = Source(config.path, config.weight, (), config.grey_rgb, coco.warnings)
        source, left_bytes = _cached(source, read, len(coco) * max(count, 1), recipe, progress, left_bytes)
        sources.append(source)
    if recipe.synthetic.frames:
        source = Source("synthetic", recipe.synthetic.weight, (), False)
        source, _ = _cached(source, _rendered(recipe), recipe.synthetic.frames, recipe, progress, left_bytes)
        sources.append(source)
    if recipe.uses_rgb and recipe.guidance.shuffle_rgb:
        for number, source in enumerate(sources):
            partners = shuffled([frame.rgb for frame in source.frames], source.name, number, recipe.train.seed)
            moved = (replace(frame, rgb=rgb) for frame, rgb in zip(source.frames, partners, strict=True))
            sources[number] = replace(source, frames=tuple(moved))
    held_out = _held_out(sets, folder, recipe)
    if held_out is not None and not any((~record.truth.ignore).any() for record in held_out.records):
        raise InputError(
            f"the {len(held_out)} frames that hold_out_fold holds out show no object, so nothing can be measured: "
            "choose another fold"
        )
    return sources, held_out


def load_held_out(recipe: Recipe, folder: Path, run: Path | None = None) -> CocoSet | None:
    """The frames that a recipe holds out, as `load_sources` gives them; None where it holds none out."""
    check_paths(recipe, folder)
    sets = [_open(each, folder, recipe, run) for each in recipe.sources if each.hold_out_fold is not None]
    return _held_out(sets, folder, recipe)


def _held_out(sets: Sequence[_Opened], folder: Path, recipe: Recipe) -> CocoSet | None:
    records = tuple(record for opened in sets for record in opened.held_out)
    return CocoSet(folder, recipe.model.class_names, records) if records else None


def _open(config: SourceConfig, folder: Path, recipe: Recipe, run: Path | None) -> _Opened:
    names = recipe.model.class_names
    place, class_map = place_in(folder, config.path), config.class_map
    if config.is_bag:
        if run is None:
            raise ValueError("a bag is extracted beside a run: name its folder")
        with_rgb = recipe.uses_rgb and config.rgb and not config.grey_rgb
        paths = extracted_sets(config, folder, names, with_rgb, run.absolute().parent / BAG_CACHE)
        class_map = {}
    else:
        cache = None if run is None else run.absolute().parent / BAG_CACHE
        paths = [copied_set(each, cache) for each in matches(place)]
    sets = [load_coco(path, names, class_map) for path in paths]
    coco = replace(sets[0], records=tuple(record for each in sets for record in each.records))
    coco = replace(coco, warnings=tuple(line for each in sets for line in each.warnings))
    labelled = [record for record in coco.records if record.truth.labelled is None or record.truth.labelled.any()]
    coco = replace(coco, records=tuple(labelled)) if labelled else coco
    if config.labelled_classes is not None:
        coco = restrict_to(coco, config.labelled_classes)
    if config.hold_out_fold is None:
        return _Opened(config, coco, ())
    split = split_held_out(coco.records, config.hold_out_fold)
    if not split.training or not split.held_out:
        raise InputError(
            f"{coco.path}: hold_out_fold {config.hold_out_fold} leaves {len(split.training)} frames to train and "
            f"{len(split.held_out)} to validate ({split.blocks}): choose another, null for none, or name the scenes"
        )
    warnings = coco.warnings + ((f"{coco.path}: {split.warning}",) if split.warning else ())
    return _Opened(config, replace(coco, records=split.training, warnings=warnings), split.held_out)


def restrict_to(coco: CocoSet, labelled_classes: Sequence[str]) -> CocoSet:
    """The set with only these classes labelled: boxes of others leave. InputError for what no category gives."""
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


def _has_rgb(opened: _Opened) -> bool:
    config, records = opened.config, opened.coco.records
    colour = config.grey_rgb or config.render_thermal or any(record.rgb_path is not None for record in records)
    return config.rgb and bool(colour)


_Read = tuple[Sample, Path | None, RgbPartner | None]  # the path of a frame that can be read again


def _pairs(coco: CocoSet, config: SourceConfig, recipe: Recipe) -> Iterator[_Read]:
    valid_of = functools.cache(read_valid)
    for index, record in enumerate(coco.records):
        sample = coco.sample(index)
        path = None
        if recipe.uses_rgb and config.rgb:
            path = record.path if config.grey_rgb else coco.rgb_path(index)
        if path is None:
            yield sample, record.path, None
            continue
        mask = None if config.grey_rgb else record.rgb_valid_path
        valid = None if mask is None else valid_of(mask, record.height_width_px)
        yield sample, record.path, read_partner(path, record.path, record.height_width_px, valid)


def _rendered(recipe: Recipe) -> Iterator[_Read]:
    from cgdet_core.data.synthetic.street import synthetic_training_sample

    names = recipe.model.class_names
    if not set(names) & set(CLASS_NAMES):
        raise InputError(
            f"rendered frames show {', '.join(CLASS_NAMES)}, none of the classes {', '.join(names)}: "
            "set synthetic.frames=0"
        )
    for index in range(recipe.synthetic.frames):
        sample = synthetic_training_sample(recipe.synthetic.seed, index)
        if sample.truth is not None:
            sample = replace(sample, truth=in_classes(sample.truth, CLASS_NAMES, names))
        rgb = sample.rgb if recipe.uses_rgb and recipe.synthetic.rgb else None
        yield sample, None, None if rgb is None else rendered_partner(rgb, sample.name)


def _renderings(coco: CocoSet, count: int, config: SourceConfig, recipe: Recipe) -> Iterator[_Read]:
    from cgdet_core.data.synthetic.faces.rendering import rendered_faces

    uses_rgb = recipe.uses_rgb and config.rgb
    picture, partner = None, None
    for sample in rendered_faces(coco, count, recipe.train.seed):
        if uses_rgb and sample.rgb is not None and sample.rgb is not picture:
            # all renderings of a face share their partner
            picture, partner = sample.rgb, rendered_partner(sample.rgb, sample.name)
        yield sample, None, partner


def _cached(
    source: Source, frames: Iterable[_Read], count: int, recipe: Recipe, progress: bool, left_bytes: int
) -> tuple[Source, int]:
    """The source with its frames, in memory as long as there is any left; what is left then."""
    cached, digest, interval_s = [], hashlib.sha256(), progress_interval_s()
    reading = f"reading {source.name}"
    for sample, path, partner in tqdm(
        frames, reading, count, mininterval=interval_s, disable=not progress, unit="frame"
    ):
        if sample.truth is None:
            raise InputError(f"{source.name}: frame {sample.name} has no labels: leave it out of training")
        grey = _grey(sample.frame.image)
        _add_content(digest, grey, sample.truth, partner)
        limits = tone_limits(grey, recipe.thermal)
        size_bytes = grey.nbytes + (0 if partner is None or partner.encoded is None else partner.encoded.nbytes)
        if path is None or size_bytes <= left_bytes:
            left_bytes -= 0 if path is None else size_bytes
            cached.append(CachedFrame(grey, limits, sample.truth, partner))
        else:
            reread = None if partner is None else replace(partner, encoded=None)
            cached.append(CachedFrame(path, limits, sample.truth, reread))
    return replace(source, frames=tuple(cached), sha256=digest.hexdigest()), left_bytes


def _add_content(digest: hashlib._Hash, grey: ImageArray, truth: GroundTruth, partner: RgbPartner | None) -> None:
    rgb = (None, None) if partner is None else (partner.encoded, partner.valid)
    for array in (grey, *vars(truth).values(), *rgb):  # of the labels in the order of their fields
        digest.update(repr(None if array is None else (array.shape, array.dtype.str)).encode())
        digest.update(b"" if array is None else np.ascontiguousarray(array).data)


def _grey(image: ImageArray) -> ImageArray:
    return np.ascontiguousarray(to_grey(image))


def progress_interval_s() -> float:
    """How often a progress bar is drawn: seldom where it goes into a log and every drawing stays."""
    return 0.1 if sys.stderr.isatty() else 30.0
