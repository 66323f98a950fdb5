"""How the node's state reads on /diagnostics: every value, and what of it is a warning or an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cgdet_core.runtime.percentiles import percentiles
from cgdet_ros.config import DiagnosticsConfig
from cgdet_ros.node.frame_log import FrameLog, Outcome, Rates
from cgdet_ros.node.stamp_age import StampAges

OK, WARN, ERROR = 0, 1, 2
_RANKED = re.compile(r"(p\d+) (\d+\.\d+)")
_FEWEST_FRAMES = 10  # of which a percentile of times is judged

# every key of the report, in its order; docs/interface.md is made from this
KEYS = {
    "model": "path of the model file that is loaded, or that is to be",
    "model_sha256": "its hash",
    "device": "what executes the network",
    "precision": "the arithmetic that is executed, not the one asked for",
    "backend": "what runs the network",
    "parameters": "weights of the network",
    "fallback": "why the CPU executes in place of the GPU; left out where it does not",
    "state": "of the lifecycle",
    "image_topic": "the topic of the images, remapped",
    "image_type": "the message type that is taken there",
    "image_publishers": "how many publish there",
    "image_kind": "size and type of the last answered image",
    "unheard": "publishers and subscribers that a type or a quality of service keeps apart from the node",
    "received": "images that came since the node started = refused + overtaken + answered + failed + in work",
    "refused": "malformed ones",
    "overtaken": "dropped: a newer one came while it waited",
    "answered": "detections published",
    "failed": "errors in the network or the device",
    "frozen_frames": "answered ones whose picture is that of the one before, byte for byte",
    "flat_frames": "answered ones without tones: a closed shutter, fog",
    "gain_jumps": "answered ones whose tones lie elsewhere than those before",
    "resolution_changes": "answered ones of another size or type than the one before",
    "input_rate_hz": "images that came, per second, over the last two seconds or more",
    "output_rate_hz": "the same of answers",
    "receive_to_publish_ms": "p50, p95, p99 over the last 256 answers, steady clock",
    "stamp_to_publish_ms": "the same from the image's stamp, ROS clock; in its place the reason where there is none",
    "preprocess_ms": "p50, p95, p99 of that stage of the predictor",
    "infer_ms": "the same",
    "postprocess_ms": "the same",
    "total_ms": "the predictor altogether",
    "clock": "ROS clock in use: system or simulated",
    "clock_jumps_back": "how often it went back between two answers",
    "stamp_jumps_back": "how often a stamp lay before that of the answer before",
    "foreign_stamps": "answers whose stamp and clock cannot be of one clock",
    "last_error": "the last thing that went wrong",
}


@dataclass(frozen=True)
class Status:
    """One status of /diagnostics; level: OK, WARN or ERROR."""

    level: int
    message: str
    values: dict[str, str]


@dataclass(frozen=True)
class Situation:
    """What the node knows when it reports.

    state: of the lifecycle; active_s: seconds since it became active; unheard: who is kept apart by
    type or quality of service; facts: what is executed (model, device, precision); fallback: why it
    is the CPU in place of the GPU, or nothing.
    """

    state: str
    image_topic: str
    image_type: str = "sensor_msgs/msg/Image"
    image_publishers: int = 0
    enabled: bool = True
    active_s: float = 0.0
    simulated_clock: bool = False
    unheard: Sequence[str] = ()
    facts: Mapping[str, str] | None = None
    fallback: str = ""


def describe(situation: Situation, log: FrameLog, ages: StampAges, limits: DiagnosticsConfig) -> Status:
    """The node's status: the worst finding decides the level, all are in the message, worst first."""
    rates, outcome, times = log.rates(), log.outcome(), log.times_ms()
    ages_ms, no_age = ages.ages_ms()
    values = {
        **(situation.facts or {}),
        **({"fallback": situation.fallback} if situation.fallback else {}),
        "state": situation.state,
        "image_topic": situation.image_topic,
        "image_type": situation.image_type,
        "image_publishers": str(situation.image_publishers),
        "image_kind": log.image_kind,
        "unheard": "; ".join(situation.unheard),
        **log.totals(),
        **({} if rates is None else _rate_values(rates)),
        **{f"{name}_ms": _summary(milliseconds) for name, milliseconds in times.items() if milliseconds},
        **({"stamp_to_publish_ms": _summary(ages_ms) if ages_ms else no_age} if ages_ms or no_age else {}),
        "clock": "simulated" if situation.simulated_clock else "system",
        "clock_jumps_back": str(ages.clock_jumps_back),
        "stamp_jumps_back": str(ages.stamp_jumps_back),
        "foreign_stamps": str(ages.foreign_stamps),
        "last_error": log.last_error,
    }
    findings = list(_findings(situation, log, outcome, rates, times["receive_to_publish"], ages_ms, limits))
    findings.sort(key=lambda finding: -finding[0])  # stable: the first of a level stays first
    level = findings[0][0] if findings else OK
    message = "; ".join(text for _, text in findings) or "detecting"
    order = {key: place for place, key in enumerate(KEYS)}
    return Status(level, message, dict(sorted(values.items(), key=lambda item: order.get(item[0], len(order)))))


def _findings(
    situation: Situation,
    log: FrameLog,
    outcome: Outcome,
    rates: Rates | None,
    answer_ms: Sequence[float],
    ages_ms: Sequence[float],
    limits: DiagnosticsConfig,
) -> Iterator[tuple[int, str]]:
    """Level and text of whatever is not as it should be."""
    if situation.state != "active":
        failed = situation.state == "unconfigured" and log.last_error
        yield (ERROR, log.last_error) if failed else (WARN, situation.state)
        return
    if situation.fallback:
        yield WARN, f"the GPU failed, the CPU is in its place: {situation.fallback}"
    if not situation.enabled:
        yield WARN, "paused by ~/enable"
        return
    yield from _of_the_images(situation, log, outcome, limits)
    yield from ((WARN, line) for line in situation.unheard)
    if rates is not None and situation.active_s >= limits.image_timeout_s:
        rate = f"images come at {rates.input_hz:.1f} Hz"
        yield from _below(rates.input_hz, limits.rate_warn_hz, limits.rate_error_hz, rate, "Hz")
    yield from _above(answer_ms, limits.latency_warn_ms, limits.latency_error_ms, "receive-to-publish")
    yield from _above(ages_ms, limits.age_warn_ms, limits.age_error_ms, "stamp-to-publish")
    share = outcome.overtaken / max(1, outcome.received)
    if 0 < limits.dropped_warn < share:
        yield WARN, f"{share:.0%} of the images were overtaken by newer ones"
    yield from _of_the_shutter(outcome, limits)


def _of_the_images(
    situation: Situation, log: FrameLog, outcome: Outcome, limits: DiagnosticsConfig
) -> Iterator[tuple[int, str]]:
    topic, heard = situation.image_topic, publishers_in_words(situation.image_publishers)
    without_image_s = log.seconds_without_image()
    if without_image_s is None or without_image_s > situation.active_s:
        level = ERROR if 0 < limits.image_error_s < situation.active_s else WARN
        yield level, f"no image yet on {topic} ({heard})"
    elif 0 < limits.image_error_s < without_image_s:
        yield ERROR, f"no image on {topic} for {without_image_s:.0f} s ({heard})"
    elif 0 < limits.image_timeout_s < without_image_s:
        yield WARN, f"no image on {topic} for {without_image_s:.0f} s ({heard})"
    elif outcome.refused or outcome.failed:
        lost = f"{outcome.refused} frames refused and {outcome.failed} failed since the last report"
        yield WARN if outcome.answered else ERROR, f"{lost}, {outcome.answered} answered: {log.last_error}"
    elif 0 < limits.image_timeout_s < outcome.unanswered_s:
        yield ERROR, f"no frame answered for {outcome.unanswered_s:.0f} s, though images come"


def _of_the_shutter(outcome: Outcome, limits: DiagnosticsConfig) -> Iterator[tuple[int, str]]:
    if 0 < limits.frozen_frames <= outcome.frozen_run:
        yield WARN, f"frozen: the last {outcome.frozen_run} frames repeat their picture (the camera's shutter?)"
    if outcome.flat:
        yield WARN, f"flat: {outcome.flat} frames without tones since the last report (the camera's shutter?)"
    if outcome.gain_jumps:
        yield WARN, f"the camera's gain jumped {outcome.gain_jumps} times since the last report"


def publishers_in_words(publishers: int) -> str:
    """How many publish on a topic."""
    return f"{publishers} publisher{'s' * (publishers != 1)}" if publishers else "nobody publishes there"


def _below(value: float, warn: float, error: float, what: str, unit: str) -> Iterator[tuple[int, str]]:
    for level, limit in ((ERROR, error), (WARN, warn)):
        if value < limit:  # never below 0, which is off
            yield level, f"{what}, fewer than {limit:g} {unit}"
            return


def _above(milliseconds: Sequence[float], warn: float, error: float, what: str) -> Iterator[tuple[int, str]]:
    if len(milliseconds) < _FEWEST_FRAMES:
        return
    value = float(np.percentile(milliseconds, 95))
    for level, limit in ((ERROR, error), (WARN, warn)):
        if 0 < limit < value:
            yield level, f"{what} p95 is {value:.0f} ms, more than {limit:g} ms"
            return


def _rate_values(rates: Rates) -> dict[str, str]:
    return {"input_rate_hz": f"{rates.input_hz:.2f}", "output_rate_hz": f"{rates.output_hz:.2f}"}


def _summary(milliseconds: Sequence[float]) -> str:
    return ", ".join(f"{rank} {figure:.2f}" for rank, figure in percentiles(milliseconds).items())


def read_summary(text: str) -> dict[str, float]:
    """The reverse of what stands in the report: "p50 1.20, p95 1.31, p99 1.34" -> rank and milliseconds; empty for any
    other text."""
    return {rank: float(figure) for rank, figure in _RANKED.findall(text)}
