"""Is model B better than model A? Differences over the same frames, with intervals from a paired bootstrap.

Frames next to one another show the same scene: whole blocks of them are drawn, with replacement, and
both models are measured on the same draw (Efron and Tibshirani, "An Introduction to the Bootstrap",
1993, chapters 8 and 13: percentile intervals). Of few blocks such intervals are too narrow.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cgdet_core.evaluation.task import FigureKey, FigureVector
from cgdet_core.types import IntArray

SEED: Final = 0  # of the draws
INTERVAL: Final = 0.95  # share of the draws that it holds
# of fewer nothing is concluded: five that all speak for one model are chance more often than once in twenty (2 of 32)
FEW_BLOCKS: Final = 6


def compare(a: FigureVector, b: FigureVector, blocks: Sequence[Hashable], resamples: int = 1000) -> dict[str, Any]:
    """B against A, for `json.dump`. a, b: of the same labelled frames in one order; blocks: of each frame.

    Each figure, at the path of its key: `name` for a person; `a` and `b`, None where nothing is to be found;
    `difference`, b - a; `low` and `high`, its interval, None where one block alone shows anything of it;
    `b_better_share`: of the `resamples` in which the figure is defined, those in which B's is truly better; `verdict`,
    of B, where the interval leaves out 0 and the blocks that show anything of it are not few. `verdict` and `words` of
    all: by the first figure.
    """
    once = np.ones(len(blocks), np.int64)
    whole_a, whole_b = a.of(once), b.of(once)
    draws = tqdm(frame_weights(blocks, resamples, SEED), "resampling", resamples, disable=None)
    drawn = np.array([b.of(weights) - a.of(weights) for weights in draws])
    count, behind = len(set(blocks)), _blocks_behind(a, blocks)
    differences = [
        _difference(key, float(whole_a[i]), float(whole_b[i]), drawn[:, i], int(behind[i]))
        for i, key in enumerate(a.keys)
    ]
    nested: dict[str, Any] = {group: {} for group in a.groups}
    for key, difference in zip(a.keys, differences, strict=True):
        place = nested
        for part in key.path[:-1]:
            place = place.setdefault(part, {})
        place[key.path[-1]] = difference
    return {
        "verdict": differences[0]["verdict"],
        "words": _words(differences[0], len(blocks), count),
        "resamples": resamples,
        "seed": SEED,
        "interval": INTERVAL,
        **nested,
        "images": len(blocks),
        "blocks": count,
        "few_blocks": count < FEW_BLOCKS,
    }


def comparison_rows(figures: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """From what `compare` returns: each difference that is defined, in order."""
    if "difference" in figures:
        return [] if figures["difference"] is None else [figures]
    return [row for part in figures.values() if isinstance(part, Mapping) for row in comparison_rows(part)]


def _words(figure: Mapping[str, Any], images: int, count: int) -> str:
    """The verdict as a sentence or two."""
    blocks = "1 block" if count == 1 else f"{count} blocks"
    says = {"better": "B is better than A", "worse": "B is worse than A"}.get(figure["verdict"], "No difference shown")
    few = count < FEW_BLOCKS
    head = f"Too little to tell, {blocks} of frames" if few else says
    text = f"{head}: {figure['name']} {figure['difference']:+.4f}"
    if figure["low"] is not None:
        text += (
            f", {INTERVAL * 100:g} % interval {figure['low']:+.4f} to {figure['high']:+.4f}, B better in "
            f"{figure['b_better_share']:.1%} of {figure['resamples']} resamples of {blocks} ({images} frames)"
        )
    if not few:
        return text
    return (
        f"{text}. An interval of so few is too narrow: give frames of {FEW_BLOCKS} scenes or more "
        "(an image's scene or subject in the JSON; without it 50 frame numbers are one block)"
    )


def frame_weights(blocks: Sequence[Hashable], resamples: int, seed: int) -> Iterator[IntArray]:
    """For each resample, int64 [F]: how often each frame counts, as many blocks drawn as there are."""
    numbers = {block: number for number, block in enumerate(dict.fromkeys(blocks))}
    of_frame = np.array([numbers[block] for block in blocks], np.int64)
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        times = np.bincount(rng.integers(0, len(numbers), len(numbers)), minlength=len(numbers))
        yield times[of_frame]


def _blocks_behind(figures: FigureVector, blocks: Sequence[Hashable]) -> IntArray:
    """int64 [keys]: the blocks in which each figure is defined; counted until each has FEW_BLOCKS."""
    behind = np.zeros(len(figures.keys), np.int64)
    for block in dict.fromkeys(blocks):
        behind += ~np.isnan(figures.of(np.array([each == block for each in blocks], np.int64)))
        if behind.min() >= FEW_BLOCKS:
            break
    return behind


def _difference(key: FigureKey, a: float, b: float, drawn: NDArray[np.float64], blocks: int) -> dict[str, Any]:
    drawn = drawn[~np.isnan(drawn)]
    keys = "a", "b", "difference", "low", "high", "b_better_share"
    found: dict[str, Any] = {
        "name": key.name,
        **dict.fromkeys(keys),
        "resamples": 0,
        "verdict": "no difference shown",
    }
    if np.isnan(a) or not len(drawn):
        return found
    sign = -1.0 if key.less_is_better else 1.0
    share = float(np.count_nonzero(sign * drawn > 0) / len(drawn))
    found |= {"a": a, "b": b, "difference": b - a, "b_better_share": share, "resamples": len(drawn)}
    if blocks == 1:
        # every draw is the one block: an interval of width 0 would claim what nobody knows
        return found
    tail = (1 - INTERVAL) / 2 * 100
    found["low"], found["high"] = low, high = np.percentile(drawn, [tail, 100 - tail]).tolist()
    if (low > 0 or high < 0) and blocks >= FEW_BLOCKS:
        found["verdict"] = "better" if sign * low > 0 else "worse"
    return found
