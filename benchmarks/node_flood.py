"""Images at ten times the rate that the node can answer, for ten minutes: the age of its answers, and its memory.

    python benchmarks/node_flood.py [--seconds 600] [--factor 10] [--size 512 640] [--model F] [--json F]

The rate is found first, frame by frame. An answer's age: from just before its image is published to its arrival here.
"""

from __future__ import annotations

import json
import time

import numpy as np
from node_under_test import NodeUnderTest, arguments_parser, as_row, frames, stamped, write_json

from cgdet_core.runtime.percentiles import percentiles


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--factor", type=float, default=10.0)
    arguments = parser.parse_args()
    with NodeUnderTest(model=arguments.model) as node:
        messages = frames(*arguments.size)
        node.connected(node.images)
        alone_ms = lockstep_ms(node, messages, 30)
        rate_hz = arguments.factor * 1e3 / float(np.median(alone_ms))
        print(f"alone: {np.median(alone_ms):.1f} ms; flood of {rate_hz:.0f} Hz", flush=True)
        with node.kept:
            node.answers.clear()
        sent_s, held, inferences_ms = flood(node, messages, rate_hz, arguments.seconds)
        exit_report = dict(node.report)
    ages_ms = [
        (arrived_s - sent_s[stamp_ns]) * 1e3
        for arrived_s, message in node.answers
        if (stamp_ns := message.header.stamp.sec * 10**9 + message.header.stamp.nanosec) in sent_s
    ]
    stamps = [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for _, message in node.answers]
    inference_ms = float(np.median(inferences_ms))
    figures = {
        "seconds": arguments.seconds,
        "rate_hz": round(rate_hz, 1),
        "sent": len(sent_s),
        "answered": len(ages_ms),
        "in_order_and_once": stamps == sorted(set(stamps)),
        "alone_ms": round(float(np.median(alone_ms)), 2),
        "predictor_p50_ms_under_flood": round(inference_ms, 2),
        "predictor_ms_at_the_end": exit_report["total_ms"],
        "age_ms": {**{key: round(value, 2) for key, value in percentiles(ages_ms).items()}, "max": max(ages_ms)},
        "share_of_ages_below_two_inferences": round(float(np.mean(np.array(ages_ms) < 2 * inference_ms)), 5),
        "held_first_minute": as_row(held[0]),
        "held": [as_row(each) for each in held],
        "exit_code": node.exit_code,
        "report": exit_report,
    }
    print(json.dumps({key: value for key, value in figures.items() if key not in ("held", "report")}, indent=2))
    print(
        "memory, MiB, from the start to the end:",
        [each.rss_mib for each in held[:: max(1, len(held) // 20)]] + [held[-1].rss_mib],
    )
    write_json(arguments.json, figures)


def lockstep_ms(node: NodeUnderTest, messages: list, count: int) -> list[float]:
    """Publish to answer, each after the answer to the one before; the first five, in which memory grows, left out."""
    times = []
    while len(times) < count + 5:
        stamp_ns, start_s = time.time_ns(), time.monotonic()
        node.images.publish(stamped(messages[len(times) % len(messages)], stamp_ns))
        arrived_s = node.answer_to(stamp_ns, 5.0)
        if arrived_s is not None:
            times.append((arrived_s - start_s) * 1e3)
    return times[5:]


def flood(node: NodeUnderTest, messages: list, rate_hz: float, seconds: float) -> tuple[dict, list, list[float]]:
    """Stamp -> monotonic time of each image; what the node held, every five seconds; its median inference then."""
    sent_s: dict[int, float] = {}
    held, inferences_ms = [], []
    start_s = time.monotonic()
    look_s = start_s + 5.0
    while (now_s := time.monotonic()) < start_s + seconds:
        # not to be caught up with: what was missed is not sent in a burst
        stamp_ns = time.time_ns()
        sent_s[stamp_ns] = now_s
        node.images.publish(stamped(messages[len(sent_s) % len(messages)], stamp_ns))
        if now_s >= look_s:
            look_s += 5.0
            held.append(node.held())
            inferences_ms.append(float(node.report["total_ms"].split(",")[0].removeprefix("p50 ")))
        time.sleep(max(0.0, 1 / rate_hz - (time.monotonic() - now_s)))
    time.sleep(2.0)
    return sent_s, held, inferences_ms


if __name__ == "__main__":
    main()
