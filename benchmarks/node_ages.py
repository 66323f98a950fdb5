"""What each answer of a flooded node waited for: its age beside the two inferences that it met."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from node_recorded import FRAME, KINDS

from cgdet_core.runtime.percentiles import percentiles

# between two moments in a row of an answer's life
PARTS = (
    "sent, to the node",
    "for the executor, and to be made a message",
    "checked",
    "for the inference under way",
    "handed to the worker",
    "predicted",
    "published",
    "to the listener",
)
INFERENCES = ("for the inference under way", "predicted")


class Ages:
    """Answers in the order of their stamps. Arrays of seconds, [N] each; parts_s: [N, 8], of PARTS.

    age_s: from just before the image was published to the arrival of its answer; in_node_s: from when the middleware
    had it in the node's process to when its answer was published; met_s: the inference that was under way at the first
    of these moments, where there was one, and its own, each with what belongs to it (published; frozen and flat frames
    looked for).
    """

    def __init__(self, record: Path, sent_s: dict[int, float], arrived_s: dict[int, float]) -> None:
        with np.load(record) as saved:
            stamps, frames, self.spans = saved["stamps_ns"], saved["frames"], saved["spans"]
        known = np.array([int(stamp) in sent_s and int(stamp) in arrived_s for stamp in stamps])
        moments = dict(zip(FRAME, frames.T, strict=True))
        begun_s, ended_s = moments["begun_s"], moments["ended_s"]
        # one thread works: its frames follow each other
        before = np.clip(np.searchsorted(begun_s, moments["received_s"], side="right") - 1, 0, None)
        own = np.arange(len(frames))
        met = (before < own) & (begun_s[before] <= moments["received_s"]) & (moments["received_s"] < ended_s[before])
        under_way_s = np.where(met, ended_s[before] - begun_s[before], 0.0)
        self.met_s = (under_way_s + moments["published_s"] - begun_s)[known]
        self.own_s = (moments["published_s"] - begun_s)[known]
        self.in_node_s = (moments["published_s"] - moments["received_s"])[known]
        self.core_wait_s, self.infer_s = moments["core_wait_s"][known], moments["infer_s"][known]
        self.received_s, self.published_s = moments["received_s"][known], moments["published_s"][known]
        sent = np.array([sent_s[int(stamp)] for stamp in stamps[known]])
        arrived = np.array([arrived_s[int(stamp)] for stamp in stamps[known]])
        self.age_s = arrived - sent
        free_s = np.clip(ended_s[np.clip(own - 1, 0, None)], moments["offered_s"], begun_s)
        inner = [moments[name] for name in FRAME[:3]] + [free_s] + [moments[name] for name in FRAME[3:6]]
        self.parts_s = np.diff(np.stack([sent, *(moment[known] for moment in inner), arrived]), axis=0).T

    def excess_s(self) -> np.ndarray:
        """Of the age over the inferences met: what the way in and out, and waiting for anything else, took."""
        return self.age_s - self.met_s

    def within_s(self, place: int, kind: str) -> float:
        """How long that kind of span went on while the image was in the node."""
        spans = self.spans[self.spans[:, 0] == KINDS.index(kind)]
        common = np.minimum(self.published_s[place], spans[:, 2]) - np.maximum(self.received_s[place], spans[:, 1])
        return float(np.clip(common, 0, None).sum())

    def figures(self, fixed_s: float) -> dict[str, Any]:
        """In ms. fixed_s: what the way in and out takes at the most when nothing else goes on."""
        in_node_excess_s = self.in_node_s - self.met_s
        late = self.excess_s() > fixed_s
        usual_s = np.median(self.parts_s, axis=0)
        others = [place for place, name in enumerate(PARTS) if name not in INFERENCES]
        over_s = (self.parts_s - usual_s)[:, others]
        return {
            "answers": len(self.age_s),
            "age": summary(self.age_s),
            "in_node": summary(self.in_node_s),
            "own_inference": summary(self.own_s),
            "inferences_met": summary(self.met_s),
            "age_beyond_inferences_met": summary(self.excess_s()),
            "in_node_beyond_inferences_met": summary(in_node_excess_s),
            "fixed": round(fixed_s * 1e3, 2),
            "in_node_beyond_inferences_met_and_fixed": int((in_node_excess_s > fixed_s).sum()),
            "beyond_inferences_met_and_fixed": int(late.sum()),
            "these_waited_most": dict(Counter(PARTS[others[place]] for place in over_s[late].argmax(axis=1))),
            "parts": {name: summary(column) for name, column in zip(PARTS, self.parts_s.T, strict=True)},
            "network": summary(self.infer_s),
            "without_a_core": summary(self.core_wait_s),
            "spans": {kind: self._spans(kind) for kind in KINDS},
            "slowest": [self._row(place) for place in np.argsort(-self.age_s)[:20]],
            "most_beyond": [self._row(place) for place in np.argsort(-self.excess_s())[:20]],
        }

    def _spans(self, kind: str) -> dict[str, float]:
        durations_s = np.diff(self.spans[self.spans[:, 0] == KINDS.index(kind)][:, 1:]).ravel()
        return {"count": len(durations_s), **(summary(durations_s) if len(durations_s) else {})}

    def _row(self, place: int) -> dict[str, float]:
        def ms(seconds: float) -> float:
            return round(float(seconds) * 1e3, 2)

        return {
            "age": ms(self.age_s[place]),
            "inferences_met": ms(self.met_s[place]),
            **{name: ms(seconds) for name, seconds in zip(PARTS, self.parts_s[place], strict=True)},
            "network": ms(self.infer_s[place]),
            "without_a_core": ms(self.core_wait_s[place]),
            **{kind: ms(self.within_s(place, kind)) for kind in KINDS},
        }


def summary(seconds: np.ndarray) -> dict[str, float]:
    """Percentiles and the greatest, in ms."""
    values = {name: round(value, 2) for name, value in percentiles(seconds * 1e3).items()}
    return {**values, "max": round(float(seconds.max()) * 1e3, 2)}
