"""Two models that played one bag: is B better than A?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cgdet_core.data.bags.truth import FrameInfo
from cgdet_core.evaluation.compare import compare
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.evaluation.metrics.paired import block_of_bag
from cgdet_ros.replay.judge import Judged, has_objects


def compared_frames(judged: Judged) -> dict[int, EvaluatedFrame]:
    """Stamp -> what is compared: every labelled frame offline, or, where that was not run, those that were answered."""
    replay = judged.replay
    labelled = [frame.stamp_ns for frame in replay.run.frames if frame.stamp_ns in replay.labels.truth]
    if judged.offline is not None:
        found = [stamp_ns for stamp_ns in labelled if stamp_ns in judged.offline.detections]
        return dict(zip(found, (frame.offline for frame in judged.live), strict=True))
    answered = [frame.stamp_ns for frame in replay.run.answered if frame.stamp_ns in replay.labels.truth]
    return dict(zip(answered, judged.answered, strict=True))


def common_frames(judged: Sequence[Judged]) -> tuple[list[int], list[EvaluatedFrame], list[EvaluatedFrame]]:
    """Stamps and frames that both have, in the order played."""
    a, b = (compared_frames(of_model) for of_model in judged)
    stamps_ns = [stamp_ns for stamp_ns in a if stamp_ns in b]
    return stamps_ns, [a[stamp_ns] for stamp_ns in stamps_ns], [b[stamp_ns] for stamp_ns in stamps_ns]


def compare_replays(judged: Sequence[Judged]) -> dict[str, Any] | None:
    """The JSON of `compare`, and what it is over; None where there is nothing labelled to be found."""
    stamps_ns, a, b = common_frames(judged)
    if not has_objects(a):
        return None
    infos = judged[0].replay.labels.infos
    blocks = [block_of_bag(infos.get(stamp_ns, FrameInfo()).scene, place) for place, stamp_ns in enumerate(stamps_ns)]
    comparison = compare(a, b, blocks, judged[0].replay.run.class_names)
    offline = all(of_model.offline is not None for of_model in judged)
    return {**comparison.to_json(), "over": "every frame, offline" if offline else "frames that both answered"}
