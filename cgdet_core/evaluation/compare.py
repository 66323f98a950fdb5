"""Is model B better than model A? Differences over the same frames, with intervals from a paired bootstrap.

Frames next to one another show the same scene: whole blocks of them are drawn, with replacement, and
both models are measured on the same draw (Efron and Tibshirani, "An Introduction to the Bootstrap",
1993, chapters 8 and 13: percentile intervals). Of few blocks such intervals are too narrow.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cgdet_core.config import CompareConfig
from cgdet_core.evaluation.metrics.matching import OPERATING_SCORE, EvaluatedFrame, check_frames, match_frame
from cgdet_core.evaluation.metrics.weighted_ap import WeightedAp
from cgdet_core.types import IntArray

Key = tuple[str, str]  # a part of the frames or objects, and a figure of it


def comparison_rows(figures: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """From what `compare` returns: name for a person -> each difference that is defined."""
    names = {"map": "mAP", "map50": "mAP50", "duplicates_per_object": "duplicates per object"}
    rows = {names[figure]: value for figure, value in figures["overall"].items()}
    for group in ("per_class", "by_light"):
        for part, values in figures[group].items():
            for figure, value in values.items():
                name = names[figure].removeprefix("m" if group == "per_class" else "")
                rows[f"{part} {name}"] = value
    return {name: value for name, value in rows.items() if value["difference"] is not None}


def compare(
    frames_a: Sequence[EvaluatedFrame],
    frames_b: Sequence[EvaluatedFrame],
    blocks: Sequence[Hashable],
    class_names: Sequence[str],
    settings: CompareConfig | None = None,
) -> dict[str, Any]:
    """B against A, for `json.dump`. frames_a, frames_b: the same labelled frames in one order; blocks: of each.

    `overall`, `per_class` and `by_light` (of each name): figure (map, map50, duplicates_per_object) -> `a` and `b`,
    None where nothing is to be found; `difference`, b - a; `low` and `high`, its interval, None where there is one
    block alone; `b_better_share`: of the `resamples` in which the figure is defined, those in which B's is truly
    better; `verdict`, of B, where the interval leaves out 0 and the blocks are not few. `verdict` and `words` of all:
    by mAP, all classes and frames.

    Raises InputError for classes that are none; the frames must hold an object (metrics.evaluate checks it).
    """
    settings = settings or CompareConfig()
    a, b = (_Figures(list(frames), class_names) for frames in (frames_a, frames_b))
    once = np.ones(len(blocks), np.int64)
    keys, whole_a, whole_b = a.keys, a.of(once), b.of(once)
    draws = tqdm(
        frame_weights(blocks, settings.resamples, settings.seed), "resampling", settings.resamples, disable=None
    )
    drawn = np.array([b.of(weights) - a.of(weights) for weights in draws])
    count = len(set(blocks))
    differences = {
        key: _difference(key[1], float(whole_a[i]), float(whole_b[i]), drawn[:, i], count, settings)
        for i, key in enumerate(keys)
    }

    def part(name: str) -> dict[str, Any]:
        return {figure: value for (group, figure), value in differences.items() if group == name}

    headline = differences["all", "map"]
    return {
        "verdict": headline["verdict"],
        "words": _words(headline, len(blocks), count, settings),
        **settings.model_dump(include={"resamples", "seed", "interval"}),
        "overall": part("all"),
        "per_class": {name: part(f"class {name}") for name in class_names},
        "by_light": {light: part(f"light {light}") for light in a.lights},
        "images": len(blocks),
        "blocks": count,
        "few_blocks": count < settings.few_blocks,
    }


def _words(figure: Mapping[str, Any], images: int, count: int, settings: CompareConfig) -> str:
    """The verdict as a sentence or two."""
    blocks = "1 block" if count == 1 else f"{count} blocks"
    says = {"better": "B is better than A", "worse": "B is worse than A"}.get(figure["verdict"], "No difference shown")
    few = count < settings.few_blocks
    text = f"{f'Too little to tell, {blocks} of frames' if few else says}: mAP {figure['difference']:+.4f}"
    if figure["low"] is not None:
        text += (
            f", {settings.interval * 100:g} % interval {figure['low']:+.4f} to {figure['high']:+.4f}, B better in "
            f"{figure['b_better_share']:.1%} of {figure['resamples']} resamples of {blocks} ({images} frames)"
        )
    if not few:
        return text
    return (
        f"{text}. An interval of so few is too narrow: give frames of {settings.few_blocks} scenes or more "
        "(an image's scene in the JSON; without it 50 frame numbers are one block)"
    )


def frame_weights(blocks: Sequence[Hashable], resamples: int, seed: int) -> Iterator[IntArray]:
    """For each resample, int64 [F]: how often each frame counts, as many blocks drawn as there are."""
    numbers = {block: number for number, block in enumerate(dict.fromkeys(blocks))}
    of_frame = np.array([numbers[block] for block in blocks], np.int64)
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        times = np.bincount(rng.integers(0, len(numbers), len(numbers)), minlength=len(numbers))
        yield times[of_frame]


class _Figures:
    """The figures of one model as a vector, `keys` naming its entries; NaN where nothing is to be found."""

    def __init__(self, frames: list[EvaluatedFrame], class_names: Sequence[str]) -> None:
        check_frames(frames, class_names)
        count = len(class_names)
        self._ap = WeightedAp(frames, count)
        self._truths = self._ap.truths
        self._duplicates = np.zeros((len(frames), count), np.int64)
        floor = np.full(count, OPERATING_SCORE)
        for index, frame in enumerate(frames):
            match = match_frame(frame, count)
            extra = match.class_ids[match.duplicate & match.above(floor)]
            self._duplicates[index] = np.bincount(extra, minlength=count)
        self.lights = sorted({frame.light for frame in frames if frame.light is not None})
        self._of_light = [np.array([frame.light == light for frame in frames], np.int64) for light in self.lights]
        parts = ["all", *(f"class {name}" for name in class_names)]
        self.keys: list[Key] = [
            *((part, figure) for figure in ("map", "map50", "duplicates_per_object") for part in parts),
            *((f"light {light}", figure) for light in self.lights for figure in ("map", "map50")),
        ]

    def of(self, weights: IntArray) -> NDArray[np.float64]:
        """float64 [keys] where frame i counts weights[i] times."""
        values: list[float] = []
        ap = self._ap.of(weights)
        for of_class in (ap.mean(axis=0), ap[0]):
            values += [_mean(of_class), *of_class]
        extra, truths = weights @ self._duplicates, weights @ self._truths
        for more, objects in ((extra.sum(), truths.sum()), *zip(extra, truths, strict=True)):
            values.append(more / objects if objects else np.nan)
        for of_light in self._of_light:
            ap = self._ap.of(weights * of_light)
            values += [_mean(ap.mean(axis=0)), _mean(ap[0])]
        return np.array(values, np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _difference(
    figure: str, a: float, b: float, drawn: NDArray[np.float64], blocks: int, settings: CompareConfig
) -> dict[str, Any]:
    drawn = drawn[~np.isnan(drawn)]
    keys = "a", "b", "difference", "low", "high", "b_better_share"
    found: dict[str, Any] = {**dict.fromkeys(keys), "resamples": 0, "verdict": "no difference shown"}
    if np.isnan(a) or not len(drawn):
        return found
    sign = -1.0 if figure == "duplicates_per_object" else 1.0
    share = float(np.count_nonzero(sign * drawn > 0) / len(drawn))
    found |= {"a": a, "b": b, "difference": b - a, "b_better_share": share, "resamples": len(drawn)}
    if blocks == 1:
        # every draw is the one block: an interval of width 0 would claim what nobody knows
        return found
    tail = (1 - settings.interval) / 2 * 100
    found["low"], found["high"] = low, high = np.percentile(drawn, [tail, 100 - tail]).tolist()
    if (low > 0 or high < 0) and blocks >= settings.few_blocks:
        found["verdict"] = "better" if sign * low > 0 else "worse"
    return found
