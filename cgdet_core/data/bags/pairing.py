"""Which RGB frame belongs to which thermal frame: by header stamps, each frame once, with what was left over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cgdet_core.types import NANOSECONDS

_GAP_PERIODS = 1.5  # a longer gap between two frames has lost some


@dataclass(frozen=True)
class StreamTiming:
    """The stamps of one stream. rate_hz: of the median period, 0 of fewer than two stamps; dropped: frames missing in
    the gaps of more than 1.5 median periods; repeated_stamps: frames of a stamp seen before, which are not paired."""

    frames: int
    rate_hz: float
    dropped: int
    repeated_stamps: int

    @property
    def period_ns(self) -> int:
        """The median period, 0 of fewer than two stamps."""
        return round(NANOSECONDS / self.rate_hz) if self.rate_hz else 0


@dataclass(frozen=True)
class Pairs:
    """thermal_index[i] and rgb_index[i], places in the given stamps, are pair i; in the order of the stamps. offset_ns
    and tolerance_ns: as of pair_stamps; median_difference_ms: of |thermal - (RGB + offset)| over the pairs, or 0."""

    thermal_index: tuple[int, ...]
    rgb_index: tuple[int, ...]
    offset_ns: int
    tolerance_ns: int
    thermal: StreamTiming
    rgb: StreamTiming
    median_difference_ms: float

    def __len__(self) -> int:
        return len(self.thermal_index)

    def to_text(self) -> str:
        """A few lines for the user."""
        lines = [
            f"{len(self)} pairs, differing by {self.median_difference_ms:.1f} ms in the median "
            f"(tolerance {self.tolerance_ns / 1e6:.1f} ms)"
        ]
        for name, stream in (("thermal", self.thermal), ("RGB", self.rgb)):
            words = [f"{stream.frames - len(self)} left over", f"{stream.rate_hz:.2f} Hz", f"{stream.dropped} dropped"]
            words += [f"{stream.repeated_stamps} repeat a stamp"] if stream.repeated_stamps else []
            lines.append(f"{name:8} {stream.frames} frames: {', '.join(words)}")
        return "\n".join(lines)


def stream_timing(stamps_ns: Sequence[int]) -> StreamTiming:
    """The figures of one stream's header stamps, in the order in which they were recorded."""
    stamps = np.asarray(stamps_ns, np.int64).reshape(-1)
    ordered = np.unique(stamps)
    gaps = np.diff(ordered)
    period = float(np.median(gaps)) if len(gaps) else 0.0
    lost = np.rint(gaps[gaps > _GAP_PERIODS * period] / period) - 1 if period else np.zeros(0)
    return StreamTiming(
        frames=len(stamps),
        rate_hz=NANOSECONDS / period if period else 0.0,
        dropped=int(lost.sum()),
        repeated_stamps=len(stamps) - len(ordered),
    )


def pair_stamps(
    thermal_stamps_ns: Sequence[int], rgb_stamps_ns: Sequence[int], *, offset_ns: int = 0, tolerance_ns: int
) -> Pairs:
    """Pairs of the nearest frames, differing by `tolerance_ns` at most, each frame once.

    Stamps: nanoseconds, in recorded order; offset_ns is added to an RGB stamp to get the thermal clock. With both
    streams laid on one clock, two frames may pair where no other frame lies between them; of those the nearest go
    first, at equal distance the earlier. So pairs never cross, and no frame is passed over for one that is farther. Of
    frames with equal stamps the first is paired.
    """
    thermal = np.asarray(thermal_stamps_ns, np.int64).reshape(-1)
    rgb = np.asarray(rgb_stamps_ns, np.int64).reshape(-1) + np.int64(offset_ns)
    # of every stamp the place of the first frame, in the order of the stamps
    thermal_places, rgb_places = (np.unique(stamps, return_index=True)[1] for stamps in (thermal, rgb))
    places = np.concatenate([thermal_places, rgb_places])
    is_rgb = np.repeat([False, True], [len(thermal_places), len(rgb_places)])
    stamps = np.concatenate([thermal[thermal_places], rgb[rgb_places]])
    order = np.argsort(stamps, kind="stable")
    places, is_rgb, stamps = places[order], is_rgb[order], stamps[order]

    gaps = np.diff(stamps)
    candidates = np.flatnonzero((is_rgb[1:] != is_rgb[:-1]) & (gaps <= tolerance_ns))
    taken = np.zeros(len(stamps), np.bool_)
    chosen = []
    for first in candidates[np.argsort(gaps[candidates], kind="stable")].tolist():
        if not taken[first : first + 2].any():
            taken[first : first + 2] = True
            chosen.append(first)
    firsts = np.sort(np.asarray(chosen, np.int64))
    thermal_at = firsts + is_rgb[firsts]
    rgb_at = firsts + ~is_rgb[firsts]
    return Pairs(
        thermal_index=tuple(places[thermal_at].tolist()),
        rgb_index=tuple(places[rgb_at].tolist()),
        offset_ns=offset_ns,
        tolerance_ns=tolerance_ns,
        thermal=stream_timing(thermal_stamps_ns),
        rgb=stream_timing(rgb_stamps_ns),
        median_difference_ms=float(np.median(gaps[firsts])) / 1e6 if len(firsts) else 0.0,
    )
