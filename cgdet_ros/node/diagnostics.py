"""What the node says of itself: its status on /diagnostics, and in the log whether images come."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from cgdet_core.config.cameras import CameraConfig
from cgdet_core.runtime.predictor import percentiles
from cgdet_ros.config import DiagnosticsConfig
from cgdet_ros.node import messages
from cgdet_ros.node.frame_log import LOG_THROTTLE, STEADY_CLOCK, FrameLog, Frames, one_line
from cgdet_ros.node.outputs import diagnostics_publisher

OK, WARN, ERROR = 0, 1, 2
_FEWEST_FRAMES = 10  # of which a percentile of times is judged
_FIGURES = re.compile(r"\b\d+(\.\d+)?%?")


class Status(NamedTuple):
    """One status of /diagnostics; level: OK, WARN or ERROR."""

    level: int
    message: str
    values: dict[str, str]


@dataclass(frozen=True)
class Situation:
    """What the node knows when it reports.

    state: of the lifecycle; doing: what an active node does, in a word; active_s: seconds since it became active;
    unheard: who is kept apart by type or quality of service; namesake: another node has its full name; facts: what is
    executed (model, device, precision), and why it is the CPU in place of the GPU (fallback); camera: what the frames
    are to look like.
    """

    state: str
    image_topic: str
    doing: str = "detecting"
    image_type: str = "sensor_msgs/msg/Image"
    image_publishers: int = 0
    enabled: bool = True
    active_s: float = 0.0
    simulated_clock: bool = False
    unheard: Sequence[str] = ()
    namesake: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    camera: CameraConfig = field(default_factory=CameraConfig)
    limits: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)


class Reporter:
    """Publishes the status of `node` every `period_s` > 0; look: the situation now.

    Where a report comes to say something else, twice, the log does too: who has started the node looks there.
    """

    def __init__(self, node: Any, period_s: float, log: FrameLog, look: Callable[[], Situation]) -> None:
        self._node, self._log, self._look = node, log, look
        self._last = self._told = ""
        self._publisher = diagnostics_publisher(node)
        node.create_timer(period_s, self.report, clock=STEADY_CLOCK)  # simulated time may stand still

    def report(self) -> None:
        """Once, now."""
        try:
            situation = self._look()
            status = describe(situation, self._log.report())
            stamp, name = self._node.get_clock().now().to_msg(), self._node.get_fully_qualified_name()
            device = situation.facts.get("device", "none")
            self._publisher.publish(messages.diagnostics_message(stamp, name, device, *status))
            self._tell_change(status, situation)
        except Exception as error:  # of the middleware's graph, which others fill: no report, but the node goes on
            if self._node.context.ok():
                self._node.get_logger().error(f"nothing on /diagnostics: {one_line(error)}", **LOG_THROTTLE)

    def _tell_change(self, status: Status, situation: Situation) -> None:
        without_figures = _FIGURES.sub("", status.message)
        last, self._last = self._last, without_figures
        if situation.state != "active" or not situation.enabled:
            self._told = ""
        elif without_figures == last != self._told:
            self._told = without_figures
            # two lines: rclpy holds a place in the code to the severity that it had first
            if status.level == OK:
                self._node.get_logger().info(f"{situation.doing} on {situation.image_topic}: {self._log.image_kind}")
            else:
                self._node.get_logger().warning(status.message)


def describe(situation: Situation, frames: Frames) -> Status:
    """The node's status: the worst finding decides the level, all are in the message, worst first."""
    values = {  # all described in docs/reference/interface.md
        **situation.facts,
        "state": situation.state,
        "image_topic": situation.image_topic,
        "image_type": situation.image_type,
        "image_publishers": str(situation.image_publishers),
        "image_kind": frames.image_kind,
        "unheard": "; ".join(situation.unheard),
        **{name: str(count) for name, count in asdict(frames.counts).items()},
    }
    if frames.rates_hz is not None:
        rates_hz = zip(("input_rate_hz", "output_rate_hz"), frames.rates_hz, strict=True)
        values |= {name: f"{hz:.2f}" for name, hz in rates_hz}
    values |= {f"{name}_ms": _summary(milliseconds) for name, milliseconds in frames.times_ms.items()}
    if frames.ages_ms or frames.no_age:
        values["stamp_to_publish_ms"] = frames.no_age or _summary(frames.ages_ms)
    values |= {"clock": "simulated" if situation.simulated_clock else "system", "last_error": frames.last_error}
    findings = sorted(_findings(situation, frames), key=lambda finding: -finding[0])  # the first of a level stays first
    message = "; ".join(text for _, text in findings) or situation.doing
    return Status(findings[0][0] if findings else OK, message, values)


def _findings(situation: Situation, frames: Frames) -> Iterator[tuple[int, str]]:
    """Level and text of whatever is not as it should be."""
    limits, changes = situation.limits, frames.changes
    if situation.namesake:
        yield WARN, "another node has this node's name: start one of them with -r __node:=NAME or -r __ns:=/NAMESPACE"
    if situation.state != "active":
        failed = situation.state == "unconfigured" and frames.last_error
        yield (ERROR, frames.last_error) if failed else (WARN, situation.state)
        return
    if "fallback" in situation.facts:
        yield WARN, f"the GPU failed, the CPU is in its place: {situation.facts['fallback']}"
    if not situation.enabled:
        yield WARN, "paused by ~/enable"
        return
    yield from _of_the_images(situation, frames)
    yield from ((WARN, line) for line in situation.unheard)
    if frames.rates_hz is not None and situation.active_s >= limits.image_timeout_s:
        for level, least_hz in ((ERROR, limits.rate_error_hz), (WARN, limits.rate_warn_hz)):
            if frames.rates_hz[0] < least_hz:  # never below 0, which is off
                yield level, f"images come at {frames.rates_hz[0]:.1f} Hz, fewer than {least_hz:g} Hz"
                break
    answer_ms = frames.times_ms.get("receive_to_publish", [])
    yield from _above(answer_ms, limits.latency_warn_ms, limits.latency_error_ms, "receive-to-publish")
    yield from _above(frames.ages_ms, limits.age_warn_ms, limits.age_error_ms, "stamp-to-publish")
    if frames.image_kind and not situation.camera.gives(frames.image_kind):
        yield WARN, f"images are {frames.image_kind}, as the `camera` of that name gives none: name another, or none"
    share = changes.overtaken / max(1, changes.received)
    if 0 < limits.dropped_warn < share:
        yield WARN, f"{share:.0%} of the images were overtaken by newer ones"
    if 0 < limits.frozen_frames <= frames.frozen_run:
        yield WARN, f"frozen: the last {frames.frozen_run} frames repeat their picture (the camera's shutter?)"
    if changes.flat_frames:
        yield WARN, f"flat: {changes.flat_frames} frames without tones since the last report (the camera's shutter?)"
    if changes.gain_jumps:
        yield WARN, f"the camera's gain jumped {changes.gain_jumps} times since the last report"


def _of_the_images(situation: Situation, frames: Frames) -> Iterator[tuple[int, str]]:
    limits, changes, topic, count = situation.limits, frames.changes, situation.image_topic, situation.image_publishers
    heard = f"({count} publisher{'s' * (count != 1)})" if count else "(nobody publishes there)"
    missing_s = frames.imageless_s
    none_yet = missing_s is None or missing_s > situation.active_s
    if missing_s is None or none_yet:
        missing_s, line = situation.active_s, f"no image yet on {topic} {heard}"
    else:
        line = f"no image on {topic} for {missing_s:.0f} s {heard}"
    if 0 < limits.image_error_s < missing_s:
        yield ERROR, line
    elif limits.image_timeout_s > 0 and (none_yet or limits.image_timeout_s < missing_s):
        yield WARN, line
    elif changes.refused or changes.failed:
        lost = f"{changes.refused} frames refused and {changes.failed} failed since the last report"
        yield WARN if changes.answered else ERROR, f"{lost}, {changes.answered} answered: {frames.last_error}"
    elif 0 < limits.image_timeout_s < frames.unanswered_s:
        yield ERROR, f"no frame answered for {frames.unanswered_s:.0f} s, though images come"


def _above(milliseconds: Sequence[float], warn: float, error: float, what: str) -> Iterator[tuple[int, str]]:
    if len(milliseconds) < _FEWEST_FRAMES:
        return
    value = float(np.percentile(milliseconds, 95))
    for level, limit in ((ERROR, error), (WARN, warn)):
        if 0 < limit < value:
            yield level, f"{what} p95 is {value:.0f} ms, more than {limit:g} ms"
            return


def _summary(milliseconds: Sequence[float]) -> str:
    return ", ".join(f"{rank} {figure:.2f}" for rank, figure in percentiles(milliseconds).items())
